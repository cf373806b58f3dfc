"""``pgwitness reenact`` as a responder uses it: what it prints, its exit codes, where it refuses to run."""

import json
from collections.abc import Iterator

import pytest

from pgwitness import demo
from pgwitness.demo_stage import CONNECTION, IDENTITY
from reenact.conftest import Pair
from support.gateway import Gateway
from support.servers import Server

DEMO = ("demo_shop", "demo_copy")


@pytest.fixture
def shop(pairs: Gateway, server18: Server) -> Iterator[str]:
    """The demo's database and a copy of it; the copy's address."""
    server18.sql("CREATE ROLE agent")
    for name in DEMO:
        server18.sql(f"CREATE DATABASE {name}")
        server18.sql(*demo.SCHEMA, "GRANT SELECT, INSERT, UPDATE ON orders, refunds TO app", database=name)
    pairs.add_connection(CONNECTION, server18, database=DEMO[0])
    pairs.add_identity(IDENTITY, CONNECTION)
    yield server18.dsn(DEMO[1], user="app")
    for name in DEMO:
        server18.sql(f"DROP DATABASE {name} WITH (FORCE)")
    server18.sql("DROP ROLE agent")


def test_the_demo_from_the_mistake_to_its_rows(shop: str, pairs: Gateway, server18: Server) -> None:
    """Re-enacted without divergence; on a changed copy the first one is named; what the mistake touched."""
    demo._agent(pairs.dsn(IDENTITY, CONNECTION))
    (found,) = pairs.sessions(
        "--connection", CONNECTION, wait_for=lambda all: bool(all) and all[0]["ended_at"] is not None
    )
    session = found["session"][-8:]
    (mistake,) = pairs.statements("--session", found["session"], "--min-rows", "40000", "--command", "UPDATE")
    seq = str(mistake["seq"])

    before = pairs.run("reenact", session, "--into", shop, "--until", seq)
    assert f"The copy is as it was just before statement {seq}" in before.stdout
    touched = pairs.run("undo", session, seq, "--into", shop, "--limit", "2")
    assert "40,000 rows, as on record; the statement touched the same ones." in touched.stdout
    assert "id 1   status paid → void" in touched.stdout and "and 39,998 more" in touched.stdout

    for name in ("refunds", "orders"):
        server18.sql(f"TRUNCATE {name} CASCADE", database=DEMO[1])
    server18.sql(demo.SCHEMA[1], database=DEMO[1])
    whole = pairs.run("reenact", session, "--into", shop)
    assert "No divergence." in whole.stdout and "upstream-secret" not in whole.stdout + whole.stderr

    changed = pairs.run("reenact", session, "--into", shop, "--format", "json", check=False)
    assert changed.returncode == 1, "it has been run there before"
    report = json.loads(changed.stdout)
    assert (report["ended"], report["diverged"], report["first"]["seq"]) == ("divergence", 1, 6)
    readings = pairs.jsonl("audit", "--action", "read")
    assert {"read.frames"} == {one["action"] for one in readings if one["subject"] == found["session"]} - {
        "read.statements"
    }


def test_it_refuses_the_registered_connection_by_any_way_to_it(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("DELETE FROM orders")
    session, run = pair.session(), pair.gateway.run
    restored = pair.server.sql("INSERT INTO orders (id) VALUES (1)", database=pair.name)
    assert restored == []
    directly = pair.server.dsn(pair.name, user="app")
    through_socket = f"host={pair.server.directory} port={pair.server.port} dbname={pair.name} user=postgres"
    by_name = directly.replace("127.0.0.1", "localhost")
    ways = (("reenact", through_socket), ("reenact", pair.dsn), ("reenact", by_name), ("undo", directly))
    for command, dsn in ways:
        which = (session, "1") if command == "undo" else (session,)
        refused = run(command, *which, "--into", dsn, check=False)
        assert refused.returncode == 1 and refused.stdout == ""
        assert "regist" in refused.stderr and "--force" in refused.stderr
        assert "upstream-secret" not in refused.stderr and "pgw_" not in refused.stderr
    assert pair.server.sql("SELECT count(*) FROM orders", database=pair.name) == [(1,)]
    forced = run("reenact", session, "--into", directly, "--force", check=False)
    assert forced.returncode == 1 and "Forced: " in forced.stderr
    assert "DELETE 300" in forced.stdout and "DELETE 1" in forced.stdout


def test_a_superuser_of_the_copy_is_refused(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("UPDATE orders SET status = 'void'")
    session, run = pair.session(), pair.gateway.run
    pair.on_copy("CREATE EXTENSION postgres_fdw", "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw")
    as_super = f"host={pair.server.directory} port={pair.server.port} user=postgres dbname={pair.name}_copy"
    for command in (("reenact", session), ("undo", session, "1")):
        refused = run(*command, "--into", as_super, check=False)
        assert refused.returncode == 1 and "postgres is a superuser" in refused.stderr
        assert "--as-superuser" in refused.stderr
    assert pair.on_copy("SELECT count(*) FROM orders WHERE status = 'paid'") == [(300,)]
    done = run("reenact", session, "--into", as_super, "--as-superuser")
    assert "No divergence." in done.stdout
    assert "With all rights" in done.stderr and "foreign server far" in done.stderr


def test_usage(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("SELECT 1")
    session, run = pair.session(), pair.gateway.run
    wrong = run("reenact", session, "--into", "postgresql://u:secret-word@[", check=False)
    assert wrong.returncode == 2 and "is not a connection string" in wrong.stderr
    assert "secret-word" not in wrong.stderr
    assert run("reenact", session, "--into", pair.copy, "--until", "0", check=False).returncode == 2
    nowhere = pair.copy.replace(str(pair.server.port), "1")
    assert run("reenact", session, "--into", nowhere, check=False).returncode == 3
