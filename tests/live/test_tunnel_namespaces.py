"""Gateway and connector in networks of their own, with a way out of the connector's and none in."""

import itertools
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_other_drivers import pg8000_connection, test_asyncpg_types_and_tags, test_pg8000, test_pgbench
from test_psql import test_copy_both_ways, test_statements_are_recorded_as_typed
from test_psycopg import test_cancel, test_pipeline, test_transactions_and_savepoints

from support import networks
from support.connectors import Connector, add_connection
from support.gateway import Gateway
from support.live import Live
from support.networks import Networks
from support.servers import Server

THE_SAME_TESTS = (
    pg8000_connection,
    test_asyncpg_types_and_tags,
    test_cancel,
    test_copy_both_ways,
    test_pg8000,
    test_pgbench,
    test_pipeline,
    test_statements_are_recorded_as_typed,
    test_transactions_and_savepoints,
)
"""Named so that nobody takes their imports for unused: they run here on the fixture ``live`` below."""

_numbers = itertools.count(1)
_LISTEN = """
import socket, time
listener = socket.create_server(("0.0.0.0", 5432))
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def nets() -> Iterator[Networks]:
    yield from networks.networks()


@pytest.fixture(scope="module")
def far(nets: Networks, server18: Server) -> Iterator[Gateway]:
    """A gateway in its network; its connector, in the other one, reaches PostgreSQL by a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="pgw-state-", ignore_cleanup_errors=True) as directory:
        gateway = Gateway(Path(directory), "--host", "0.0.0.0")
        connector = None
        try:
            with nets.inside("gateway"):
                gateway.start()
            port = gateway.tunnel.rpartition(":")[2]
            nets.allow_replies(int(port))
            connector = Connector(
                gateway, address=f"{networks.GATEWAY}:{port}", prefix=nets.prefix("connector")
            )
            connector.join().start()
            add_connection(gateway, "shop18", server18, "beside", host=str(server18.directory))
            gateway.add_identity("agent", "shop18")
            yield gateway
        finally:
            if connector is not None:
                connector.remove()
            gateway.stop()


@pytest.fixture
def live(nets: Networks, far: Gateway, server18: Server) -> Iterator[Live]:
    """Clients are beside the gateway."""
    with nets.inside("gateway"):
        yield Live(far, server18, "shop18", f"apart-{next(_numbers)}")


def can_connect(nets: Networks, side: str, address: str, port: int) -> bool:
    with nets.inside(side):
        try:
            socket.create_connection((address, port), 2).close()
        except OSError:
            return False
    return True


def test_the_gateway_cannot_open_a_connection_to_the_connectors_side(nets: Networks, far: Gateway) -> None:
    """Somebody listens there, and is reached from there: but not from the gateway's side."""
    tunnel = int(far.tunnel.rpartition(":")[2])
    listener = subprocess.Popen(
        [*nets.prefix("connector"), sys.executable, "-c", _LISTEN], stdout=subprocess.PIPE, text=True
    )
    with listener:
        try:
            assert listener.stdout is not None and listener.stdout.readline() == "up\n"
            assert can_connect(nets, "connector", networks.CONNECTOR, 5432)
            assert not can_connect(nets, "gateway", networks.CONNECTOR, 5432)
            assert can_connect(nets, "connector", networks.GATEWAY, tunnel)
        finally:
            listener.kill()
    with nets.inside("gateway"), far.connect("agent", "shop18") as connection:
        assert connection.execute("SELECT 'through'").fetchone() == ("through",)
