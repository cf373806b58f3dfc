"""Beside a connector the watch looks through it, and knows the sessions that it opened there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.connectors import Connector
from support.gateway import Gateway
from support.servers import Server
from support.watched import Watched, on_one_version


@pytest.fixture
def beside(counting_server: Server, state: Path) -> Iterator[Watched]:
    gateway = Gateway(state, environment={"PGWITNESS_WATCH__EXPECTED_ROLES": '["postgres"]'})
    gateway.start()
    connector = Connector(gateway, "beside", "--allow", f"127.0.0.1:{counting_server.port}").join()
    try:
        connector.start()
        gateway.add_connection("shop", counting_server, "--connector", "beside")
        gateway.add_identity("agent", "shop")
        yield Watched(counting_server, gateway)
    finally:
        connector.remove()
        gateway.stop()


@on_one_version
def test_sessions_through_the_connector_are_ours_and_others_are_not(beside: Watched) -> None:
    with beside.through() as connection:
        beside.look("statements")
        connection.execute("SELECT count(*) FROM orders")
        assert beside.look("session", "statements")["findings"] == []
        with beside.around(application_name="beside it") as around:
            around.execute("SELECT count(*), 'around' FROM orders")
            kinds = [one["kind"] for one in beside.look("session", "statements")["findings"]]
            assert kinds == ["session", "statements"] or kinds == ["statements", "session"]
