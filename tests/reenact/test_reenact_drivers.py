"""What drivers did, again on a fresh copy: no divergence. On a changed copy: the first one, by name."""

import asyncio
import contextlib
from collections.abc import Callable
from decimal import Decimal

import asyncpg
import pg8000.dbapi
import psycopg
import pytest

from reenact.conftest import Pair
from support.raw import RawClient, function_call, message, query


def _work(pair: Pair) -> None:
    """psycopg as agents use it: values, transactions, mistakes, pipelines, COPY, cursors."""
    with psycopg.connect(pair.dsn, autocommit=True) as connection:
        execute = connection.execute
        execute("SELECT region, count(*) FROM orders GROUP BY region")
        execute("SELECT * FROM orders WHERE id < %s ORDER BY id", (10,), binary=True)
        with contextlib.suppress(psycopg.errors.UndefinedColumn):
            execute("SELECT amount FROM orders")
        with connection.transaction():
            for region in ("east", "west"):
                execute(
                    "UPDATE orders SET status = %s, noted = now() WHERE region = %s AND cents < %s",
                    ("void", region, 100),
                    prepare=True,
                )
            execute("INSERT INTO notes (body) VALUES (%s) RETURNING id, key, at", ("one",))
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            execute("DELETE FROM orders")
            execute("SELECT 1 / %s", (0,))
        with connection.transaction():
            execute("UPDATE orders SET status = 'kept' WHERE id = 1")
            with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
                execute("DELETE FROM orders WHERE id = 2")
                execute("INSERT INTO orders (id) VALUES (1)")
        execute("BEGIN")
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            execute("SELECT 1/0")
        execute("COMMIT")
        with connection.pipeline() as pipeline:
            execute("INSERT INTO orders (id, cents) VALUES (%s, %s)", (1000, None))
            pipeline.sync()
            execute("INSERT INTO orders (id, cents) VALUES (%s, %s)", (1001, None))
            with contextlib.suppress(psycopg.errors.UniqueViolation):
                execute("INSERT INTO orders (id) VALUES (%s)", (1000,)).fetchone()
            with contextlib.suppress(psycopg.errors.PipelineAborted, psycopg.errors.UniqueViolation):
                pipeline.sync()
        with connection.cursor() as cursor:
            with cursor.copy("COPY orders (id, status) FROM STDIN") as copy:
                for number in range(2000, 2100):
                    copy.write_row((number, f"copied\t{number}"))
            with cursor.copy("COPY (SELECT id, status FROM orders ORDER BY id) TO STDOUT") as copy:
                assert sum(len(bytes(block)) for block in copy)
            taken = contextlib.suppress(psycopg.errors.UniqueViolation)
            with taken, cursor.copy("COPY orders (id) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int4"])
                copy.write_row((3000,))
                copy.write_row((1,))
            given_up = contextlib.suppress(psycopg.errors.QueryCanceled)
            with given_up, cursor.copy("COPY orders (id) FROM STDIN") as copy:
                copy.write_row((3001,))
                raise psycopg.errors.QueryCanceled
        with connection.transaction(), connection.cursor("pages") as cursor:
            cursor.execute("SELECT id FROM orders ORDER BY id")
            cursor.fetchmany(10)
            cursor.fetchmany(10)
        execute("SET search_path = public, pg_catalog; SET TimeZone = 'Asia/Tokyo'")
        execute("SELECT now(), clock_timestamp(), random(), pg_backend_pid(), ctid FROM orders LIMIT 3")
        execute("SELECT id, key, body, at FROM notes")
        execute("PREPARE plain (int) AS SELECT status FROM public.orders WHERE id = $1")
        execute("EXECUTE plain (7)")
        execute("EXPLAIN ANALYZE SELECT * FROM orders")
        execute("CREATE TEMP TABLE mine AS SELECT * FROM orders WHERE id < 5; SELECT * FROM mine ORDER BY id")
        execute("CREATE TABLE feelings (who text, how public.mood)")
        execute("INSERT INTO feelings VALUES (%s, %s)", ("me", "fine"))
        execute("SELECT * FROM feelings")
        execute("BEGIN; DELETE FROM orders WHERE id = 4")


@pytest.mark.parametrize("version", [15, 18])
def test_psycopg_onto_a_fresh_copy(make_pair: Callable[..., Pair], version: int) -> None:
    pair = make_pair(version)
    _work(pair)
    report = pair.reenact()
    assert (report.first, report.ended, report.problem) == (None, "end", None)
    assert report.sound and report.run == report.recorded > 50 and not report.left_out
    assert not report.stood_in, "the COPY that failed was broken off by its client"
    original, copy = pair.rows("SELECT id, region, status, cents FROM orders ORDER BY id")
    assert original == copy and len(copy) == 400
    assert {one.why for one in report.explained} >= {
        "the time at which it ran",
        "random values",
        "plans and timings",
    }


def test_onto_a_changed_copy(pair: Pair) -> None:
    _work(pair)
    pair.on_copy("UPDATE orders SET cents = 5000 WHERE id = 3")
    report = pair.reenact()
    assert report.ended == "divergence" and report.first is not None
    assert report.first.sql == "SELECT * FROM orders WHERE id < $1 ORDER BY id"
    (difference,) = report.first.differences
    assert difference.what == "row 3"
    assert "cents=30," in str(difference.recorded) and "cents=5000," in str(difference.here)
    assert report.state.committed == 2 and "Stopped behind statement 2" in report.state.text


async def _asyncpg(pair: Pair) -> None:
    connection = await asyncpg.connect(pair.dsn.replace("?sslmode=disable", ""), ssl=False)
    add = await connection.prepare("SELECT $1::int + $2::int")
    assert [await add.fetchval(1, 2), await add.fetchval(3, 4)] == [3, 7]
    rows = [(n, "north", str(n), n, None) for n in range(5000, 5050)]
    await connection.executemany("INSERT INTO orders VALUES ($1, $2, $3, $4, $5)", rows)
    await connection.copy_records_to_table(
        "orders", records=[(n, None, "x", 1, None) for n in range(6000, 6100)]
    )
    async with connection.transaction():
        async for _ in connection.cursor("SELECT * FROM orders WHERE cents > $1 ORDER BY id", 90, prefetch=7):
            pass
    with contextlib.suppress(asyncpg.UniqueViolationError):
        await connection.executemany("INSERT INTO orders (id) VALUES ($1)", [(7000,), (7001,), (7000,)])
    await connection.fetchrow(
        "SELECT $1::numeric, $2::text[], $3::timestamptz", Decimal("1.5"), ["a", None], None
    )
    await connection.execute("UPDATE notes SET body = 'none'; DELETE FROM orders WHERE id = 5000")
    with contextlib.suppress(asyncio.TimeoutError):
        await connection.fetchval("UPDATE orders SET cents = 0 RETURNING pg_sleep(30)", timeout=0.5)
    assert await connection.fetchval("SELECT count(*) FROM orders WHERE cents = 0") == 0
    await connection.close()


def _pg8000(pair: Pair) -> None:
    connection = pg8000.dbapi.connect(
        user="pairs",
        password=pair.gateway.tokens["pairs"],
        host="127.0.0.1",
        port=pair.gateway.port,
        database=f"{pair.connection}/{pair.name}",
    )
    cursor = connection.cursor()
    cursor.execute("INSERT INTO notes (body) VALUES (%s)", ("",))
    cursor.execute("INSERT INTO notes (body) VALUES (%s)", (None,))
    connection.commit()
    cursor.execute("DELETE FROM notes")
    connection.rollback()
    with contextlib.suppress(pg8000.dbapi.DatabaseError):
        cursor.execute("SELECT nothing")
    connection.rollback()
    connection.close()


async def test_asyncpg_and_its_cancelled_statement(pair: Pair) -> None:
    await _asyncpg(pair)
    report = await asyncio.to_thread(pair.reenact)
    assert (report.first, report.ended) == (None, "end")
    assert [one.sqlstate for one in report.stood_in] == ["57014"], "not run again: it would have its way"
    original, copy = pair.rows("SELECT id, region, status, cents FROM orders ORDER BY id")
    assert original == copy and len(copy) == 449


def test_pg8000(pair: Pair) -> None:
    _pg8000(pair)
    report = pair.reenact()
    assert (report.first, report.ended) == (None, "end")
    assert len(pair.on_copy("SELECT * FROM notes")) == 2


def test_function_calls_of_the_protocol(pair: Pair) -> None:
    """lo_create and loread, as libpq's large objects use them, and one that fails."""
    with RawClient(pair.gateway.port) as client:
        client.login("pairs", pair.gateway.tokens["pairs"], f"{pair.connection}/{pair.name}")
        number = (777_000).to_bytes(4)
        client.send(function_call(715, number))  # lo_create(777000)
        client.until()
        client.send(query("BEGIN"))
        client.until()
        client.send(function_call(952, number, (0x20000).to_bytes(4)))  # lo_open for writing
        client.until()
        client.send(function_call(955, (0).to_bytes(4), b"large"))  # lowrite
        client.until()
        client.send(query("COMMIT"))
        client.until()
        client.send(function_call(715, number))
        client.until()
        client.send(message("X"))
        assert client.closed()
    report = pair.reenact()
    assert (report.first, report.ended, report.run) == (None, "end", 6)
    pair.on_copy("SELECT 1")
    assert pair.on_copy("SELECT lo_get(777000)") == [(b"large",)]
