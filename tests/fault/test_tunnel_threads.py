"""Several relay threads on both sides, several connectors: a session finds a connection on its own thread."""

import threading
import time
from collections import Counter
from pathlib import Path

import psycopg

from support.compare import headers
from support.connectors import Connector, add_connection
from support.gateway import Gateway
from support.servers import Server

SESSIONS = 60


def test_a_burst_on_several_threads(state: Path, server18: Server) -> None:
    gateway = Gateway(state, environment={"PGWITNESS_RELAY_THREADS": "4"})
    connectors = [Connector(gateway, name, "--relay-threads", "3") for name in ("left", "right")]
    try:
        gateway.start()
        add_connection_of(gateway, server18, connectors)
        errors: list[str] = []
        taken: list[float] = []
        together = threading.Barrier(SESSIONS)

        def session() -> None:
            together.wait(30)
            began = time.monotonic()
            try:
                with gateway.connect("agent", "shop") as connection:
                    taken.append(time.monotonic() - began)
                    assert connection.execute("SELECT 1").fetchone() == (1,)
                    together.wait(30)  # all are open at once
            except (psycopg.Error, AssertionError, threading.BrokenBarrierError) as error:
                together.abort()
                errors.append(repr(error))

        threads = [threading.Thread(target=session) for _ in range(SESSIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors, (errors[:3], gateway.log[-2000:])
        by_connector = Counter(each["upstream"]["connector"] for each in headers(state).values())
        assert min(by_connector["left"], by_connector["right"]) >= SESSIONS // 3, by_connector
        print(f"log-in of {SESSIONS} at once: {min(taken):.2f} to {max(taken):.2f} s")
        assert max(taken) < 8, "a session waited until tickets had expired"
        assert gateway.terminate() == 0
    finally:
        for connector in connectors:
            connector.remove()
        gateway.stop()


def add_connection_of(gateway: Gateway, server: Server, connectors: list[Connector]) -> None:
    for connector in connectors:
        connector.join().start()
    add_connection(gateway, "shop", server, ",".join(connector.name for connector in connectors))
    gateway.add_identity("agent", "shop")
