"""Statements over time by identity: bars made on the server, as numbers that a template writes down as SVG.

The picture is 1000 wide and 100 high, and is stretched to its place. Its words are beside it in HTML, so they
keep their size; who cannot see it has the table, which is made of the same numbers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0
NAMED: Final = 5
"""Identities with a colour of their own; the rest are one."""
OTHERS: Final = "others"
_GAP: Final = 0.2


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    series: int
    """Its colour, from 1."""
    title: str


@dataclass(frozen=True, slots=True)
class Series:
    number: int
    identity: str
    statements: int
    errors: int
    rows_written: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One stretch of time in which something ran."""

    at: datetime
    until: datetime
    statements: int
    errors: int
    by: str


@dataclass(frozen=True, slots=True)
class Chart:
    bars: list[Bar]
    errors: list[Bar]
    """Where statements failed: a strip of its own below."""
    series: list[Series]
    slots: list[Slot]
    ticks: list[datetime]
    highest: int
    """Statements in the fullest slot: the top of the picture."""
    step: timedelta

    @property
    def statements(self) -> int:
        return sum(each.statements for each in self.series)

    @property
    def failed(self) -> int:
        return sum(each.errors for each in self.series)

    @property
    def rows_written(self) -> int:
        return sum(each.rows_written for each in self.series)


def chart(
    activity: Iterable[Mapping[str, Any]], since: datetime, until: datetime, buckets: int, ticks: int = 5
) -> Chart:
    """``activity``: rows of ``IndexReader.activity``; each ``at`` is the beginning of its slot."""
    step = (until - since) / buckets
    cells: dict[int, Counter[str]] = defaultdict(Counter)
    failed: Counter[int] = Counter()
    statements, errors, written = Counter[str](), Counter[str](), Counter[str]()
    for row in activity:
        slot = min(buckets - 1, max(0, int((_moment(row["at"]) - since) / step)))
        identity = row["identity"] or "nobody"
        cells[slot][identity] += row["statements"]
        failed[slot] += row["errors"]
        statements[identity] += row["statements"]
        errors[identity] += row["errors"]
        written[identity] += row["rows_written"]
    order = [name for name, _ in sorted(statements.items(), key=lambda each: (-each[1], each[0]))]
    numbers = {name: min(place, NAMED + 1) for place, name in enumerate(order, 1)}
    highest = max((sum(cell.values()) for cell in cells.values()), default=0)
    starts = [since + step * slot for slot in range(buckets + 1)]
    return Chart(
        bars=[
            bar
            for slot in sorted(cells)
            for bar in _stack(slot, cells[slot], order, numbers, highest, buckets, starts[slot])
        ],
        errors=[
            Bar(x, 0, width, HEIGHT, 0, f"{starts[slot]:%H:%M}: {failed[slot]:,} failed")
            for slot in sorted(failed)
            if failed[slot]
            for x, width in [_column(slot, buckets)]
        ],
        series=_series(order, numbers, statements, errors, written),
        slots=[
            Slot(
                starts[slot],
                starts[slot + 1],
                sum(cells[slot].values()),
                failed[slot],
                ", ".join(f"{name} {cells[slot][name]:,}" for name in order if cells[slot][name]),
            )
            for slot in sorted(cells)
        ],
        ticks=[since + (until - since) * tick / (ticks - 1) for tick in range(ticks)],
        highest=highest,
        step=step,
    )


def _stack(
    slot: int,
    cell: Counter[str],
    order: list[str],
    numbers: dict[str, int],
    highest: int,
    buckets: int,
    at: datetime,
) -> Iterable[Bar]:
    """From the ground up, the busiest identity first."""
    x, width = _column(slot, buckets)
    ground = HEIGHT
    for name in order:
        if cell[name]:
            height = cell[name] / highest * HEIGHT
            ground -= height
            title = f"{at:%H:%M}: {name} {cell[name]:,}"
            yield Bar(x, round(ground, 2), width, round(height, 2), numbers[name], title)


def _column(slot: int, buckets: int) -> tuple[float, float]:
    """Left edge and width."""
    width = WIDTH / buckets
    return round(slot * width + width * _GAP / 2, 2), round(width * (1 - _GAP), 2)


def _series(
    order: list[str],
    numbers: dict[str, int],
    statements: Counter[str],
    errors: Counter[str],
    written: Counter[str],
) -> list[Series]:
    named = order if len(order) <= NAMED + 1 else order[:NAMED]
    found = [Series(numbers[name], name, statements[name], errors[name], written[name]) for name in named]
    if rest := order[len(named) :]:
        sums = [sum(each[name] for name in rest) for each in (statements, errors, written)]
        found.append(Series(NAMED + 1, f"{len(rest)} {OTHERS}", *sums))
    return found


def _moment(at: datetime | str) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)
