"""psycopg 3, unchanged: text and binary, pipelines, server cursors, COPY, cancel, notifications."""

import datetime
import decimal
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from support.live import Live, shape, values

VALUES: list[tuple[str, Any, str]] = [
    ("bool", True, "t"),
    ("int2", 7, "7"),
    ("int4", -(2**31), "-2147483648"),
    ("int8", 2**62, "4611686018427387904"),
    ("float4", 0.1, "0.1"),
    ("float8", -1.5e300, "-1.5e+300"),
    ("numeric", decimal.Decimal("12345678901234567890.0100"), "12345678901234567890.0100"),
    ("text", "naïve ‘quotes’; $1", "naïve ‘quotes’; $1"),
    ("text", "", ""),
    ("varchar", "short", "short"),
    ("bytea", b"\x00\xffz", "\\x00ff7a"),
    ("date", datetime.date(2026, 11, 22), "2026-11-22"),
    ("time", datetime.time(1, 2, 3, 450000), "01:02:03.45"),
    ("timestamp", datetime.datetime(2026, 11, 22, 6, 45, 31, 123), "2026-11-22 06:45:31.000123"),
    ("interval", datetime.timedelta(days=1, seconds=90), "1 day 00:01:30"),
    ("uuid", uuid.UUID(int=255), "00000000-0000-0000-0000-0000000000ff"),
    ("jsonb", Jsonb({"a": [1, None]}), '{"a": [1, null]}'),
    ("int4[]", [1, None, 3], "{1,NULL,3}"),
    ("text[]", ["a b", 'q"', "", None], '{"a b","q\\"","",NULL}'),
]


@pytest.mark.parametrize("form", ["t", "b"], ids=["text", "binary"])
def test_parameters_of_every_type(live: Live, form: str) -> None:
    with live.connect() as connection:
        for type_name, value, _ in VALUES:
            connection.execute(f"SELECT %{form}::{type_name}", (value,), binary=form == "b")
        connection.execute("SELECT %s::text", (None,))
    record = live.check(len(VALUES) + 1)
    got = [values(statement)[0] for statement in record]
    expected = [text for _, _, text in VALUES]
    for (type_name, _, _), left, right in zip(VALUES, got, expected, strict=False):
        if type_name == "jsonb" and left is not None:
            left, right = left.replace(" ", ""), right.replace(" ", "")
        if form == "t" and type_name in ("interval", "bytea", "float8", "bool", "time", "uuid"):
            continue  # in text form the driver's own spelling is what was sent
        assert left == right, type_name
    assert got[-1] is None
    formats = {s["parameters"][0]["format"] for s in record[:-1]}
    assert formats == {"text" if form == "t" else "binary"}


def test_results_are_recorded_in_both_formats(live: Live) -> None:
    with live.connect() as connection:
        for binary in (False, True):
            connection.execute("SELECT n, n::text AS t FROM generate_series(1, 10) AS n", binary=binary)
    for statement in live.check(2):
        result = statement["result"]
        assert [(c["name"], c["type"]) for c in result["columns"]] == [("n", "int4"), ("t", "text")]
        assert (result["rows_recorded"], result["complete"], statement["rows"]) == (10, True, 10)
        assert result["bytes"] > 0


def test_prepared_statement_runs_are_each_recorded(live: Live, table: str) -> None:
    with live.connect() as connection:
        for number in range(5):
            connection.execute(f"INSERT INTO {table} VALUES (%s, %s)", (number, f"n{number}"), prepare=True)
    record = live.check(5)
    assert [values(s) for s in record] == [[str(n), f"n{n}"] for n in range(5)]
    assert {s["prepared"] for s in record} == {record[0]["prepared"]} != {""}


def test_pipeline(live: Live, table: str) -> None:
    with live.connect() as connection, connection.pipeline():
        for number in range(20):
            connection.execute(f"INSERT INTO {table} VALUES (%s, %s)", (number, None))
        count = connection.execute(f"SELECT count(*) FROM {table}")
        assert count.fetchone() == (20,)
    record = live.check(21)
    assert [s["tag"] for s in record] == ["INSERT 0 1"] * 20 + ["SELECT 1"]
    assert [values(s) for s in record[:20]] == [[str(n), None] for n in range(20)]


def test_pipeline_error_skips_to_sync(live: Live) -> None:
    with live.connect() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline() as pipeline:
            connection.execute("SELECT 1")
            connection.execute("SELECT 1 / %s", (0,))
            connection.execute("SELECT 2")
            pipeline.sync()
        connection.execute("SELECT 3")
    record = live.check(lambda found: found[-1:] != [] and found[-1]["sql"] == "SELECT 3")
    assert [s["status"] for s in record] == ["ok", "error", "skipped", "ok"]
    assert record[1]["sqlstate"] == "22012"


def test_executemany(live: Live, table: str) -> None:
    with live.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(n, str(n)) for n in range(100)])
    record = live.check(100)
    assert [values(s)[0] for s in record if s["command"] == "INSERT"] == [str(n) for n in range(100)]


def test_server_cursor(live: Live) -> None:
    with live.connect() as connection, connection.transaction(), connection.cursor("pages") as cursor:
        cursor.execute("SELECT generate_series(1, %s)", (25,))
        assert len(cursor.fetchmany(10)) == 10
        assert len(cursor.fetchall()) == 15
    record = live.check(lambda found: found[-1:] != [] and found[-1]["sql"] == "COMMIT")
    sqls = [s["sql"] for s in record]
    assert any(sql.startswith('DECLARE "pages"') for sql in sqls)
    fetches = [s for s in record if s["command"] == "FETCH"]
    assert [s["rows"] for s in fetches] == [10, 15]


@pytest.mark.parametrize("form", ["TEXT", "BINARY"])
def test_copy(live: Live, table: str, form: str) -> None:
    with live.connect() as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN (FORMAT {form})") as copy:
            copy.set_types(["int4", "text"])
            for number in range(1000):
                copy.write_row((number, f"name {number}"))
        with cursor.copy(f"COPY {table} TO STDOUT (FORMAT {form})") as copy:
            sent = sum(len(block) for block in copy)
    arriving, leaving = live.check(2)
    assert (arriving["tag"], arriving["rows"], arriving["copy"]["direction"]) == ("COPY 1000", 1000, "in")
    assert (leaving["tag"], leaving["copy"]["bytes"], leaving["copy"]["direction"]) == (
        "COPY 1000",
        sent,
        "out",
    )
    assert arriving["copy"]["complete"] and arriving["tables"] == [f"public.{table}"]


def test_copy_that_the_client_gives_up(live: Live, table: str) -> None:
    class ChangedItsMindError(Exception):
        pass

    with live.connect() as connection, connection.cursor() as cursor, pytest.raises(ChangedItsMindError):  # noqa: SIM117
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            copy.write(b"1\tone\n")
            raise ChangedItsMindError
    (statement,) = live.check(1)
    assert statement["status"] in ("error", "cancelled") and statement["sqlstate"] == "57014"
    assert statement["transaction"]["outcome"] == "rolled_back"


@pytest.mark.parametrize("sslmode", ["disable", "require"])
@pytest.mark.parametrize("how", ["cancel", "cancel_safe"])
def test_cancel(live: Live, how: str, sslmode: str) -> None:
    """The old request and libpq 17's, which is encrypted if the connection is."""
    with live.connect(sslmode=sslmode) as connection:
        cancel: Callable[[], None] = getattr(connection, how)
        timer = threading.Timer(0.5, cancel)
        timer.start()
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")
        assert time.monotonic() - began < 10
        timer.join()
        connection.execute("SELECT 'goes on'")
    record = live.check(2)
    assert [(s["status"], s["sqlstate"]) for s in record] == [("cancelled", "57014"), ("ok", None)]


def test_notifications_arrive(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("LISTEN bell")
        live.server.sql("NOTIFY bell, 'rings'", database="shop")
        (notice,) = connection.notifies(timeout=10, stop_after=1)
        assert (notice.channel, notice.payload) == ("bell", "rings")
        connection.execute("NOTIFY bell, 'again'")
    assert [s["tag"] for s in live.check(2)] == ["LISTEN", "NOTIFY"]


def test_notices_and_parameters_pass(live: Live) -> None:
    notices: list[str | None] = []
    with live.connect() as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute("DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$")
        connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        assert connection.info.timezone.key == "Asia/Tokyo"
        assert connection.info.server_version // 10000 == live.server.version
        assert connection.info.parameter_status("application_name") == live.run
    assert notices == ["hear, hear"]
    assert [s["command"] for s in live.check(2)] == ["DO", "SET"]


def test_transactions_and_savepoints(live: Live, table: str) -> None:
    with live.connect() as connection:
        with connection.transaction():
            connection.execute(f"INSERT INTO {table} VALUES (1)")
            connection.execute("SAVEPOINT s")
            connection.execute(f"INSERT INTO {table} VALUES (2)")
            connection.execute("ROLLBACK TO SAVEPOINT s")
            connection.execute(f"INSERT INTO {table} VALUES (3)")
        connection.execute("BEGIN")
        connection.execute(f"DELETE FROM {table}")
        connection.execute("ROLLBACK")
    assert live.server.sql(f"SELECT id FROM {table} ORDER BY id", database="shop") == [(1,), (3,)]
    outcomes = {s["sql"]: s["transaction"]["outcome"] for s in live.check(10)}
    assert outcomes[f"INSERT INTO {table} VALUES (1)"] == "committed"
    assert outcomes[f"INSERT INTO {table} VALUES (2)"] == "rolled_back"
    assert outcomes[f"INSERT INTO {table} VALUES (3)"] == "committed"
    assert outcomes[f"DELETE FROM {table}"] == "rolled_back"


def test_one_gigabyte_is_not_needed_to_prove_large_messages(live: Live) -> None:
    """A 40 MB parameter and its echo, both whole: others stop at 16 MiB."""
    big = "x" * 40_000_000
    with live.connect() as connection:
        row = connection.execute("SELECT length(%s)", (big,)).fetchone()
        assert row == (40_000_000,)
    (statement,) = live.record(1)
    assert statement["status"] == "ok"
    assert statement["truncated"] or statement["parameters"][0]["value"] == big


def test_several_identities_and_connections_at_once(live: Live) -> None:
    with live.connect() as one, live.connect() as two:
        for number in range(10):
            (one if number % 2 else two).execute(f"SELECT {number}")
    record = live.check(10)
    assert [s["sql"] for s in record] == [f"SELECT {n}" for n in range(10)]
    assert len({s["session"] for s in record}) == 2


def test_attribution(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("SELECT 1")
    (statement,) = live.check(1)
    assert (statement["identity"], statement["connection"], statement["database"], statement["run"]) == (
        "agent",
        live.connection,
        "shop",
        live.run,
    )


def test_empty_and_comment_only_queries(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("")
        connection.execute("-- nothing")
        connection.execute("SELECT 1")
    assert shape(live.check(lambda found: any(s["sql"] == "SELECT 1" for s in found)))[-1][1] == "SELECT 1"
