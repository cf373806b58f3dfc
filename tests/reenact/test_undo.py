"""The rows of a write: those that the SELECT finds are those that the statement touches."""

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings

from pgwitness.errors import InvalidError
from pgwitness.reenact import touching
from pgwitness.reenact.chosen import choose
from pgwitness.reenact.undo import Undo, undo
from reenact.conftest import Pair

# --- the SELECT and the statement, on a real server ---

COLUMNS = ("id", "region", "status", "cents")
VALUES = {"id": ("3", "77", "1000"), "region": ("'east'", "'west'", "NULL"), "status": ("'paid'", "''"),
          "cents": ("30", "500", "NULL")}  # fmt: skip


@st.composite
def conditions(draw: st.DrawFn, called: str, depth: int = 2) -> str:
    """Of a table ``orders`` under that name, at random."""
    kind = draw(st.integers(0, 9 if depth else 5))
    column = draw(st.sampled_from(COLUMNS))
    value = draw(st.sampled_from(VALUES[column]))
    named = (
        draw(st.sampled_from((column, f"{called}.{column}"))) if called == "orders" else f"{called}.{column}"
    )
    if kind <= 1:
        return f"{named} {draw(st.sampled_from(('=', '<>', '<', '>=', 'IS DISTINCT FROM')))} {value}"
    if kind == 2:
        return f"{named} IS {draw(st.sampled_from(('', 'NOT ')))}NULL"
    if kind == 3:
        return f"{named} {draw(st.sampled_from(('', 'NOT ')))}IN ({value}, {VALUES[column][0]})"
    if kind == 4:
        return f"{called}.id BETWEEN {draw(st.integers(-5, 200))} AND {draw(st.integers(0, 400))}"
    if kind == 5:
        return f"EXISTS (SELECT 1 FROM refunds AS f WHERE f.order_id = {called}.id AND f.cents > 20)"
    inner = conditions(called, depth - 1)
    if kind == 6:
        return f"NOT ({draw(inner)})"
    return f"({draw(inner)}) {draw(st.sampled_from(('AND', 'OR')))} {draw(inner)}"


@st.composite
def writes(draw: st.DrawFn) -> str:
    """UPDATE and DELETE statements: with further relations, WITH queries, ONLY, aliases, RETURNING."""
    alias = draw(st.sampled_from(("", " AS o", " o")))
    called = "o" if alias else "orders"
    only = draw(st.sampled_from(("", "ONLY ")))
    name = draw(st.sampled_from(("orders", "public.orders")))
    beside, joined, head = "", "", ""
    form = draw(st.integers(0, 4))
    if form == 1:
        beside, joined = "refunds AS r", f"r.order_id = {called}.id"
    elif form == 2:
        beside = "refunds AS r LEFT JOIN notes AS n ON n.id = r.order_id"
        joined = f"r.order_id = {called}.id AND n.id IS NULL"
    elif form == 3:
        head = "WITH large AS (SELECT order_id FROM refunds WHERE cents > 10) "
        beside, joined = "large", f"large.order_id = {called}.id"
    elif form == 4:
        head = "WITH orders AS (SELECT 5 AS five) "
        beside, joined = "orders AS w", f"{called}.id > w.five"
    condition = draw(conditions(called))
    where = (
        f" WHERE {joined} AND ({condition})" if joined else draw(st.sampled_from(("", f" WHERE {condition}")))
    )
    returning = draw(st.sampled_from(("", " RETURNING *", f" RETURNING {called}.id + 1")))
    if draw(st.booleans()):
        using = f" USING {beside}" if beside else ""
        return f"{head}DELETE FROM {only}{name}{alias}{using}{where}{returning}"
    changes = (
        "status = 'void'",
        f"cents = {called}.cents + 1",
        "(region, cents) = (SELECT 'x', 7)",
        f"id = -{called}.id",
    )
    change = draw(st.sampled_from(changes))
    source = f" FROM {beside}" if beside else ""
    return f"{head}UPDATE {only}{name}{alias} SET {change}{source}{where}{returning}"


@pytest.fixture
def table(pair: Pair) -> psycopg.Connection[Any]:
    """Orders with a child table, some of them refunded, some twice."""
    pair.on_copy(
        "CREATE TABLE refunds (order_id int, cents int)",
        "INSERT INTO refunds SELECT n * 7 % 300, n FROM generate_series(1, 60) AS n",
        "INSERT INTO refunds SELECT 14, 99 FROM generate_series(1, 3)",
        "CREATE TABLE archived () INHERITS (orders)",
        "INSERT INTO archived SELECT * FROM orders WHERE id < 20",
    )
    return psycopg.connect(pair.server.dsn(f"{pair.name}_copy"))


def test_the_select_finds_what_the_statement_touches(table: psycopg.Connection[Any]) -> None:
    seen = {"UPDATE": 0, "DELETE": 0}

    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(writes())
    def check(sql: str) -> None:
        table.rollback()
        try:
            plain = table.execute(sql.encode())
        except psycopg.errors.AmbiguousColumn:
            return
        touched_by_itself = plain.rowcount
        table.rollback()
        write = touching.understand(sql)
        found = table.execute(touching.select(write, "public", ["id"]).encode()).fetchall()
        touched = table.execute(touching.change(write, "public").encode()).fetchall()
        assert sorted(row[:2] for row in found) == sorted(row[:2] for row in touched)
        assert touched_by_itself == len(found)
        seen[write.command] += bool(found)

    with table:
        check()
    assert min(seen.values()) > 15


REFUSED = {
    "INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET cents = 1": "an INSERT touches no row",
    "MERGE INTO orders USING refunds ON id = order_id WHEN MATCHED THEN DELETE": "a MERGE decides row by row",
    "WITH gone AS (DELETE FROM refunds) UPDATE orders SET cents = 1": "its WITH changes",
    "DELETE FROM orders WHERE CURRENT OF c": "CURRENT OF",
    "TRUNCATE orders": "TRUNCATE touches every row",
    "SELECT pay()": "a SELECT changes rows only through",
    "EXECUTE nothing (1)": "the PREPARE of 'nothing' is not on record",
    "DELETE FROM orders; DELETE FROM refunds": "it is not one statement",
    "DELETE FROM": "parser does not understand",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_what_no_select_tells_is_refused_with_the_reason(sql: str) -> None:
    with pytest.raises(InvalidError, match="cannot be shown: .*" + REFUSED[sql]):
        touching.understand(sql)


# --- of recorded sessions ---


def _undo(pair: Pair, session: str, find: str, **options: Any) -> Undo:
    (statement,) = [one for one in pair.gateway.statements("--session", session) if find in one["sql"]]
    with pair.spool(session) as spool:
        report = pair.reenact(session, until=statement["seq"])
        assert report.ended == "until" and report.first is None, report
        return undo(choose(spool.frames(), statement["seq"]), pair.copy, "the copy", **options)


def test_before_and_after_with_bound_values(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("UPDATE orders SET status = 'early' WHERE id = 3")
        with connection.transaction():
            connection.execute("UPDATE orders SET cents = 7 WHERE id = 6")
            connection.execute(
                "UPDATE orders SET status = %s WHERE region = %s AND cents < %s -- this",
                ("void", "east", 100),
                binary=True,
            )
    kept: list[tuple[list[str], list[str | None]]] = []
    found = _undo(pair, pair.session(), "-- this", limit=2, keep=lambda names, row: kept.append((names, row)))
    assert (found.rows, found.touched, found.recorded, found.agree) == (3, 3, 3, True)
    assert (found.key, found.problem, found.table) == (["id"], None, "orders")
    first, second = found.shown
    assert first.key == {"id": "3"} and first.after is not None
    assert (first.before["status"], first.after["status"]) == ("early", "void")
    assert (second.before["cents"], second.key) == ("7", {"id": "6"}), "what its transaction had done before"
    assert [row[0] for _, row in kept] == ["3", "6", "9"]
    assert pair.on_copy("SELECT count(*) FROM orders WHERE status = 'void'") == [(0,)], "never committed"


def test_settings_of_the_session_hold(pair: Pair) -> None:
    for run in (pair.server.sql, None):
        statements = (
            "CREATE SCHEMA other AUTHORIZATION app",
            "CREATE TABLE other.orders (id int, body text)",
            "ALTER TABLE other.orders OWNER TO app",
            "INSERT INTO other.orders VALUES (1, 'a'), (1, 'b')",
        )
        if run is not None:
            run(*statements, database=pair.name)
        else:
            pair.on_copy(*statements)
    with pair.connect(options="-c search_path=public") as connection:
        connection.execute("SET search_path = other")
        connection.execute("PREPARE gone (int) AS DELETE FROM orders WHERE id = $1 AND body > 'a'")
        connection.execute("EXECUTE gone (1)")
    found = _undo(pair, pair.session(), "EXECUTE")
    assert (found.rows, found.agree, found.command, found.table) == (1, True, "DELETE", "orders")
    (shown,) = found.shown
    assert (shown.before, shown.after, found.key) == ({"id": "1", "body": "b"}, None, ["ctid"])
    assert "FROM other.orders" in found.select


def test_a_copy_that_is_not_as_it_was(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("UPDATE orders SET status = 'void' WHERE region = 'east'")
    pair.on_copy("UPDATE orders SET region = 'north' WHERE id = 3")
    with pair.spool() as spool:
        found = undo(choose(spool.frames(), 1), pair.copy, "the copy")
    assert (found.rows, found.touched, found.recorded, found.agree) == (99, 99, 100, False)


def test_nothing_that_a_session_did_is_committed(pair: Pair) -> None:
    hidden = "WITH gone AS (DELETE FROM orders WHERE id > 100 RETURNING 1) "
    with pair.connect() as connection:
        connection.execute("SELECT set_config('search_path', 'public, other', false)")
        connection.execute("DISCARD ALL")
        connection.execute(hidden + "SELECT set_config('a.b', 'x', false)")
        connection.execute("SELECT set_config('search_path', 'nowhere', true)")
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("UPDATE orders SET status = 'void' WHERE id <= 3")
    with pair.spool() as spool:
        found = undo(choose(spool.frames(), 6), pair.copy, "the copy")
    assert (found.rows, found.touched, found.agree) == (3, 3, True)
    assert pair.on_copy("SELECT count(*) FROM orders WHERE status = 'paid'") == [(300,)]


def test_what_the_sessions_search_path_shadows_is_not_asked(pair: Pair) -> None:
    """Tables, functions and operators of its own, before the server's."""
    shadows = (
        "CREATE SCHEMA mine AUTHORIZATION app",
        "CREATE TABLE mine.pg_class AS SELECT * FROM pg_catalog.pg_class LIMIT 0",
        "CREATE FUNCTION mine.to_regclass(text) RETURNS regclass RETURN 'pg_class'::regclass",
        "CREATE FUNCTION mine.to_json(name[]) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'ours'; END $$",
        "CREATE FUNCTION mine.never(oid, oid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'ours'; END $$",
        "CREATE FUNCTION mine.never(tid, tid) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'ours'; END $$",
        "CREATE OPERATOR mine.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = mine.never)",
        "CREATE OPERATOR mine.= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = mine.never)",
        "GRANT ALL ON ALL TABLES IN SCHEMA mine TO app",
    )
    pair.server.sql(*shadows, database=pair.name)
    pair.on_copy(*shadows)
    with pair.connect() as connection:
        connection.execute("SET search_path = mine, public, pg_catalog")
        connection.execute("UPDATE orders SET status = 'void' WHERE id <= 3")
    with pair.spool() as spool:
        found = undo(choose(spool.frames(), 2), pair.copy, "the copy")
    assert (found.rows, found.agree, found.key, found.table) == (3, True, ["id"], "orders")


def test_the_command(pair: Pair, tmp_path: Path) -> None:
    with pair.connect() as connection:
        connection.execute("DELETE FROM orders WHERE id <= 3")
        connection.execute("UPDATE notes SET body = NULL")
    session, kept = pair.session(), tmp_path / "before.csv"
    run = pair.gateway.run
    done = run("undo", session, "1", "--into", pair.copy, "-o", str(kept))
    assert "3 rows, as on record; the statement touched the same ones." in done.stdout
    assert "id 1   deleted: region west, status paid, cents 10, noted NULL" in done.stdout
    assert kept.read_text().splitlines()[:2] == [
        '"id","region","status","cents","noted"',
        '"1","west","paid","10",',
    ]
    assert kept.stat().st_mode & 0o777 == 0o600
    told = json.loads(
        run("undo", session, "1", "--into", pair.copy, "--format", "json", "--limit", "1").stdout
    )
    assert (told["rows"], len(told["shown"]), told["agree"]) == (3, 1, True)
    missing = run("undo", session, "9", "--into", pair.copy, check=False)
    assert missing.returncode == 1 and "has no statement 9" in missing.stderr
    assert pair.on_copy("SELECT count(*) FROM orders") == [(300,)]
