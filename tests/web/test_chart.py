"""Activity as bars: every number of it is there once, in the picture and in the table."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pgwitness.web.chart import HEIGHT, NAMED, WIDTH, chart

SINCE = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=1)
BUCKETS = 60


def row(
    minute: int, identity: str | None, statements: int, errors: int = 0, written: int = 0
) -> dict[str, Any]:
    at = (SINCE + timedelta(minutes=minute)).isoformat()
    return {
        "at": at,
        "identity": identity,
        "statements": statements,
        "errors": errors,
        "rows_written": written,
    }


def test_nothing_is_an_empty_chart() -> None:
    made = chart([], SINCE, UNTIL, BUCKETS)
    assert not made.bars and not made.series and made.highest == 0 and made.statements == 0


def test_bars_of_a_slot_stand_on_each_other() -> None:
    made = chart([row(5, "a", 30), row(5, "b", 10), row(9, "b", 20, 2)], SINCE, UNTIL, BUCKETS)
    assert made.highest == 40
    low, high = (bar for bar in made.bars if bar.title.startswith("06:05"))
    assert (low.height, high.height) == (75.0, 25.0) and high.y == 0.0 and low.y == 25.0
    assert [(each.identity, each.number) for each in made.series] == [("a", 1), ("b", 2)]
    assert [bar.title for bar in made.errors] == ["06:09: 2 failed"]
    assert [slot.by for slot in made.slots] == ["a 30, b 10", "b 20"]
    assert made.ticks[0] == SINCE and made.ticks[-1] == UNTIL


def test_who_has_no_name_and_who_is_one_of_many() -> None:
    rows = [row(1, None, 1), *(row(2, f"agent-{n}", 10 + n, written=n) for n in range(9))]
    made = chart(rows, SINCE, UNTIL, BUCKETS)
    assert len(made.series) == NAMED + 1
    assert made.series[-1].identity == "5 others" and made.series[-1].number == NAMED + 1
    assert made.statements == sum(one["statements"] for one in rows)
    assert made.rows_written == sum(range(9))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 59),
            st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]),
            st.integers(1, 10**6),
        ),
        max_size=60,
    )
)
def test_no_bar_leaves_the_picture_and_no_statement_is_lost(rows: list[tuple[int, str, int]]) -> None:
    made = chart((row(*each, errors=each[2] // 3) for each in rows), SINCE, UNTIL, BUCKETS)
    total = sum(number for _, _, number in rows)
    assert made.statements == total == sum(slot.statements for slot in made.slots)
    assert made.failed == sum(slot.errors for slot in made.slots)
    for bar in made.bars:
        assert bar.y >= -0.1 and bar.y + bar.height <= HEIGHT + 0.1
        assert bar.x >= 0 and bar.x + bar.width <= WIDTH + 0.01 and 1 <= bar.series <= NAMED + 1
