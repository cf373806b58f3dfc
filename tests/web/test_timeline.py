"""The time line's picture: everything in its place, by order and by the clock."""

import json
import re
from dataclasses import dataclass

import pytest

from pgwitness.index.outline import Bracket, Outline, Span
from pgwitness.web.timeline import BASE, UP, draw


@dataclass
class Box:
    x: float
    y: float
    width: float
    height: float


def _boxes(path: str) -> list[Box]:
    found = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-", path)
    return [Box(*map(float, each)) for each in found]


def _at(seconds: float) -> str:
    return f"2026-11-22T06:45:{seconds:09.6f}Z"


def _span(number: int, seconds: float, **more: int) -> Span:
    given = dict.fromkeys(("failed", "schema", "control", "written", "undone", "read"), 0) | more
    return Span(number, number, _at(seconds), _at(seconds), 1, **given)


@pytest.fixture
def outline() -> Outline:
    """Four statements; a long pause before the last."""
    spans = [
        _span(1, 0, read=10),
        _span(2, 1, written=40_000),
        _span(3, 2, undone=1, failed=1),
        _span(4, 22, schema=1),
    ]
    bracket = Bracket(1, 2, 3, _at(1), _at(2), "rolled_back", False)
    return Outline("s", 4, _at(0), _at(22), spans, [bracket], 2, [], 3)


def test_by_order_each_statement_has_the_same_room(outline: Outline) -> None:
    drawn = draw(outline)
    places = [(each[2], each[3]) for each in json.loads(drawn.spans)]
    assert places == [(0, 25), (25, 25), (50, 25), (75, 25)]
    (written,) = _boxes(drawn.shapes["written"])
    assert 250 < written.x < 500 and written.y == BASE - UP and written.height == UP
    (undone,) = _boxes(drawn.shapes["undone"])
    assert 500 < undone.x < 750 and 3 <= undone.height < 12, "one row is seen beside 40,000"
    (read,) = _boxes(drawn.shapes["read"])
    assert read.y == BASE, "what was read hangs from the base line"
    assert len(_boxes(drawn.shapes["failed"])) == len(_boxes(drawn.shapes["schema"])) == 1
    assert [(label.outcome, label.x) for label in drawn.labels] == [("rolled_back", 50)]
    assert drawn.braces["rolled_back"] == "M250.00 113v5h500.00v-5"


def test_by_order_a_pause_is_told(outline: Outline) -> None:
    assert [(each.text, each.x) for each in draw(outline).pauses] == [("20.0 s", 75)]
    assert draw(outline, "time").pauses == []


def test_by_the_clock_each_statement_is_where_it_began(outline: Outline) -> None:
    drawn = draw(outline, "time")
    starts = [each[2] for each in json.loads(drawn.spans)]
    assert starts == pytest.approx([0, 100 / 22, 200 / 22, 100], abs=0.2)
    assert [tick.text for tick in drawn.ticks][::6] == ["06:45:00", "06:45:22"]


def test_nothing_sticks_out(outline: Outline) -> None:
    for scale in ("order", "time"):
        drawn = draw(outline, scale)  # type: ignore[arg-type]
        for path in drawn.shapes.values():
            assert all(box.x >= 0 and box.x + box.width <= 1000.01 for box in _boxes(path))
        assert all(cell.x + cell.width <= 100.01 for cell in drawn.cells)


def test_it_is_told_in_words_too(outline: Outline) -> None:
    told = draw(outline).summary
    assert told.startswith("4 statements from 06:45:00 to 06:45:22, 1 transaction of 2 or more statements,")
    assert "40,000 rows written and committed, 1 row written and not committed, 1 statements not ok" in told


def test_of_nothing(outline: Outline) -> None:
    drawn = draw(Outline("s", 0, None, None, [], [], 2, [], None))
    assert (drawn.shapes, drawn.cells, drawn.ticks, drawn.summary) == ({}, [], [], "No statements.")


def test_one_statement() -> None:
    span = _span(1, 3, read=1)
    for scale in ("order", "time"):
        drawn = draw(Outline("s", 1, span.at, span.at, [span], [], 2, [], None), scale)  # type: ignore[arg-type]
        assert len(_boxes(drawn.shapes["read"])) == 1


def test_where_no_script_runs_a_long_session_has_a_hundred_places_to_go_to() -> None:
    spans = [_span(number + 1, number / 20) for number in range(600)]
    cells = draw(Outline("s", 600, _at(0), _at(30), spans, [], 2, [], None)).cells
    assert len(cells) == 100
    assert [cell.first for cell in cells] == list(range(1, 600, 6))
