"""What drivers issue by themselves counts where what was run before gives it a meaning."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgwitness.index.filters import Filters
from pgwitness.review.claims.check import Rules, compare
from pgwitness.review.claims.reading import read_testimony
from pgwitness.wire.codec import query
from support import tapes
from support.claims import counting, line
from support.dialogue import complete, copy_data, copy_done, copy_in, ready

Counted = Callable[..., list[str]]


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    """What counts of a session with these statements and tags, of what is said of it."""

    def run(ran: list[tuple[str, str]], said: list[dict[str, Any]]) -> list[str]:
        made = tapes.dialogue(1, upstream={"parameters": {"TimeZone": "Europe/Rome"}})
        for sql, tag in ran:
            made.client(query(sql)).server(complete(tag), ready())
        tapes.record(tmp_path, made.ended())
        reader = tapes.index(tmp_path)
        testimony = read_testimony("".join(json.dumps(each) + "\n" for each in said).encode())
        _, findings = compare(reader, Filters(run="run-81"), testimony, Rules())
        reader.close()
        return [line(each) for each in counting(findings)]

    return run


DELETE = ("DELETE FROM a WHERE at < '01/02/2026'", "DELETE 1")
PATH = ("SET search_path TO sandbox", "SET")


@pytest.mark.parametrize("sql", ["RESET ALL", "DISCARD ALL"])
def test_what_takes_back_a_claimed_setting(counted: Counted, sql: str) -> None:
    claimed = [{"sql": PATH[0]}, {"sql": DELETE[0]}]
    assert counted([PATH, (sql, sql.split()[0]), DELETE], claimed) == ["unclaimed statement 2: "]


def test_a_temporary_table_that_is_discarded(counted: Counted) -> None:
    made = ("CREATE TEMP TABLE a (at date)", "CREATE TABLE")
    found = counted([made, ("DISCARD TEMP", "DISCARD TEMP"), DELETE], [{"sql": made[0]}, {"sql": DELETE[0]}])
    assert found == ["unclaimed statement 2: "]


@pytest.mark.parametrize(
    "sql",
    [
        "SET datestyle TO 'ISO, DMY'",
        "SET TIME ZONE 'UTC'",
        "SET standard_conforming_strings = off",
        "SET client_encoding TO 'latin1'",
    ],
)
def test_how_the_values_after_it_are_read(counted: Counted, sql: str) -> None:
    assert counted([(sql, "SET"), DELETE], [{"sql": DELETE[0]}]) == ["unclaimed statement 1: "]


@pytest.mark.parametrize(
    "sql",
    [
        "SET datestyle TO 'ISO'",
        "SET TIME ZONE 'Europe/Rome'",
        "SET standard_conforming_strings = on",
        "RESET ALL",
        "DISCARD ALL",
        "RESET timezone",
    ],
)
def test_what_is_as_it_was(counted: Counted, sql: str) -> None:
    assert counted([(sql, "SET"), DELETE], [{"sql": DELETE[0]}]) == []


def test_nothing_follows_it(counted: Counted) -> None:
    assert counted([PATH, DELETE, ("RESET ALL", "RESET")], [{"sql": PATH[0]}, {"sql": DELETE[0]}]) == []


DECLARE = ("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM a", "DECLARE CURSOR")


def test_the_rows_of_a_cursor(counted: Counted) -> None:
    ran = [DECLARE, ("FETCH 1000 FROM c", "FETCH 1000"), ("FETCH ALL FROM c", "FETCH 999000")]
    found = counted(ran, [{"sql": "SELECT * FROM a", "rowcount": 1}])
    assert found == ["rows statement 1: rows: 1 / 1,000,000"]


def test_a_fetch_that_is_claimed_with_other_rows(counted: Counted) -> None:
    ran = [DECLARE, ("FETCH ALL FROM c", "FETCH 1000")]
    found = counted(ran, [{"sql": DECLARE[0]}, {"sql": "FETCH ALL FROM c", "rowcount": 1}])
    assert found == ["rows statement 2: rows: 1 / 1,000"]


def test_a_fetch_from_a_cursor_that_nobody_claimed(counted: Counted) -> None:
    assert counted([("FETCH ALL FROM c", "FETCH 7"), DELETE], [{"sql": DELETE[0]}]) == [
        "unclaimed statement 1: "
    ]


def test_data_that_nobody_told_of(tmp_path: Path) -> None:
    made = tapes.dialogue(1).client(query("COPY a FROM STDIN")).server(copy_in())
    made.client(copy_data(b"1\tother\n"), copy_done()).server(complete("COPY 1"), ready())
    tapes.record(tmp_path, made.ended())
    reader = tapes.index(tmp_path)
    testimony = read_testimony(b'{"sql": "COPY a FROM STDIN", "rowcount": 1}')
    summary, findings = compare(reader, Filters(run="run-81"), testimony)
    reader.close()
    assert (summary.verdict, findings[0].kind) == ("differs", "unstated")
