"""Filters from what a person types."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pgwitness.errors import InvalidError
from pgwitness.index.filters import parse, parse_time

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("2h", NOW - timedelta(hours=2)),
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


@pytest.mark.parametrize("text", ["yesterday", "15", "-3h", "15 minutes", "9" * 30 + "d", "2026-13-01"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(InvalidError, match="since"):
        parse(since=text)


def test_words_are_checked() -> None:
    assert parse(status="OK", outcome="rolled-back", command="update").outcome == "rolled_back"
    for wrong in ({"status": "fine"}, {"outcome": "maybe"}, {"min_rows": -1}):
        with pytest.raises(InvalidError):
            parse(**wrong)  # type: ignore[arg-type]


def test_nothing_asks_for_nothing() -> None:
    assert not parse(identity="", since="", now=NOW).on_statements
