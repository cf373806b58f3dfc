"""Binary values of real servers against their own text form of the same values."""

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgwitness.statements import types
from support.servers import PASSWORD, Server

SAMPLES = Path(__file__).parent.parent / "statements" / "type_samples.jsonl"
RANDOM = random.Random(1986)


@pytest.fixture
def connection(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    dsn = f"host=127.0.0.1 port={server.port} user=app dbname=shop password={PASSWORD} sslmode=prefer"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET lc_monetary = 'C'")
        yield connection


def differences(
    connection: psycopg.Connection[tuple[object, ...]], query: str
) -> list[tuple[str, str, bool]]:
    """What the server prints, what we print and whether that is hex, wherever they differ."""
    texts = connection.execute(query, binary=False, prepare=False).pgresult
    binaries = connection.execute(query, binary=True, prepare=False).pgresult
    assert texts and binaries and texts.ntuples == binaries.ntuples
    found = []
    for row in range(texts.ntuples):
        for column in range(texts.nfields):
            text, value = texts.get_value(row, column), binaries.get_value(row, column)
            if value is None or text is None:
                continue
            shown, hexed = types.decode(binaries.ftype(column), value)
            if (shown, hexed) != (text.decode(), False):
                found.append((text.decode(), shown, hexed))
    return found


def test_every_sample(connection):
    for line in SAMPLES.read_text().splitlines():
        sql = json.loads(line)[0]
        assert differences(connection, f"SELECT {sql}") == [], sql


def patterns(code: str, size: int, count: int = 2000) -> list[str]:
    """Numbers of every magnitude: random bits."""
    return [repr(struct.unpack(code, RANDOM.randbytes(size))[0]) for _ in range(count)]


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("float8", [*patterns("!d", 8), *(str(2**n) for n in range(50, 80)), "1e23", "9007199254740993"]),
        ("float4", [*patterns("!f", 4), *(str(RANDOM.getrandbits(30)) for _ in range(2000))]),
        ("numeric", [f"{RANDOM.randint(-(10**30), 10**30)}e{RANDOM.randint(-40, 20)}" for _ in range(2000)]),
        ("numeric", [f"{RANDOM.random():.{RANDOM.randint(0, 15)}f}" for _ in range(500)]),
        ("date", [f"{RANDOM.randint(1, 4700):04}-03-01{RANDOM.choice(['', ' BC'])}" for _ in range(300)]),
    ],
    ids=["float8", "float4", "numeric", "fractions", "date"],
)
def test_many_values(connection, type_name, values):
    listed = ",".join(f"('{value}')" for value in values)
    assert differences(connection, f"SELECT v::{type_name} FROM (VALUES {listed}) AS t (v)") == []


@pytest.mark.parametrize("catalog", ["pg_type", "pg_class", "pg_index", "pg_settings"])
def test_whole_catalogs(connection, catalog):
    """Every column that has a binary form, but those that name objects, which only the server can."""
    columns = connection.execute(
        "SELECT quote_ident(attname) FROM pg_attribute JOIN pg_type t ON t.oid = atttypid "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND typsend <> 0 "
        "AND typname !~ '^_?(reg|aclitem|anyarray)' ORDER BY attnum",
        (catalog,),
    ).fetchall()
    listed = ", ".join(str(column) for (column,) in columns)
    assert differences(connection, f"SELECT {listed} FROM {catalog} ORDER BY 1") == []


def test_random_moments(connection):
    query = """
        SELECT m, m::timestamptz, m::date, m::time, i, i * 1.5
        FROM (SELECT '4713-11-24 BC'::timestamp + n * interval '97 days 03:04:05.678901' AS m,
                     make_interval(months => n - 500, days => 500 - n, secs => (n - 700) * 1234.567) AS i
              FROM generate_series(0, 20000, 13) AS n) AS t"""
    assert differences(connection, query) == []
