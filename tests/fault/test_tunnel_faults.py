"""Connector, gateway or the way between them killed, frozen or cut under load.

Nothing runs unrecorded, nothing stays behind, and new sessions are served within five seconds of recovery.
"""

import contextlib
import itertools
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from test_kill import MODES, assert_complete, pgbench, prepare

from support import networks
from support.compare import headers
from support.connectors import Connector, add_connection
from support.gateway import Gateway
from support.networks import Networks
from support.raw import RawClient, query
from support.servers import Server

_runs = itertools.count(1)
RECOVERY_SECONDS = 5.0
SHORT, LONG = 1.5, 8.0
"""A fault that the heartbeats survive, and one that they do not."""


@dataclass
class Way:
    """Clients beside the gateway, PostgreSQL beside the connector, a network between."""

    nets: Networks
    gateway: Gateway
    connector: Connector
    server: Server


@pytest.fixture(scope="module")
def nets() -> Iterator[Networks]:
    yield from networks.networks()


@pytest.fixture(scope="module")
def world(nets: Networks, server18: Server) -> Iterator[Way]:
    with tempfile.TemporaryDirectory(prefix="pgw-state-", ignore_cleanup_errors=True) as directory:
        gateway = Gateway(Path(directory), "--host", "0.0.0.0")
        connector = None
        try:
            with nets.inside("gateway"):
                gateway.start()
                port = gateway.tunnel.rpartition(":")[2]
                gateway.arguments = (*gateway.arguments, "--tunnel-port", port)  # also after a restart
                nets.allow_replies(int(port))
                address = f"{networks.GATEWAY}:{port}"
                connector = Connector(gateway, address=address, prefix=nets.prefix("connector"))
                connector.join().start()
                add_connection(gateway, "shop", server18, "beside", host=str(server18.directory))
                gateway.add_identity("agent", "shop")
                prepare(gateway)
                yield Way(nets, gateway, connector, server18)
        finally:
            if connector is not None:
                connector.remove()
            gateway.stop()


@pytest.fixture
def way(world: Way) -> Iterator[Way]:
    """With everything up, whatever the last test left."""
    with world.nets.inside("gateway"):
        if not world.gateway.running:
            world.gateway.restart()
        if not world.connector.running:
            world.connector.start()
        assert_served(world, time.monotonic())
        yield world
    wait(lambda: not world.server.backends(), "backends stay behind", 15)


# the faults: each ends with everything up again


def kill_connector(way: Way, seconds: float) -> None:
    way.connector.kill()
    time.sleep(min(seconds, SHORT))
    way.connector.start(wait=False)


def kill_gateway(way: Way, seconds: float) -> None:
    way.gateway.kill()
    time.sleep(min(seconds, SHORT))
    way.gateway.restart()


def freeze_connector(way: Way, seconds: float) -> None:
    way.connector.signal(signal.SIGSTOP)
    time.sleep(seconds)
    way.connector.signal(signal.SIGCONT)


def freeze_gateway(way: Way, seconds: float) -> None:
    os.kill(way.gateway.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(way.gateway.pid, signal.SIGCONT)


def cut(way: Way, seconds: float) -> None:
    way.nets.cut()
    time.sleep(seconds)
    way.nets.mend()


Fault = Callable[[Way, float], None]
FAULTS: tuple[Fault, ...] = (kill_connector, cut, freeze_connector, kill_gateway, freeze_gateway)


def round_of(way: Way, fault: Fault, seconds: float, number: int) -> int:
    """One fault under load; how many statements the server ran."""
    application = f"{fault.__name__}-{next(_runs)}"
    mode = MODES[number % 3]
    load = pgbench(way.gateway, application, "-M", mode, "-c", "8", "-j", "2", "-T", "60", "-n")
    try:
        time.sleep(random.Random(number).uniform(0.4, 1.2))
        fault(way, seconds)
        recovered = time.monotonic()
        assert_served(way, recovered)
    finally:
        load.terminate()
        load.communicate(timeout=30)
    wait(lambda: not way.server.backends(), "backends stay behind", 15)
    record = assert_complete(way.gateway, way.server, application)
    over = lambda found: all(each["ended_at"] for each in found)  # noqa: E731
    ended = way.gateway.sessions("--run", application, wait_for=over)
    for session in ended:
        if session["end_reason"] == "interrupted" and fault is not kill_gateway:
            assert '"beside"' in session["end_detail"], session
    return len(record)


def assert_served(way: Way, recovered: float) -> None:
    """A new session, in time."""
    while True:
        try:
            with way.gateway.connect("agent", "shop", connect_timeout="3") as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            break
        except psycopg.OperationalError as error:
            late = time.monotonic() - recovered
            told = f"{late:.1f} s after recovery: {error}\n{way.connector.log[-2000:]}"
            assert late < RECOVERY_SECONDS, told
            time.sleep(0.05)
    assert time.monotonic() - recovered < RECOVERY_SECONDS


def wait(condition: Callable[[], Any], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def descriptors(pid: int) -> int:
    """Sockets, as files of the tape and of the catalog come and go."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(link.readlink()).startswith("socket:")
    return count


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [(kill_connector, SHORT), (cut, LONG), (freeze_connector, SHORT)],
    ids=["kill", "cut", "freeze"],
)
def test_a_fault_under_load(way: Way, fault: Fault, seconds: float) -> None:
    before = descriptors(way.gateway.pid)
    assert round_of(way, fault, seconds, 1) > 50
    wait(lambda: descriptors(way.gateway.pid) <= before + 16, "descriptors stay behind")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_faults_under_load(way: Way) -> None:
    total, sockets = 0, []
    for number in range(50):
        fault = FAULTS[number % len(FAULTS)]
        seconds = LONG if (number // len(FAULTS)) % 2 else SHORT
        total += round_of(way, fault, seconds, number)
        time.sleep(1)
        sockets.append((descriptors(way.gateway.pid), descriptors(way.connector.pid)))
    print(f"{total} statements in 50 rounds, none of them unrecorded; sockets {sockets[0]} to {sockets[-1]}")
    assert max(gateway for gateway, _ in sockets[-10:]) <= sockets[0][0] + 20
    assert max(connector for _, connector in sockets[-10:]) <= sockets[0][1] + 20


def test_a_session_in_flight_learns_of_the_connectors_death_and_is_recorded(way: Way) -> None:
    with way.gateway.connect("agent", "shop", options="-c pgwitness.run=in-flight") as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO pgbench_history (tid) VALUES (1)")
        way.connector.kill()
        with pytest.raises(psycopg.OperationalError, match='connector "beside", or the way to it, was lost'):
            connection.execute("SELECT 1")
    over = lambda found: bool(found and found[0]["ended_at"])  # noqa: E731
    (session,) = way.gateway.sessions("--run", "in-flight", wait_for=over)
    assert session["end_reason"] == "interrupted" and 'connector "beside"' in session["end_detail"]
    statements = way.gateway.statements("--session", session["session"], wait_for=2)
    assert {s["transaction"]["outcome"] for s in statements} <= {"rolled_back", "in_doubt"}
    wait(lambda: not way.server.backends(), "backends stay behind")
    with pytest.raises(psycopg.OperationalError, match='connection "shop": connector "beside" is not online'):
        way.gateway.connect("agent", "shop")


def test_a_statement_that_runs_when_the_way_is_cut_does_not_run_on(way: Way) -> None:
    """The gateway is gone for good: the connector stops what nobody will read."""
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(99)'"
    client = RawClient(way.gateway.port).login("agent", way.gateway.tokens["agent"], "shop")
    with client:
        client.send(query("SELECT pg_sleep(99)"))
        wait(lambda: way.server.sql(sleeping), "it does not run")
        way.gateway.kill()
        wait(lambda: not way.server.sql(sleeping), "it runs on")


def test_two_connectors_share_the_load_and_take_over(way: Way) -> None:
    second = Connector(
        way.gateway, "second", address=way.connector.address, prefix=way.nets.prefix("connector")
    )
    try:
        second.join().start()
        way.gateway.run("connection", "update", "shop", "--connector", "beside,second")
        sessions = [way.gateway.connect("agent", "shop") for _ in range(6)]
        by_connector = [each["upstream"]["connector"] for each in headers(way.gateway.state).values()][-6:]
        assert sorted(by_connector) == ["beside"] * 3 + ["second"] * 3
        way.connector.kill()
        alive = sum(_answers(session) for session in sessions)
        assert alive == 3
        with way.gateway.connect("agent", "shop") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        for session in sessions:
            session.close()
    finally:
        way.gateway.run("connection", "update", "shop", "--connector", "beside")
        second.remove()


def _answers(session: psycopg.Connection[Any]) -> bool:
    try:
        return session.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def test_sigterm_lets_sessions_finish_and_takes_no_new_ones(way: Way) -> None:
    with way.gateway.connect("agent", "shop") as connection:
        way.connector.signal(signal.SIGTERM)
        wait(lambda: "is not online" in refusal(way), "new sessions are still taken")
        assert connection.execute("SELECT 'still here'").fetchone() == ("still here",)
        assert way.connector.running
    assert way.connector.wait() == 0


def refusal(way: Way) -> str:
    try:
        way.gateway.connect("agent", "shop").close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_sigterm_of_the_gateway_is_clean_on_both_sides(way: Way) -> None:
    load = pgbench(way.gateway, "term", "-M", "prepared", "-c", "8", "-j", "2", "-T", "60", "-n")
    time.sleep(1)
    assert way.gateway.terminate() == 0
    load.communicate(timeout=30)
    assert "Traceback" not in way.gateway.log + way.connector.log
    wait(lambda: not way.server.backends(), "backends stay behind")
    way.gateway.restart()
    assert_served(way, time.monotonic())
    record = assert_complete(way.gateway, way.server, "term")
    assert {statement["status"] for statement in record} <= {"ok", "skipped"}
    assert "interrupted" not in str(way.gateway.sessions("--run", "term", wait_for=8))
