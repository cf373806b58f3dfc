"""Filters from what a person types."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pgwitness.errors import InvalidError
from pgwitness.index.filters import FILTERS, Filter, Filters, parse, parse_time

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("2h", NOW - timedelta(hours=2)),
        ("1h30m", NOW - timedelta(minutes=90)),
        (" 1d 2h ", NOW - timedelta(hours=26)),
        ("3d", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-11-22T06:45:31Z", datetime(2026, 11, 22, 6, 45, 31, tzinfo=UTC)),
        ("2026-11-22T06:45:31.000123Z", datetime(2026, 11, 22, 6, 45, 31, 123, tzinfo=UTC)),
        ("2026-11-22T06:45:31+02:00", datetime(2026, 11, 22, 6, 45, 31, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-11-22 06:45", datetime(2026, 11, 22, 6, 45, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_times(text: str, wanted: datetime) -> None:
    assert parse_time(text, "since", NOW) == wanted


@pytest.mark.parametrize(
    "text", ["yesterday", "15", "-3h", "15 minutes", "9" * 30 + "d", "2026-13-01", "1h 30"]
)
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(InvalidError, match="since"):
        parse({"since": text})


def test_words_are_checked() -> None:
    asked = parse({"status": "OK", "outcome": "rolled-back", "command": " copy  to ", "min_rows": "7"})
    assert (asked.status, asked.outcome, asked.command, asked.min_rows) == ("ok", "rolled_back", "COPY TO", 7)
    for wrong in ({"status": "fine"}, {"outcome": "maybe"}, {"min_rows": "-1"}, {"min_row": "1"}):
        with pytest.raises(InvalidError):
            parse(wrong)


@pytest.mark.parametrize("each", FILTERS, ids=lambda each: each.name)
def test_every_filter_takes_its_example_and_nothing_empty(each: Filter) -> None:
    now = datetime.now(UTC)
    assert getattr(parse({each.name: each.example}, now), each.name) is not None
    for empty in ("", "  "):
        with pytest.raises(InvalidError, match=f"{each.option} is empty"):
            parse({each.name: empty})


def test_spans_in_which_nothing_can_be_are_errors() -> None:
    with pytest.raises(InvalidError, match="later than until"):
        parse({"since": "15m", "until": "1h"})
    with pytest.raises(InvalidError, match="future"):
        parse({"since": "2030-01-01"}, NOW)
    parse({"since": "1h", "until": "2030-01-01"}, NOW)


def test_nothing_asks_for_nothing() -> None:
    assert parse({}) == Filters()
    assert not parse({"identity": "agent", "since": None}, NOW).on_statements
    assert parse({"match": "x"}).on_statements


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("250ms", 250_000), ("250", 250_000), ("2s", 2_000_000), ("1m30s", 90_000_000), ("1h", 3_600_000_000),
     ("15us", 15)],
)  # fmt: skip
def test_durations(text: str, microseconds: int) -> None:
    assert parse({"min_duration": text}).min_duration == microseconds


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("min_duration", "long", "not a duration"),
        ("min_duration", "-1s", "not a duration"),
        ("sqlstate", "4250", "no SQLSTATE"),
        ("sqlstate", "42'01", "no SQLSTATE"),
        ("words", "* = ,", "no word"),
        ("match", "a\0b", "NUL"),
        ("kind", "robot", "none of human, service"),
    ],
)
def test_what_makes_no_sense_is_named(name: str, text: str, told: str) -> None:
    with pytest.raises(InvalidError, match=told):
        parse({name: text})


def test_codes_are_written_large() -> None:
    assert (parse({"sqlstate": "42p01"}).sqlstate, parse({"sqlstate": "xx"}).sqlstate) == ("42P01", "XX")
