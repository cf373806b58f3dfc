"""A connector's membership over its whole life: joined, restarted, renewed, expired, replaced, removed."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgwitness import _core
from support.connectors import Connector, add_connection
from support.gateway import Gateway
from support.servers import Server

MakeConnector = Callable[..., Connector]


@pytest.fixture
def make_connector() -> Iterator[MakeConnector]:
    made: list[Connector] = []

    def make(gateway: Gateway, name: str = "east", *arguments: str) -> Connector:
        made.append(Connector(gateway, name, *arguments))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.fixture
def brief_gateway(state: Path) -> Iterator[Gateway]:
    """Its connectors' certificates last four seconds."""
    running = Gateway(state, environment={"PGWITNESS_TUNNEL__CERTIFICATE_SECONDS": "4"})
    try:
        yield running.start()
    finally:
        running.stop()


def events(gateway: Gateway, name: str) -> list[dict[str, Any]]:
    """Of the recorder."""
    reader = _core.TapeReader(gateway.state / "tape")
    found: list[dict[str, Any]] = []
    while frames := reader.read():
        found += [json.loads(frame[5]) for frame in frames if frame[2] == _core.KIND_RECORDER]
    return [event for event in found if event["event"] == name]


def until(condition: Callable[[], bool], what: str, timeout: float = 15.0) -> float:
    """Seconds until it held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout, what
        time.sleep(0.05)
    return time.monotonic() - started


def shown(gateway: Gateway, name: str = "east") -> dict[str, Any]:
    (found,) = [each for each in gateway.connectors() if each["name"] == name]
    return found


def rejoin(gateway: Gateway, name: str = "east") -> str:
    return gateway.run("connector", "rejoin", name).stdout.strip()


def test_both_sides_restart_without_anybody_s_help(
    gateway: Gateway, make_connector: MakeConnector, server18: Server
) -> None:
    connector = make_connector(gateway).join().start()
    add_connection(gateway, "orders", server18, "east")
    gateway.add_identity("agent", "orders")
    assert shown(gateway)["state"] == "online"
    assert connector.terminate() == 0
    until(lambda: shown(gateway)["state"] == "offline", "offline")
    with pytest.raises(psycopg.OperationalError, match='"east" is not online'):
        gateway.connect("agent", "orders")
    unchecked = gateway.run("connection", "check", "orders", check=False)
    assert unchecked.returncode == 1 and "pgwitness connector list" in unchecked.stderr
    connector.start()  # with the same token, which is spent
    gateway.terminate()
    gateway.restart()
    until(lambda: shown(gateway)["state"] == "online", "online again")
    checked = gateway.run("connection", "check", "orders").stdout
    assert "orders works" in checked
    assert [event["connector"] for event in events(gateway, "connector_enrolled")] == ["east"]


def test_a_spent_token_lets_nobody_else_in(gateway: Gateway, make_connector: MakeConnector) -> None:
    first = make_connector(gateway).join().start()
    thief = make_connector(gateway)
    thief._token = first._token
    thief.start(wait=False)
    assert thief.wait() == 1
    assert "was used before" in thief.log and "connector rejoin NAME" in thief.log
    assert "Traceback" not in thief.log
    (event,) = events(gateway, "connector_refused")
    assert "used before" in event["why"] and event["address"].startswith("127.0.0.1:")
    assert shown(gateway)["state"] == "online"


def test_who_joins_anew_replaces_who_was_there(gateway: Gateway, make_connector: MakeConnector) -> None:
    first = make_connector(gateway).join().start()
    second = make_connector(gateway)
    second._token = rejoin(gateway)
    second.start()
    assert first.wait() == 1
    assert "joined anew" in first.log
    assert shown(gateway)["state"] == "online"
    third = gateway.run("connector", "rejoin", "east", "--revoke").stdout.strip()
    assert second.wait(timeout=20) == 1
    assert "revoked by an administrator" in second.log
    second._token = third
    second.start()
    assert shown(gateway)["state"] == "online"


def test_a_removed_connector_is_out_within_a_second(
    gateway: Gateway, make_connector: MakeConnector, server18: Server
) -> None:
    connector = make_connector(gateway).join().start()
    add_connection(gateway, "orders", server18, "east")
    gateway.add_identity("agent", "orders")
    with gateway.connect("agent", "orders") as session, gateway.connect("agent", "orders") as busy:
        gateway.run("connector", "remove", "east")
        removed = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT pg_sleep(30)")
        assert time.monotonic() - removed < 1 + 2  # on a machine where others compute too
        with pytest.raises(psycopg.errors.AdminShutdown):
            session.execute("SELECT 1")
    assert connector.wait() == 1
    assert "the connector was removed" in connector.log
    connector.start(wait=False)
    assert connector.wait() == 1
    assert "the connector was removed" in connector.log.splitlines()[-2]
    until(lambda: bool(events(gateway, "connector_refused")), "on record")
    ended = gateway.sessions(
        "--identity", "agent", wait_for=lambda found: all(each["ended_at"] for each in found)
    )
    assert [each["end_reason"] for each in ended] == ["killed", "killed"]


def test_certificates_are_renewed_under_a_running_session(
    brief_gateway: Gateway, make_connector: MakeConnector, server18: Server
) -> None:
    gateway = brief_gateway
    connector = make_connector(gateway).join().start()
    add_connection(gateway, "orders", server18, "east")
    gateway.add_identity("agent", "orders")
    first = shown(gateway)["certificate_ends"]
    key = (connector.state / "connector.json").read_bytes()
    with gateway.connect("agent", "orders") as session:
        until(lambda: len(events(gateway, "certificate_renewed")) >= 3, "three renewals")
        assert shown(gateway)["certificate_ends"] > first
        assert session.execute("SELECT 1").fetchone() == (1,)
    with gateway.connect("agent", "orders") as session:
        assert session.execute("SELECT 2").fetchone() == (2,)
    assert (connector.state / "connector.json").read_bytes() != key
    assert len(events(gateway, "connector_online")) == 1


def test_who_was_away_for_too_long_joins_anew(brief_gateway: Gateway, make_connector: MakeConnector) -> None:
    gateway = brief_gateway
    connector = make_connector(gateway).join().start()
    assert connector.terminate() == 0
    ends = datetime.fromisoformat(shown(gateway)["certificate_ends"])
    until(lambda: datetime.now(UTC) > ends + timedelta(seconds=1), "its certificate has expired")
    connector.start(wait=False)
    assert connector.wait() == 1
    assert "CertificateExpired" in connector.log and "rejoin" in connector.log
    until(lambda: bool(events(gateway, "connector_refused")), "on record")
    connector._token = rejoin(gateway)
    connector.start()
    assert shown(gateway)["state"] == "online"


def test_the_watch_does_not_hold_up_a_connector_that_stops(
    state: Path, make_connector: MakeConnector, server18: Server
) -> None:
    gateway = Gateway(state, environment={"PGWITNESS_WATCH__INTERVAL_SECONDS": "0.5"})
    try:
        gateway.start()
        connector = make_connector(gateway, "east", "--grace", "60").join().start()
        add_connection(gateway, "orders", server18, "east")
        until(lambda: bool(events(gateway, "watch_opened")), "the watch looks")
        assert connector.terminate(timeout=30) == 0
    finally:
        gateway.stop()
