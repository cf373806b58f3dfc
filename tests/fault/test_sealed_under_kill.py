"""The record of a gateway that is killed, or its sealer, or that is stopped: it verifies and holds all."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.record.layout import Layout
from pgwitness.sealing.status import record_status
from support.gateway import Gateway
from support.sealing import verified
from support.servers import Server
from support.waiting import wait_until


def sealed(state: Path) -> Callable[[], bool]:
    """Whether all of the tape is."""
    return lambda: record_status(state)["size"] > 0 and record_status(state)["lag_bytes"] == 0


def work(gateway: Gateway, first: int, count: int = 20) -> None:
    with gateway.connect("agent", "shop") as connection:
        for number in range(first, first + count):
            connection.execute(f"SELECT {number}")


def told(gateway: Gateway) -> list[tuple[str, str, str]]:
    """Every statement and what became of it, by a command that reads the state directory."""
    return [(each["session"], each["sql"], each["status"]) for each in gateway.jsonl("statements")]


def test_a_killed_gateway_and_its_next(front: Gateway) -> None:
    work(front, 0)
    wait_until(sealed(front.state))
    kept = Layout(front.state / "record").checkpoint.read_bytes()
    open_one = front.connect("agent", "shop")
    open_one.execute("SELECT 'open'")
    front.kill()
    with pytest.raises(psycopg.OperationalError):
        open_one.execute("SELECT 1")
    front.restart()
    work(front, 100)
    assert front.terminate() == 0
    report = verified(front.state)
    assert record_status(front.state)["lag_bytes"] == 0, "it seals to the tape's end before it ends"
    assert report.size and report.size > parse_checkpoint(kept)[0].size
    # The record alone is enough: neither tape nor index is needed to tell it again.
    before = told(front)
    assert len(before) == 41 and len({sql for _, sql, _ in before}) == 41
    shutil.rmtree(front.state / "tape")
    (front.state / "tape").mkdir()
    (front.state / "index.sqlite").unlink()
    assert told(front) == before


def test_a_killed_sealer_is_replaced(front: Gateway) -> None:
    for turn in range(3):
        work(front, 100 * turn)
        pid = wait_until(lambda: record_status(front.state)["pid"])
        os.kill(pid, signal.SIGKILL)
        work(front, 100 * turn + 50)
        wait_until(sealed(front.state))
    verified(front.state)


def test_a_checkpoint_a_second_while_there_is_traffic(front: Gateway) -> None:
    wait_until(sealed(front.state))
    seen = {record_status(front.state)["checkpoint_at"]}
    began = time.monotonic()
    with front.connect("agent", "shop") as connection:
        assert connection.info.parameter_status("pgwitness.checkpoint") is None, "it was not asked for"
        while time.monotonic() - began < 4:
            connection.execute("SELECT 1")
            seen.add(record_status(front.state)["checkpoint_at"])
    # Three, not four: this machine may be busy with other things.
    assert len(seen) > 3
    assert record_status(front.state)["lag_seconds"] < 3


@pytest.fixture
def telling(state: Path, server18: Server) -> Any:
    gateway = Gateway(state, environment={"PGWITNESS_HEADS__TELL_CLIENTS": "true"})
    try:
        gateway.start()
        gateway.add_connection("shop", server18)
        gateway.add_identity("agent", "shop")
        yield gateway
    finally:
        gateway.stop()


def test_clients_are_told_the_checkpoint_in_force(telling: Gateway) -> None:
    wait_until(sealed(telling.state))
    origin = Layout(telling.state / "record").verifier.read_text().partition("+")[0]
    with telling.connect("agent", "shop") as connection:
        log, size, root = connection.info.parameter_status("pgwitness.checkpoint").split(" ")
        assert log == origin and int(size) > 0 and len(root) == 44
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_sealing_can_be_switched_off(state: Path, server18: Server) -> None:
    gateway = Gateway(state, environment={"PGWITNESS_SEAL__ENABLED": "false"})
    try:
        gateway.start()
        gateway.add_connection("shop", server18)
        gateway.add_identity("agent", "shop")
        work(gateway, 0)
        assert len(gateway.statements(wait_for=20)) == 20
    finally:
        gateway.stop()
    assert not (state / "record").exists()
