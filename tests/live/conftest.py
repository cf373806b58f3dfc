"""One client run at a time, through the gateway, in front of PostgreSQL 15 and 18 in turn."""

import itertools
from collections.abc import Iterator

import pytest

from support.gateway import Gateway
from support.live import Live
from support.servers import Server

_numbers = itertools.count(1)


@pytest.fixture(params=[15, 18], ids=["pg15", "pg18"])
def live(request: pytest.FixtureRequest, shared_gateway: Gateway) -> Iterator[Live]:
    """A client in front of each of the two servers."""
    server: Server = request.getfixturevalue(f"server{request.param}")
    yield Live(shared_gateway, server, f"shop{request.param}", f"run-{next(_numbers)}")


@pytest.fixture
def live15(shared_gateway: Gateway, server15: Server) -> Live:
    """For what does not depend on the server's version."""
    return Live(shared_gateway, server15, "shop15", f"run-{next(_numbers)}")


@pytest.fixture
def table(live: Live) -> Iterator[str]:
    """An empty table ``items_N (id int, name text)`` of the role ``app``."""
    name = f"items_{next(_numbers)}"
    live.server.sql(
        f"CREATE TABLE {name} (id int, name text)", f"ALTER TABLE {name} OWNER TO app", database="shop"
    )
    yield name
    live.server.sql(f"DROP TABLE {name}", database="shop")
