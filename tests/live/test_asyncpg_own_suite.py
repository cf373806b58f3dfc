"""asyncpg's own test suite, run directly and through the gateway: each test must end the same way.

The identity is named ``postgres`` like the role behind it, since the suite compares user names.
"""

import collections
from pathlib import Path

import pytest

from support.foreign import fetch_suite, run_suite
from support.gateway import Gateway
from support.servers import PASSWORD, ServerFactory

DATABASES = ("postgres", "testdb", "asyncpg_intro_test")
"""The suite makes two databases and connects to them by name, so these are registered beforehand."""

DIFFERENCES: dict[str, str] = {}
"""Test → why it ends otherwise through a gateway."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_asyncpg_own_suite(gateway: Gateway, make_server: ServerFactory, tmp_path: Path) -> None:
    tests = fetch_suite(tmp_path)
    server = make_server(18)
    direct = run_suite(
        tests,
        tmp_path / "direct.xml",
        host="127.0.0.1",
        port=server.port,
        user="postgres",
        password=PASSWORD,
        database="postgres",
    )
    assert collections.Counter(direct.values())["passed"] > 250, direct

    for database in DATABASES:
        gateway.add_connection(database, server, user="postgres", database=database)
    gateway.add_identity("postgres", *DATABASES)
    witnessed = run_suite(
        tests,
        tmp_path / "witnessed.xml",
        host="127.0.0.1",
        port=gateway.port,
        user="postgres",
        password=gateway.tokens["postgres"],
        database="postgres",
    )
    differing = {
        name: f"{result} directly, {witnessed.get(name)} through the gateway"
        for name, result in direct.items()
        if witnessed.get(name) != result
    }
    print(f"{collections.Counter(direct.values())} directly; differing: {differing}")
    assert differing.keys() == DIFFERENCES.keys(), differing
