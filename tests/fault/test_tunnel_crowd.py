"""Many sessions through one connector, and three that behave badly: they slow nobody else down.

The three: a stream of gigabytes, a client that stopped reading, and a host that takes connections and says
nothing.
"""

import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgwitness.embedded import wheel_programs
from pgwitness.tunnel.streams import DEAD_SECONDS
from support.connectors import Connector, add_connection
from support.gateway import Gateway
from support.raw import RawClient, query
from support.servers import PASSWORD, Server, ServerFactory

ROW_BYTES = 1000


@pytest.fixture
def crowded(gateway: Gateway, make_server: ServerFactory) -> Iterator[tuple[Gateway, Server]]:
    """A server that takes many; connections ``shop``, and ``hanging`` to a host that never says a word."""
    server = make_server(18, max_connections="400")
    connector = Connector(gateway, "beside").join()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as tarpit:
        add_connection(gateway, "shop", server, "beside")
        add_connection(gateway, "hanging", server, "beside", port=str(tarpit.getsockname()[1]))
        gateway.add_identity("agent", "shop", "hanging")
        gateway.run("connection", "update", "hanging", "--connect-timeout", "5")
        try:
            connector.start()
            yield gateway, server
        finally:
            connector.remove()


def latencies(gateway: Gateway, clients: int, seconds: int) -> list[float]:
    """Milliseconds of each transaction of ``pgbench -S``, of all clients."""
    environment = {
        **os.environ,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(gateway.port),
        "PGUSER": "agent",
        "PGPASSWORD": gateway.tokens["agent"],
        "PGDATABASE": "shop",
        "PGSSLMODE": "disable",
    }
    program = str(wheel_programs() / "pgbench")
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [program, "-n", "-S", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(seconds), "-l"],
            env=environment,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        )
        assert done.returncode == 0, done.stderr
        logs = [path.read_text() for path in Path(directory).glob("pgbench_log.*")]
    lines = [line for log in logs for line in log.splitlines()]
    found = [int(line.split()[2]) / 1000 for line in lines]
    assert len({line.split()[0] for line in lines}) == clients, "a client got nothing done"
    return found


def p99(found: list[float]) -> float:
    return statistics.quantiles(found, n=100)[98]


class Troubles:
    """The three, from ``with`` to its end."""

    def __init__(self, gateway: Gateway, stream_bytes: int) -> None:
        self._gateway = gateway
        self._wanted = stream_bytes
        self._over = threading.Event()
        self.streamed = 0
        self.refused = 0
        self._threads = [threading.Thread(target=self._stream), threading.Thread(target=self._hang)]

    def __enter__(self) -> "Troubles":
        self._frozen = self._client("shop")
        rows = 500_000_000 // ROW_BYTES
        self._frozen.send(query(f"SELECT repeat('f', {ROW_BYTES}) FROM generate_series(1, {rows})"))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()
        self._frozen.socket.close()

    def _client(self, connection: str) -> RawClient:
        client = RawClient(self._gateway.port, timeout=60)
        return client.login("agent", self._gateway.tokens["agent"], connection)

    def _stream(self) -> None:
        """So many bytes at least, and as long as the others are measured."""
        buffer = bytearray(1 << 20)
        with self._client("shop") as client:
            rows = 100 * self._wanted // ROW_BYTES
            client.send(query(f"SELECT repeat('r', {ROW_BYTES}) FROM generate_series(1, {rows})"))
            while self.streamed < self._wanted or not self._over.is_set():
                self.streamed += client.socket.recv_into(buffer)

    def _hang(self) -> None:
        """Four at a time, again and again."""

        def one() -> None:
            with contextlib.suppress(Exception), RawClient(self._gateway.port, timeout=30) as client:
                client.login("agent", self._gateway.tokens["agent"], "hanging")
            self.refused += 1

        while not self._over.is_set():
            waiting = [threading.Thread(target=one) for _ in range(4)]
            for thread in waiting:
                thread.start()
            for thread in waiting:
                thread.join()


def prepare(server: Server) -> None:
    server.sql(
        "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84))",
        "INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, 100000) AS n",
        "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler char(88))",
        "INSERT INTO pgbench_branches VALUES (1, 0, '')",
        "ALTER TABLE pgbench_accounts OWNER TO app",
        "ALTER TABLE pgbench_branches OWNER TO app",
        database="shop",
    )


def test_nobody_waits_for_those_who_misbehave(crowded: tuple[Gateway, Server]) -> None:
    """A small crowd: everybody gets on with it, and nobody waits as long as a stall would take."""
    gateway, server = crowded
    prepare(server)
    with Troubles(gateway, 50_000_000) as troubles:
        found = latencies(gateway, 40, 6)
    assert troubles.streamed >= 50_000_000 and troubles.refused >= 4
    assert max(found) < 4000  # of the host that does not answer, each waits for five seconds


def test_a_client_may_stop_reading_for_longer_than_a_dead_peer_is_waited_for(
    crowded: tuple[Gateway, Server],
) -> None:
    """All buffers on the way are full meanwhile; then it reads on, to the last row."""
    gateway, _ = crowded
    rows = 60_000
    with RawClient(gateway.port, timeout=60) as client:
        client.login("agent", gateway.tokens["agent"], "shop")
        client.send(query(f"SELECT repeat('p', {ROW_BYTES}) FROM generate_series(1, {rows})"))
        time.sleep(DEAD_SECONDS + 4)
        assert sum(kind == "D" for kind, _ in client.until()) == rows


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_sessions_and_three_that_misbehave(crowded: tuple[Gateway, Server]) -> None:
    """p99 of the others, in turns without and with the three."""
    gateway, server = crowded
    prepare(server)
    without, beside = [], []
    for _ in range(3):
        without.append(p99(latencies(gateway, 200, 8)))
        with Troubles(gateway, 2_000_000_000) as troubles:
            began = time.monotonic()
            beside.append(p99(latencies(gateway, 200, 8)))
        print(
            f"p99 of 200 sessions: {without[-1]:.1f} ms alone, {beside[-1]:.1f} ms beside the three; "
            f"{troubles.streamed / 1e9:.1f} GB in {time.monotonic() - began:.0f} s, {troubles.refused} hung"
        )
        assert troubles.streamed >= 2_000_000_000
    assert statistics.median(beside) <= 2 * statistics.median(without)


@pytest.mark.slow
def test_a_session_is_set_up_in_at_most_twice_the_time(crowded: tuple[Gateway, Server]) -> None:
    """Log-in to PostgreSQL itself, and through gateway and connector, in turns."""
    gateway, server = crowded
    straight: list[float] = []
    through: list[float] = []
    for _ in range(200):
        for taken, port, user, password, database in (
            (straight, server.port, "app", PASSWORD, "shop"),
            (through, gateway.port, "agent", gateway.tokens["agent"], "shop"),
        ):
            began = time.perf_counter()
            connection = psycopg.connect(
                host="127.0.0.1", port=port, user=user, password=password, dbname=database, sslmode="disable"
            )
            taken.append(time.perf_counter() - began)
            connection.close()
    direct, ours = statistics.median(straight) * 1000, statistics.median(through) * 1000
    print(f"p50 of a log-in: {direct:.1f} ms direct, {ours:.1f} ms through gateway and connector")
    assert ours <= 2 * direct
