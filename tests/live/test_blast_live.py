"""The blast radius against what the database itself counted: triggers log how many rows each statement
changed, in the same transaction, so that the log holds what was committed and nothing else."""

import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from support.live import Live

_numbers = itertools.count(1)

COUNT = """
CREATE FUNCTION {log}_count() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  EXECUTE format('INSERT INTO {log} SELECT %L, %L, count(*) FROM changed', TG_TABLE_NAME, TG_OP); RETURN NULL;
END $$"""


@pytest.fixture
def tables(live: Live) -> Iterator[tuple[str, str, str]]:
    """Two tables of the role ``app``, and the log of what was changed in them."""
    number = next(_numbers)
    one, two, log = f"blast_{number}", f"blast_{number}_b", f"blast_{number}_log"
    live.server.sql(
        f"CREATE TABLE {log} (name text, verb text, rows bigint)",
        COUNT.format(log=log),
        *(statement for name in (one, two) for statement in _counted(name, log)),
        database="shop",
    )
    yield one, two, log
    live.server.sql(
        f"DROP TABLE {one}, {two}, {log} CASCADE", f"DROP FUNCTION {log}_count CASCADE", database="shop"
    )


def _counted(name: str, log: str) -> Iterator[str]:
    yield f"CREATE TABLE {name} (id int, note text)"
    yield f"ALTER TABLE {name} OWNER TO app"
    for verb, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
        yield (
            f"CREATE TRIGGER {verb.lower()}ed AFTER {verb} ON {name} REFERENCING {rows} TABLE AS changed "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {log}_count()"
        )


def counted(live: Live, log: str) -> dict[tuple[str, str], int]:
    rows = live.server.sql(f"SELECT name, verb, sum(rows)::int FROM {log} GROUP BY 1, 2", database="shop")
    return {(f"public.{name}", str(verb)): int(str(rows)) for name, verb, rows in rows if rows}


def blast(live: Live) -> dict[str, Any]:
    """Of this client's run, by the command."""
    document: dict[str, Any] = json.loads(
        live.gateway.run("blast", "--run", live.run, "--format", "json").stdout
    )
    return document


def written(document: dict[str, Any]) -> dict[tuple[str, str], int]:
    """COPY is an INSERT to a trigger."""
    sums: Counter[tuple[str, str]] = Counter()
    for each in document["writes"]:
        sums[each["table"], each["command"].replace("COPY", "INSERT")] += each["rows"]
    return {key: rows for key, rows in sums.items() if rows}


def test_the_numbers_are_those_that_the_database_counted(live: Live, tables: tuple[str, str, str]) -> None:
    one, two, log = tables
    with live.connect() as connection:
        execute = connection.execute
        execute(f"INSERT INTO {one} SELECT n, 'x' FROM generate_series(1, 500) AS n")
        with connection.cursor() as cursor, cursor.copy(f"COPY {one} FROM STDIN") as copy:
            copy.write("900\ta\n901\tb\n")
        with connection.transaction():
            for number in (1, 2, 3):
                execute(f"UPDATE {one} SET note = %s WHERE id <= %s", ("y", number * 10), prepare=True)
        with contextlib.suppress(psycopg.Error), connection.transaction():
            execute(f"DELETE FROM {one}")
            execute("SELECT 1/0")
        with connection.transaction():
            execute(f"DELETE FROM {one} WHERE id > 490 AND id < 600")
            with contextlib.suppress(psycopg.Rollback), connection.transaction(force_rollback=True):
                execute(f"UPDATE {one} SET note = 'never'")
        execute(f"PREPARE tidy AS DELETE FROM {one} WHERE id = $1")
        execute("EXECUTE tidy (5)")
        execute(
            f"WITH gone AS (DELETE FROM {one} WHERE id < 3 RETURNING *) INSERT INTO {two} SELECT * FROM gone"
        )
        read = execute(f"SELECT id, note FROM {one} WHERE id > 480").fetchall()
    live.record(lambda found: bool(found) and found[-1]["sql"].startswith("SELECT id, note"))
    found = blast(live)
    by_database = counted(live, log)
    by_parts = by_database.pop((f"public.{one}", "DELETE"))
    by_record = written(found)
    known = by_record.pop((f"public.{one}", "DELETE"))
    assert by_record == by_database
    (deleted,) = [each for each in found["writes"] if each["command"] == "DELETE"]
    assert deleted["uncounted"] == 1 and by_parts == known + 2, "the WITH query deleted two more"
    assert {(each["command"], each["rows"], each["outcome"]) for each in found["not_committed"]} == {
        ("DELETE", 502, "rolled_back"),
        ("UPDATE", by_database[f"public.{one}", "INSERT"] - 10, "rolled_back"),
    }
    (seen,) = [each for each in found["reads"] if each["table"] == f"public.{one}"]
    assert (seen["rows"], seen["columns"]) == (len(read), ["id", "note"])
    assert found["writes"][0]["largest"][0]["rows"] == 500
    assert any("Triggers" in sentence for sentence in found["unseen"])


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_any_history_adds_up(live: Live, tables: tuple[str, str, str], seed: int) -> None:
    one, two, log = tables
    dice = random.Random(seed)
    with live.connect() as connection:
        for _ in range(150):
            sql = _step(dice, dice.choice((one, two)))
            with contextlib.suppress(psycopg.Error):
                connection.execute(sql)
        connection.execute("ROLLBACK")
        connection.execute("SELECT 'the end'")
    live.record(lambda found: bool(found) and "the end" in found[-1]["sql"])
    found = blast(live)
    assert written(found) == counted(live, log)
    assert found["not_committed"] and not any(each["uncounted"] for each in found["writes"])


def _step(dice: random.Random, table: str) -> str:
    return dice.choice(
        (
            f"INSERT INTO {table} SELECT n, 'x' FROM generate_series(1, {dice.randint(0, 20)}) AS n",
            f"UPDATE {table} SET note = 'y' WHERE id <= {dice.randint(0, 9)}",
            f"DELETE FROM {table} WHERE id = {dice.randint(1, 20)}",
            "BEGIN",
            "COMMIT",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT s",
            "ROLLBACK TO s",
            "SELECT 1/0",
        )
    )
