"""asyncpg (always binary, named statements, portals), pg8000 (pure Python) and pgbench, unchanged."""

import asyncio
import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import asyncpg
import pg8000.dbapi
import pytest

from support.compare import assert_same, upstream_pids
from support.live import Live, values


async def connect(live: Live, **options: Any) -> asyncpg.Connection:
    return await asyncpg.connect(
        host="127.0.0.1",
        port=live.gateway.port,
        user=live.identity,
        password=live.token,
        database=live.connection,
        server_settings={"application_name": live.run, "options": live.options},
        ssl=False,
        **options,
    )


async def test_asyncpg_types_and_tags(live: Live, table: str) -> None:
    connection = await connect(live)
    when = datetime.datetime(2026, 11, 22, 6, 45, 31, 123, tzinfo=datetime.UTC)
    assert await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", 1, "one") == "INSERT 0 1"
    row = await connection.fetchrow(
        "SELECT $1::int8, $2::numeric, $3::timestamptz, $4::bytea, $5::text[], $6::float8, $7::text",
        2**40, decimal.Decimal("1.50"), when, b"\x01\xff", ["a", None, "c d"], 0.5, None,
    )  # fmt: skip
    assert tuple(row)[:3] == (2**40, decimal.Decimal("1.50"), when)
    await connection.close()
    record = live.check(2)
    assert record[0]["tag"] == "INSERT 0 1" and values(record[0]) == ["1", "one"]
    assert values(record[1]) == [
        "1099511627776",
        "1.50",
        "2026-11-22 06:45:31.000123+00",
        "\\x01ff",
        '{a,NULL,"c d"}',
        "0.5",
        None,
    ]
    assert [p["type"] for p in record[1]["parameters"]] == [
        "int8", "numeric", "timestamptz", "bytea", "text[]", "float8", "text",
    ]  # fmt: skip
    assert {p["format"] for p in record[1]["parameters"]} == {"binary"}


async def test_asyncpg_interleaved_named_statements(live: Live) -> None:
    connection = await connect(live)
    add = await connection.prepare("SELECT $1::int + $2::int")
    join = await connection.prepare("SELECT $1::text || $2::text")
    assert [await add.fetchval(1, 2), await join.fetchval("a", "b"), await add.fetchval(3, 4)] == [3, "ab", 7]
    await connection.close()
    record = [s for s in live.check(3) if s["parameters"]]
    assert [(s["sql"], values(s)) for s in record] == [
        ("SELECT $1::int + $2::int", ["1", "2"]),
        ("SELECT $1::text || $2::text", ["a", "b"]),
        ("SELECT $1::int + $2::int", ["3", "4"]),
    ]
    assert record[0]["prepared"] == record[2]["prepared"] != record[1]["prepared"]


async def test_asyncpg_cursor_pages_are_one_statement(live: Live) -> None:
    connection = await connect(live)
    async with connection.transaction():
        rows = [row[0] async for row in connection.cursor("SELECT generate_series(1, $1)", 95, prefetch=10)]
    assert rows == list(range(1, 96))
    await connection.close()
    record = live.check(lambda found: any(s["sql"].startswith("COMMIT") for s in found))
    (statement,) = [s for s in record if "generate_series" in s["sql"]]
    assert (statement["rows"], statement["portal"] != "", values(statement)) == (95, True, ["95"])
    assert statement["fetches"] == 10


async def test_asyncpg_executemany_and_copy(live: Live, table: str) -> None:
    connection = await connect(live)
    await connection.executemany(f"INSERT INTO {table} VALUES ($1, $2)", [(n, str(n)) for n in range(50)])
    await connection.copy_records_to_table(table, records=[(n, None) for n in range(200)])
    assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 250
    await connection.close()
    record = live.check(lambda found: any("count(*)" in s["sql"] for s in found))
    inserts = [s for s in record if s["command"] == "INSERT"]
    assert [values(s) for s in inserts] == [[str(n), str(n)] for n in range(50)]
    assert {s["transaction"]["outcome"] for s in inserts} == {"committed"}
    (copy,) = [s for s in record if s["command"] == "COPY"]
    assert (copy["rows"], copy["copy"]["direction"]) == (200, "in")


async def test_asyncpg_timeout_cancels(live: Live) -> None:
    connection = await connect(live)
    with pytest.raises(asyncio.TimeoutError):
        await connection.fetchval("SELECT pg_sleep(30)", timeout=0.5)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    record = live.check(lambda found: any(s["sql"] == "SELECT 1" for s in found))
    assert record[0]["status"] == "cancelled"


@pytest.fixture
def pg8000_connection(live: Live) -> Iterator[pg8000.dbapi.Connection]:
    connection = pg8000.dbapi.connect(
        user=live.identity,
        password=live.token,
        host="127.0.0.1",
        port=live.gateway.port,
        database=live.connection,
        application_name=live.run,
    )
    yield connection
    connection.close()


def test_pg8000(live: Live, table: str, pg8000_connection: pg8000.dbapi.Connection) -> None:
    cursor = pg8000_connection.cursor()
    cursor.execute(f"INSERT INTO {table} VALUES (%s, %s)", (1, None))
    cursor.execute(f"INSERT INTO {table} VALUES (%s, %s)", (2, ""))
    pg8000_connection.commit()
    cursor.execute(f"DELETE FROM {table}")
    pg8000_connection.rollback()
    cursor.execute(f"SELECT id, name FROM {table} ORDER BY id")
    assert list(cursor.fetchall()) == [[1, None], [2, ""]]
    pg8000_connection.rollback()

    def mine(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        sessions = {s["session"] for s in found if table in s["sql"]}
        return [s for s in found if s["session"] in sessions]

    def whole(found: list[dict[str, Any]]) -> bool:
        return any("SELECT id" in s["sql"] and s["transaction"]["outcome"] != "open" for s in mine(found))

    record = mine(live.gateway.statements("--connection", live.connection, wait_for=whole))
    assert_same(record, live.logged(), upstream_pids(live.gateway.state))
    inserts = [s for s in record if s["command"] == "INSERT"]
    assert [(values(s), s["transaction"]["outcome"]) for s in inserts] == [
        (["1", None], "committed"),
        (["2", ""], "committed"),
    ]
    (delete,) = [s for s in record if s["command"] == "DELETE"]
    assert (delete["tag"], delete["transaction"]["outcome"]) == ("DELETE 2", "rolled_back")


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(live: Live, mode: str) -> None:
    """TPC-B by four clients: seven statements a transaction, none missed, in the server's order."""
    live.program("pgbench", "-i", "-s", "1", "-q")
    before = len(live.record(10))
    live.program("pgbench", "-M", mode, "-c", "4", "-j", "2", "-t", "25", "-n")
    record = live.check(lambda found: len(found) >= before + 4 * 25 * 7)
    ends = [s for s in record if s["sql"].startswith("END")]
    assert len(ends) == 100 and {s["tag"] for s in ends} == {"COMMIT"}
    updates = [s for s in record if s["sql"].startswith("UPDATE pgbench_accounts")]
    assert {(s["tag"], s["transaction"]["outcome"]) for s in updates} == {("UPDATE 1", "committed")}
    assert {s["protocol"] for s in updates} == {"simple" if mode == "simple" else "extended"}
    assert all(len(s["parameters"]) == (0 if mode == "simple" else 2) for s in updates)
