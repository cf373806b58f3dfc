"""What counts as a divergence, and what must differ."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgwitness.reenact import nature
from pgwitness.reenact.comparison import Verdict, Windows, compare
from pgwitness.reenact.nature import Window
from pgwitness.statements.model import Column, Copy, Result, Statement, Transaction

THEN = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)

Rows = list[list[str | None]]


def statement(sql: str = "SELECT a, b FROM t", **given: Any) -> Statement:
    fields: dict[str, Any] = {
        "session": "s",
        "seq": 1,
        "message": 1,
        "identity": None,
        "on_behalf_of": None,
        "run": None,
        "connection": None,
        "database": None,
        "protocol": "simple",
        "prepared": "",
        "portal": "",
        "parameters": [],
        "command": "SELECT",
        "tag": "SELECT 1",
        "rows": 1,
        "tables": [],
        "status": "ok",
        "sqlstate": None,
        "error": None,
        "transaction": Transaction(1, "committed"),
        "started_at": "2026-11-20T12:00:00Z",
        "duration_us": 1,
        "result": None,
        "copy": None,
    }
    return Statement(sql=sql, position=0, **{**fields, **given})


def rows(data: Rows, *types: str, complete: bool = True, total: int | None = None) -> dict[str, Any]:
    columns = [
        Column(f"c{n}", type) for n, type in enumerate(types or ["text"] * len(data[0] if data else []))
    ]
    count = len(data) if total is None else total
    return {"result": Result(columns, len(data), 9, complete, data), "rows": count, "tag": f"SELECT {count}"}


def verdict(then: Statement, now: Statement, fills: list[str | None] | None = None) -> Verdict:
    windows = Windows(Window(THEN), Window(NOW))
    windows.recorded.ends, windows.here.ends = THEN + timedelta(minutes=5), NOW + timedelta(minutes=1)
    return compare(then, now, windows, fills or [])


def both(then: Rows, now: Rows, *types: str, sql: str = "SELECT a, b FROM t", **more: Any) -> Verdict:
    return verdict(statement(sql, **rows(then, *types, **more)), statement(sql, **rows(now, *types)))


def named(found: Verdict) -> list[str]:
    return [difference.what for difference in found.differences]


def test_the_same() -> None:
    assert both([["1", None]], [["1", None]]) == Verdict()


def test_null_is_no_empty_text() -> None:
    found = both([["1", None]], [["1", ""]])
    assert named(found) == ["row 1"] and found.differences[0].recorded == "c0=1, c1=NULL"


def test_order() -> None:
    assert both([["1"], ["2"]], [["2"], ["1"]]).explained == [nature.ORDER]
    assert named(both([["1"], ["2"]], [["2"], ["2"]])) == ["row 1"]
    assert named(both([["1"], ["1"], ["2"]], [["1"], ["2"], ["2"]])) == ["row 2"]


def test_a_result_that_is_not_all_on_record() -> None:
    def of(then: Rows, now: Rows) -> Verdict:
        recorded = statement(**rows(then, complete=False, total=len(now)))
        return verdict(recorded, statement(**rows(now)))

    assert of([["1"]], [["1"], ["2"]]) == Verdict()
    assert of([["2"]], [["1"], ["2"]]).explained == [nature.ORDER]
    assert named(of([["3"]], [["1"], ["2"]])) == ["row 1"]


@pytest.mark.parametrize(
    ("type", "then", "now", "differs"),
    [
        ("timestamptz", "2026-11-20 12:01:00+00", "2026-11-22 18:00:10+00", False),
        ("timestamptz", "2026-11-20 21:01:00+09", "2026-11-23 03:00:10+09", False),
        ("timestamptz", "2026-11-19 12:01:00+00", "2026-11-22 18:00:10+00", True),
        ("timestamptz", "2026-11-20 12:01:00+00", "2026-11-20 12:01:01+00", True),
        ("timestamp", "2026-11-20 12:01:00.5", "2026-11-22 18:00:10", False),
        ("timestamp", "2024-11-20 12:01:00", "2026-11-22 18:00:10", True),
        ("date", "2026-11-20", "2026-11-22", False),
        ("date", "2026-11-20", "2026-11-25", True),
        ("text", "2026-11-20 12:01:00+00", "2026-11-22 18:00:10+00", True),
        ("oid", "16400", "17000", False),
        ("regclass", "1", "2", False),
        ("int4", "1", "2", True),
        ("uuid", "a", "b", True),
    ],
)
def test_times_and_identifiers(type: str, then: str, now: str, differs: bool) -> None:
    found = both([[then, "x"]], [[now, "x"]], type, "text")
    assert bool(found.differences) == differs and bool(found.explained) != differs
    assert both([[then, "x"]], [[now, "y"]], type, "text").differences, "beside it, another value"


def test_what_the_text_calls() -> None:
    sql = "SELECT random(), b FROM t"
    assert both([["0.1", "x"]], [["0.2", "x"]], sql=sql).explained == ["random values"]
    assert named(both([["0.1", "x"]], [["0.2", "y"]], sql=sql)) == ["row 1"], "that column calls nothing"
    found = both([["x"]], [["y"]], sql="SELECT a FROM t WHERE b < now()")
    assert (found.incomparable, named(found)) == (nature.TIME, ["row 1"]), (
        "which is no reason for other values"
    )
    assert named(both([["x"]], [["y"]], sql="SELECT a, 'now()' FROM t -- random()")) == ["row 1"]


def test_a_column_that_fills_itself() -> None:
    then, now = statement(**rows([["7", "x"]])), statement(**rows([["9", "x"]]))
    assert verdict(then, now, [nature.SEQUENCE, None]).explained == [nature.SEQUENCE]
    assert named(verdict(then, now, [None, nature.SEQUENCE])) == ["row 1"]


def test_a_write_by_now_that_touches_other_rows_diverges() -> None:
    sql = "DELETE FROM t WHERE at < now()"
    then = statement(sql, command="DELETE", tag="DELETE 3", rows=3)
    found = verdict(then, statement(sql, command="DELETE", tag="DELETE 4", rows=4))
    assert named(found) == ["tag"] and "depends on the time" in found.hints[0]


def test_a_read_by_now_that_finds_other_rows_is_not_comparable() -> None:
    sql = "SELECT id, balance FROM accounts WHERE created_at < now()"
    found = both([["1", "70"], ["2", "30"]], [["9", "1"]], sql=sql)
    assert (found.incomparable, found.explained, named(found)) == (nature.TIME, [], ["tag"])
    assert both([["1", "70"]], [["1", "70"]], sql=sql) == Verdict()
    values = "SELECT id, balance FROM accounts ORDER BY random()"
    assert both([["1", "7"]], [["1", "8"]], sql=values).incomparable == "random values"
    star = both([["1", "7"]], [["2", "8"]], sql="SELECT *, now() FROM accounts")
    assert star.incomparable == nature.TIME
    plain = both([["1", "7"]], [["2", "8"]], sql="SELECT id, now() FROM accounts")
    assert plain.incomparable is None and named(plain) == ["row 1"], "the id is not a time"


def test_what_a_write_returns_is_compared_but_for_what_must_differ() -> None:
    sql = "UPDATE t SET at = now() RETURNING a, random()"
    changed = {"command": "UPDATE", "tag": "UPDATE 1"}

    def of(then: Rows, now: Rows) -> Verdict:
        return verdict(
            statement(sql, **{**rows(then), **changed}), statement(sql, **{**rows(now), **changed})
        )

    assert of([["1", "0.1"]], [["1", "0.2"]]).explained == ["random values"]
    found = of([["1", "0.1"]], [["2", "0.2"]])
    assert (named(found), found.incomparable) == (["row 1"], None)


def test_errors_by_their_sqlstate() -> None:
    failed = {"status": "error", "tag": None, "rows": None}
    one = statement(sqlstate="23505", error="key 1", **failed)
    assert verdict(one, statement(sqlstate="23505", error="key 2", **failed)) == Verdict()
    other = verdict(one, statement(sqlstate="23503", error="key 2", **failed))
    assert [(d.recorded, d.here) for d in other.differences] == [("error 23505", "error 23503")]
    assert "on record: key 1" in verdict(one, statement()).hints


def test_a_type_of_ones_own_has_another_number() -> None:
    then, now = statement(**rows([["fine"]], "16401")), statement(**rows([["fine"]], "17777"))
    assert verdict(then, now) == Verdict()
    assert named(verdict(then, statement(**rows([["fine"]], "text")))) == ["columns"]


def test_plans_are_not_compared() -> None:
    then = statement("EXPLAIN SELECT 1", command="EXPLAIN", tag="EXPLAIN", result=None)
    now = statement("EXPLAIN SELECT 1", command="EXPLAIN", tag="EXPLAIN", result=rows([["x"]])["result"])
    assert verdict(then, now).explained == [nature.PLANS]


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ("1\n2\n", "1\n2\n", ([], [])),
        ("1\n2\n", "2\n1\n", ([], [nature.ORDER])),
        ("1\n2\n", "1\n3\n", (["copied data"], [])),
    ],
)
def test_what_was_copied_out(then: str, now: str, expected: tuple[list[str], list[str]]) -> None:
    def of(data: str) -> Statement:
        copied = Copy("out", len(data), 2, True, data)
        return statement("COPY t TO STDOUT", command="COPY", tag="COPY 2", rows=2, copy=copied)

    found = verdict(of(then), of(now))
    assert (named(found), found.explained) == expected


@pytest.mark.parametrize(
    ("default", "why"),
    [
        ("nextval('t_id_seq'::regclass)", nature.SEQUENCE),
        ("gen_random_uuid()", "random values"),
        ("CURRENT_TIMESTAMP", nature.TIME),
        ("'now()'::text", None),
        ("mine.now()", None),
        ("", None),
    ],
)
def test_defaults(default: str, why: str | None) -> None:
    assert nature.of_default(default) == why
