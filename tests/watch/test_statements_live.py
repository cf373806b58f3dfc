"""What the server counted against the record: nothing where all is recorded, everything that is not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from support.servers import DEBIAN_15
from support.watched import Document, Watched, on_one_version


@pytest.fixture
def baseline(on_demand: Watched) -> Iterator[Watched]:
    """Looked at, and all that was found so far accepted."""
    on_demand.look("statements")
    on_demand.accept_all()
    yield on_demand
    on_demand.look("statements")
    on_demand.accept_all()


def unrecorded(looked: Document) -> list[Document]:
    return [one for one in looked["findings"] if one["counts"]]


def run_everything(connection: psycopg.Connection[Any]) -> None:
    """Whatever a server counts in its own way."""
    run = connection.execute
    for number in range(20):
        run(f"SELECT * FROM orders WHERE id = {number}")  # literals in the text
        run("UPDATE orders SET status = %s WHERE id IN (%s, %s)", (str(number), number, number + 1))
    run("/* a remark */ SELECT 'x', -1, NULL, true, INTERVAL '1' DAY -- and another")
    run("SELECT 1; SELECT 2, 'two'; SELECT count(*) FROM orders")
    run("BEGIN ISOLATION LEVEL REPEATABLE READ")
    run("SAVEPOINT one")
    run("INSERT INTO orders VALUES (-1, 'a'), (-2, 'b') ON CONFLICT DO NOTHING")
    run("ROLLBACK TO one")
    run("RELEASE one")
    run("DECLARE c CURSOR FOR SELECT * FROM orders WHERE id > 100 ORDER BY id")
    run("FETCH 10 FROM c")
    run("MOVE 5 FROM c")
    run("CLOSE c")
    run("DECLARE d CURSOR WITH HOLD FOR SELECT * FROM orders WHERE id > 4000")
    run("COMMIT")
    run("FETCH ALL FROM d")
    run("CLOSE ALL")
    run("START TRANSACTION")
    run("DELETE FROM orders WHERE id < 0")
    run("ROLLBACK")
    run("PREPARE p AS SELECT * FROM orders WHERE id = $1")
    for number in range(5):
        run(f"EXECUTE p({number})")
    run("DEALLOCATE p")
    run("SET work_mem = '5MB'")
    run("SET TIME ZONE 'UTC'")
    run("RESET ALL")
    run("SHOW work_mem")
    run("EXPLAIN (COSTS OFF) SELECT * FROM orders")
    run("EXPLAIN ANALYZE SELECT * FROM orders")
    run("CREATE TABLE made AS SELECT * FROM orders WHERE id < 10")
    run("ALTER TABLE made ADD COLUMN extra text DEFAULT 'x'")
    run("SELECT * INTO made2 FROM made")
    run("DROP TABLE made, made2")
    run("DO $$ BEGIN PERFORM count(*) FROM orders; END $$")
    run(
        "CREATE FUNCTION double(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT i * 2); END $$"
    )
    run("SELECT double(id) FROM orders LIMIT 3")
    run("DROP FUNCTION double")
    run("CREATE PROCEDURE nothing() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$")
    run("CALL nothing()")
    run("DROP PROCEDURE nothing")
    run("VALUES (1, 'a'), (2, 'b')")
    run("TABLE orders LIMIT 2")
    run("WITH w AS (UPDATE orders SET status = 'w' WHERE id = 7 RETURNING id) SELECT * FROM w")
    run("LISTEN news")
    run("NOTIFY news, 'none'")
    run("UNLISTEN *")
    run("ALTER ROLE app SET work_mem = '4MB'")
    run("COMMENT ON TABLE orders IS 'what was ordered'")
    with connection.cursor().copy("COPY (SELECT * FROM orders WHERE id < 50) TO STDOUT") as copy:
        for _ in copy:
            pass
    with connection.cursor().copy("COPY orders FROM STDIN") as copy:
        copy.write_row((100_001, "copied"))
    for broken in ("SELECT 1/0", "SELECT nothing", "selec", "INSERT INTO orders VALUES (1, 'twice')"):
        with pytest.raises(psycopg.Error):
            run(broken)
    with connection.transaction(), connection.cursor(name="pages") as cursor:
        cursor.itersize = 10
        assert len(cursor.execute("SELECT * FROM orders ORDER BY id LIMIT 35").fetchall()) == 35
    with connection.pipeline():
        for number in range(10):
            run("SELECT %s::int + 1", (number,))
    run("DISCARD ALL")
    run("DELETE FROM orders WHERE id > 100000")


def foreign_keys(connection: psycopg.Connection[Any]) -> None:
    """Deferred, so that the server's own checks run at commit, at the top level."""
    run = connection.execute
    run("CREATE TABLE lines (id int REFERENCES orders DEFERRABLE INITIALLY DEFERRED)")
    run("BEGIN")
    run("INSERT INTO lines SELECT generate_series(1, 20)")
    run("COMMIT")
    run("INSERT INTO lines VALUES (1)")
    with pytest.raises(psycopg.Error):
        run("INSERT INTO lines VALUES (-77)")  # fails at commit, and is counted
    run("DROP TABLE lines")


def test_what_is_recorded_is_explained(baseline: Watched) -> None:
    with baseline.through() as connection:
        run_everything(connection)
        connection.prepare_threshold = 1
        run_everything(connection)
        foreign_keys(connection)
    looked = baseline.look("statements")
    assert unrecorded(looked) == []
    counted = looked["statements"]
    assert counted["unrecorded"] == 0
    assert counted["server"] > 150
    assert counted["record"] > 150


@on_one_version
def test_a_benchmark_leaves_no_difference(baseline: Watched) -> None:
    server, gateway = baseline.server, baseline.gateway
    server.sql("CREATE SCHEMA IF NOT EXISTS bench AUTHORIZATION app", database="shop")
    environment = {
        "PGPASSWORD": gateway.tokens["agent"],
        "PGSSLMODE": "disable",
        "PGOPTIONS": "-c search_path=bench",
    }
    where = ["-h", "127.0.0.1", "-p", str(gateway.port), "-U", "agent"]

    def pgbench(*arguments: str) -> None:
        command = [str(DEBIAN_15 / "pgbench"), *where, *arguments, "shop"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    pgbench("-i", "-q")
    for mode in ("simple", "extended", "prepared"):
        pgbench("-M", mode, "-c", "4", "-t", "50")
    looked = baseline.look("statements")
    server.sql("DROP SCHEMA bench CASCADE", database="shop")
    assert unrecorded(looked) == []
    assert looked["statements"]["server"] > 3500


def test_a_thousand_statements_around_the_gateway_are_found(baseline: Watched) -> None:
    with baseline.through() as connection:
        for number in range(100):
            connection.execute("UPDATE orders SET status = 'paid' WHERE id = %s AND status > ''", (number,))
    with baseline.around() as connection:
        for number in range(1000):
            connection.execute(
                "UPDATE orders SET status = 'void' WHERE id = %s AND status > ''", (number + 1,)
            )
        connection.execute("COMMENT ON TABLE orders IS 'between us'")
    looked = baseline.look("statements")
    update, comment = sorted(unrecorded(looked), key=lambda one: -one["details"]["calls"])
    assert update["details"]["query"].startswith("UPDATE orders SET status = $")
    assert update["level"] == "alarm"
    assert (update["details"]["calls"], update["details"]["database"]) == (1000, "shop")
    assert update["what"].startswith("1000 calls that the server counted in shop are not in the record")
    assert comment["details"]["query"] == "COMMENT ON TABLE orders IS '…'"
    assert looked["statements"]["unrecorded"] == 1001
    done = baseline.gateway.run("watch", "shop", "--only", "statements", check=False)
    assert done.returncode == 1
    assert "1000 calls" in done.stdout
    # known now: not once more, but more of them are told as such, with the sum
    with baseline.around() as connection:
        connection.execute("UPDATE orders SET status = 'void' WHERE id = 1 AND status > ''")
    again = {one["key"]: one for one in unrecorded(baseline.look("statements"))}
    assert again[update["key"]]["details"]["calls"] == 1001
    assert again[update["key"]]["first_seen"] == update["first_seen"]


@on_one_version
def test_in_a_long_transaction_nothing_is_taken_for_unrecorded(baseline: Watched) -> None:
    with baseline.through() as connection, connection.transaction():
        connection.execute("DECLARE held CURSOR FOR SELECT * FROM orders WHERE id > 11 AND id < 13")
        connection.execute("SELECT 'still open', %s::int", (1,))
        with connection.cursor(name="portal") as cursor:
            cursor.execute("SELECT * FROM orders WHERE id > 21 AND id < 29")
            assert unrecorded(baseline.look("statements")) == []
            cursor.fetchall()
        connection.execute("FETCH ALL FROM held")
    assert unrecorded(baseline.look("statements")) == []


@on_one_version
def test_counters_that_are_reset_are_reported(baseline: Watched) -> None:
    server = baseline.server
    with baseline.through() as connection:
        connection.execute("SELECT 'counted once' AS a")
    baseline.look("statements")
    server.sql(
        "SELECT pg_stat_statements_reset(userid, dbid, queryid) FROM pg_stat_statements"
        " WHERE query LIKE '%AS a'",
        database="shop",
    )
    (removed,) = unrecorded(baseline.look("statements"))
    assert removed["key"] == "statements-removed"
    baseline.accept_all()
    server.sql("SELECT pg_stat_statements_reset()", database="shop")
    (reset,) = unrecorded(baseline.look("statements"))
    assert reset["level"] == "weakness"
    assert "somebody reset them" in reset["what"]


@on_one_version
def test_what_is_not_counted_is_said(baseline: Watched) -> None:
    server = baseline.server
    server.sql("ALTER SYSTEM SET pg_stat_statements.track = 'none'", "SELECT pg_reload_conf()")
    try:
        baseline.gateway.run("watch", "shop", "--only", "statements", check=False)
        looked = baseline.look("statements")
        assert any("pg_stat_statements.track is none" in limit for limit in looked["limits"])
    finally:
        server.sql("ALTER SYSTEM RESET pg_stat_statements.track", "SELECT pg_reload_conf()")
