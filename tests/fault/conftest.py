"""Gateways and servers that a test may break, each test its own."""

from collections.abc import Iterator

import pytest

from support.gateway import Gateway
from support.servers import Server, ServerFactory


@pytest.fixture
def fragile(make_server: ServerFactory) -> Server:
    """A PostgreSQL 18 that the test may stop and crash."""
    return make_server(18)


@pytest.fixture
def front(gateway: Gateway, server18: Server) -> Iterator[Gateway]:
    """A gateway for this test alone, before the shared server: identity ``agent``, connection ``shop``."""
    gateway.add_connection("shop", server18)
    gateway.add_identity("agent", "shop")
    yield gateway
