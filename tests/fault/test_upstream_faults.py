"""PostgreSQL refuses, hangs, dies and comes back."""

import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from pgwitness.embedded import free_port
from support.gateway import Gateway
from support.raw import RawClient, ServerError, kinds, query
from support.servers import Server


@pytest.fixture
def tarpit() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refused(gateway: Gateway, connection: str) -> str:
    with RawClient(gateway.port, timeout=30) as client, pytest.raises(ServerError) as raised:
        client.login("agent", gateway.tokens["agent"], connection)
    assert raised.value.sqlstate == "08001"
    return str(raised.value)


def test_refused_and_hanging_upstreams(front: Gateway, server18: Server, tarpit: int) -> None:
    front.add_connection("refusing", server18, port=str(free_port()))
    front.add_connection("hanging", server18, port=str(tarpit))
    front.run("connection", "update", "hanging", "--connect-timeout", "2")
    front.run("identity", "grant", "agent", "--connections", "refusing,hanging")
    assert "refusing" in refused(front, "refusing")
    waiting = threading.Thread(target=refused, args=(front, "hanging"))
    began = time.monotonic()
    waiting.start()
    with front.connect("agent", "shop") as connection:  # others are served meanwhile
        connection.execute("SELECT 1")
    assert time.monotonic() - began < 1.9
    waiting.join(20)
    assert not waiting.is_alive() and time.monotonic() - began < 10


def test_server_dies_in_mid_result(gateway: Gateway, fragile: Server) -> None:
    gateway.add_connection("shop", fragile)
    gateway.add_identity("agent", "shop")
    client = RawClient(gateway.port).login("agent", gateway.tokens["agent"], "shop")
    with client:
        client.send(query("SELECT n, pg_sleep(0.001) FROM generate_series(1, 100000) AS n"))
        while client.receive()[0] != "D":
            pass
        fragile.crash()
        with pytest.raises(ConnectionError):
            client.until()
    (statement,) = gateway.statements(
        wait_for=lambda found: [s["transaction"]["outcome"] for s in found] not in ([], ["open"])
    )
    assert statement["status"] in ("unfinished", "error") and statement["tag"] is None
    assert statement["transaction"]["outcome"] in ("rolled_back", "in_doubt")

    assert "shop" in refused(gateway, "shop")
    fragile.start()
    with gateway.connect("agent", "shop") as connection:
        connection.execute("SELECT 'back'")
    gateway.statements("--match", "back", wait_for=1)


def test_server_dies_while_a_transaction_is_open(gateway: Gateway, fragile: Server) -> None:
    gateway.add_connection("shop", fragile)
    gateway.add_identity("agent", "shop")
    with pytest.raises(psycopg.OperationalError), gateway.connect("agent", "shop") as connection:
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE never (id int)")
        fragile.crash()
        connection.execute("COMMIT")
    record = gateway.statements(
        wait_for=lambda found: len(found) >= 2 and found[1]["transaction"]["outcome"] != "open"
    )
    assert record[1]["sql"].startswith("CREATE") and record[1]["transaction"]["outcome"] in (
        "rolled_back",
        "in_doubt",
    )


def test_connection_lost_at_commit_is_in_doubt(gateway: Gateway, fragile: Server) -> None:
    """The server is frozen when COMMIT arrives, and killed: nobody can tell whether it committed."""
    import os
    import signal

    gateway.add_connection("shop", fragile)
    gateway.add_identity("agent", "shop")
    client = RawClient(gateway.port).login("agent", gateway.tokens["agent"], "shop")
    with client:
        for sql in ("BEGIN", "CREATE TABLE maybe (id int)"):
            client.send(query(sql))
            assert kinds(client.until()).endswith("CZ")
        (backend,) = fragile.backends()
        os.kill(backend, signal.SIGSTOP)
        client.send(query("COMMIT"))
        time.sleep(0.3)
        os.kill(backend, signal.SIGKILL)
        assert client.closed()
    record = gateway.statements(
        wait_for=lambda found: len(found) == 3 and found[2]["transaction"]["outcome"] != "open"
    )
    assert [s["transaction"]["outcome"] for s in record] == ["in_doubt"] * 3
    assert record[2]["status"] == "unfinished"
