"""Servers that count statements, and a gateway in front of them that watches."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.certificates import Authority
from support.servers import Server
from support.watched import Watched, counting, watching


@pytest.fixture(scope="session", params=[15, 18], ids=["pg15", "pg18"])
def counting_server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Server]:
    server = counting(request.param, authority)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def on_demand(counting_server: Server) -> Iterator[Watched]:
    """No looks but those that are asked for."""
    with tempfile.TemporaryDirectory(prefix="pgw-state-", ignore_cleanup_errors=True) as directory:
        watched = watching(counting_server, Path(directory), 0)
        try:
            yield watched
        finally:
            watched.gateway.stop()


@pytest.fixture
def always(counting_server: Server, state: Path) -> Iterator[Watched]:
    """Looks every five seconds, as by default. For one test only: another gateway's looks are foreign."""
    watched = watching(counting_server, state, 5)
    try:
        yield watched
    finally:
        watched.gateway.stop()
