"""The comparison itself: what the server counted, what the record explains, and what is left."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from sqlalchemy import create_engine

from pgwitness.index import tables
from pgwitness.watch.compare import Comparison, Question, _route, compare
from pgwitness.watch.counters import Counter, Counters, pack, unpack
from pgwitness.watch.tally import Tally

UPDATE = "UPDATE t SET a = $1"
SELECT = "SELECT a FROM t WHERE b = $1"


def counters(
    *counted: tuple[str, int, int], reset: str = "monday", gave_up: int = 0, own: str = ""
) -> Counters:
    return Counters(
        moment="2026-11-22T12:00:00.000000+00:00",
        position=0,
        stats_reset=reset,
        dealloc=gave_up,
        boot="1",
        address="db:5432",
        counters={sql: Counter("shop", sql, calls, rows) for sql, calls, rows in counted},
        own=[own] if own else [],
    )


def recorded(*sent: tuple[str, int, int | None], database: str = "shop") -> Tally:
    tally = Tally()
    for sql, calls, rows in sent:
        tally.add(database, sql, calls, calls, rows)
    return tally


def left(comparison: Comparison) -> list[tuple[str, int]]:
    return [(one.query, one.calls) for one in comparison.unrecorded]


def test_what_is_recorded_is_explained() -> None:
    before = counters((UPDATE, 5, 50), (SELECT, 1, 1))
    now = counters((UPDATE, 8, 80), (SELECT, 3, 3))
    sent = recorded(("UPDATE t SET a = 'x'", 3, 30), ("SELECT a FROM t WHERE b = 1", 2, 2))
    result = compare(before, now, sent)
    assert (left(result), result.server, result.record, result.uncounted) == ([], 5, 5, 0)


def test_what_is_not_recorded_is_left_over() -> None:
    result = compare(
        counters((UPDATE, 5, 0)), counters((UPDATE, 1005, 0), (SELECT, 2, 0)), recorded((UPDATE, 10, 0))
    )
    assert left(result) == [(UPDATE, 990), (SELECT, 2)]


def test_another_database_explains_nothing() -> None:
    result = compare(counters(), counters((UPDATE, 3, 0)), recorded((UPDATE, 3, 0), database="other"))
    assert left(result) == [(UPDATE, 3)]


def test_more_rows_than_recorded() -> None:
    now = counters((UPDATE, 2, 40_000))
    (more,) = compare(counters(), now, recorded((UPDATE, 2, 10))).more_rows
    assert more.rows == 39_990
    assert compare(counters(), now, recorded((UPDATE, 1, 10), (UPDATE, 1, None))).more_rows == []


def test_own_questions_and_the_servers_checks_are_explained() -> None:
    check = 'SELECT $2 FROM ONLY "public"."orders" x WHERE "id" = $1 FOR KEY SHARE OF x'
    result = compare(counters(own=SELECT), counters((SELECT, 7, 7), (check, 4, 4)), recorded())
    assert left(result) == []
    assert result.own == 7
    assert len(result.explained) == 2


def test_counters_that_begin_anew() -> None:
    result = compare(
        counters((UPDATE, 500, 0)), counters((UPDATE, 3, 0), reset="tuesday"), recorded((UPDATE, 3, 0))
    )
    assert (left(result), result.reset, result.removed) == ([], "tuesday", 0)


def test_a_counter_that_was_removed_or_fell() -> None:
    before = counters((UPDATE, 500, 0), (SELECT, 9, 9))
    result = compare(before, counters((UPDATE, 3, 0)), recorded((UPDATE, 3, 0)))
    assert (left(result), result.removed) == ([], 2)
    # the server itself gives up counters when it has no room
    result = compare(before, counters((UPDATE, 3, 0), gave_up=1), recorded((UPDATE, 3, 0)))
    assert result.removed == 0
    assert "gave up" in result.explained[0]


def test_statements_without_text_in_the_index_count_for_any() -> None:
    result = compare(counters(), counters((UPDATE, 10, 0)), recorded(("", 4, 0)))
    assert left(result) == [(UPDATE, 6)]


def test_what_was_recorded_and_not_counted() -> None:
    result = compare(counters(), counters((UPDATE, 1, 0)), recorded((UPDATE, 5, 0)))
    assert (left(result), result.uncounted) == ([], 4)


def test_a_baseline_survives_being_kept() -> None:
    kept = counters((UPDATE, 5, 50))
    assert unpack(pack(kept)) == kept
    assert unpack(b"of another version") is None


@pytest.mark.parametrize(
    ("connectors", "found"), [((), {"shop", "direct"}), (("east", "spare"), {"shop", "beside-east"})]
)
def test_one_address_beside_two_connectors_is_two_servers(
    connectors: tuple[str, ...], found: set[str]
) -> None:
    """What was sent to the one explains nothing at the other."""
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine, tables=[tables.sessions])
    now = counters()
    question = Question("", "app", ["shop"], now, now, 0, connectors)
    since = datetime.fromisoformat(now.moment)
    with engine.connect() as connection:
        for number, by in enumerate((None, "east", "west")):
            header = {"upstream": {"address": now.address, "connector": by}}
            connection.execute(
                tables.sessions.insert().values(
                    number=number,
                    id=str(number),
                    connection=f"beside-{by}" if by else "direct",
                    user="app",
                    header=json.dumps(header),
                    started="2026-11-22T12:00:01.000000Z",
                    last_activity="2026-11-22T12:00:01.000000Z",
                    **dict.fromkeys(
                        ("statements", "errors", "rows_written", "first_position", "last_position"), 0
                    ),
                )
            )
        assert set(_route(connection, question, since).connections) == found
    engine.dispose()
