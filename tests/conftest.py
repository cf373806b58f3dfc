"""Servers and gateways for every test that wants real ones. Tests that want none start none."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import Authority
from support.gateway import Gateway
from support.servers import Server, ServerFactory, require


def pytest_configure() -> None:
    """End in order also on SIGTERM (of ``timeout``, of CI): servers and gateways outlive us otherwise. And
    heed Ctrl-C, as what we start does: a shell starts its background jobs so that they ignore it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA of the test servers' certificates."""
    return Authority()


def _server(version: int, authority: Authority) -> Iterator[Server]:
    require(version)
    server = Server(version, authority)
    try:
        yield server.prepare()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def server15(authority: Authority) -> Iterator[Server]:
    """PostgreSQL 15 with TLS."""
    yield from _server(15, authority)


@pytest.fixture(scope="session")
def server18(authority: Authority) -> Iterator[Server]:
    """PostgreSQL 18, without TLS."""
    yield from _server(18, authority)


@pytest.fixture(scope="session", params=[15, 18], ids=["pg15", "pg18"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two in turn."""
    found: Server = request.getfixturevalue(f"server{request.param}")
    return found


@pytest.fixture
def make_server(authority: Authority) -> Iterator[ServerFactory]:
    """Private servers that a test may restart, crash and configure."""
    made: list[Server] = []

    def make(version: int = 18, **settings: str) -> Server:
        require(version)
        made.append(Server(version, authority, settings))
        return made[-1].prepare()

    try:
        yield make
    finally:
        for one in made:
            one.remove()


@pytest.fixture
def state() -> Iterator[Path]:
    """An empty state directory with a short path: it holds a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="pgw-state-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def gateway(state: Path) -> Iterator[Gateway]:
    """A running gateway with nothing registered, for this test alone."""
    running = Gateway(state)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def shared_gateway(server15: Server, server18: Server) -> Iterator[Gateway]:
    """One gateway for tests that only add sessions: ``agent`` may use ``shop15`` and ``shop18``."""
    with tempfile.TemporaryDirectory(prefix="pgw-state-", ignore_cleanup_errors=True) as directory:
        running = Gateway(Path(directory))
        try:
            running.start()
            running.add_connection("shop15", server15)
            running.add_connection("shop18", server18)
            running.add_identity("agent", "shop15", "shop18")
            yield running
        finally:
            running.stop()
