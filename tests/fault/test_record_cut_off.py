"""The gateway's administrator cuts the record off: it is sound in itself, and a connector knows better."""

import shutil
from pathlib import Path

import pytest

from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.sealing.status import record_status
from support.connectors import Connector
from support.gateway import Gateway
from support.sealing import verified
from support.servers import Server
from support.waiting import wait_until

PARTS = ("record", "sealing", "tape")


def _head(connector: Connector) -> Path | None:
    return next(iter(connector.state.glob("heads/*/head")), None)


def _size(connector: Connector) -> int:
    head = _head(connector)
    return parse_checkpoint(head.read_bytes())[0].size if head else 0


@pytest.mark.parametrize("from_disk", [False, True], ids=["connected", "restarted"])
def test_a_connector_tells(gateway: Gateway, server18: Server, tmp_path: Path, from_disk: bool) -> None:
    connector = Connector(gateway).join()
    try:
        connector.start()
        gateway.add_connection("shop", server18)
        gateway.add_identity("agent", "shop")
        wait_until(lambda: _size(connector) > 0)
        gateway.terminate()
        for part in PARTS:
            shutil.copytree(gateway.state / part, tmp_path / part)
        gateway.restart()
        with gateway.connect("agent", "shop") as connection:
            for number in range(20):
                connection.execute(f"SELECT 'what must not be known' || {number}")
        wait_until(lambda: record_status(gateway.state)["lag_bytes"] == 0)
        sealed = record_status(gateway.state)["size"]
        wait_until(lambda: _size(connector) >= sealed)
        assert "record_disputed" not in connector.log
        gateway.terminate()
        if from_disk:
            connector.kill()
        for part in PARTS:
            shutil.rmtree(gateway.state / part)
            shutil.copytree(tmp_path / part, gateway.state / part)
        verified(gateway.state)
        gateway.restart()
        if from_disk:
            connector.start()
        wait_until(lambda: "record_disputed" in connector.log)
        assert '"rolled_back"' in connector.log or '"forked"' in connector.log
        wait_until(lambda: "head_disputed" in gateway.log)
        assert _size(connector) >= sealed, "the head that it has seen stays"
    finally:
        connector.remove()
