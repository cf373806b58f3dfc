"""A session's time line as a picture: numbers for an SVG, made on the server, drawn by ``timeline.svg``.

Across: the order of statements, each as wide as the next, or the clock. Up from the base line: rows written,
solid where they were committed, hollow where not. Down: rows read. Heights are logarithmic, so that one row
is seen beside a million. Everything across is in percent of the width, so the picture fits any screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import log10
from typing import Final, Literal

import msgspec

from pgwitness.index.outline import Bracket, Outline, Span
from pgwitness.review.text import counted, duration
from pgwitness.statements.model import Outcome

Scale = Literal["order", "time"]
SCALES: Final[tuple[Scale, ...]] = ("order", "time")

BASE: Final = 80.0
"""The base line, in pixels from the top."""
UP: Final = 56.0
DOWN: Final = 30.0
SHAPES: Final = ("schema", "undone", "written", "read", "nothing", "failed")
"""In the order in which they are drawn."""
_FAILED_AT: Final = 17.0
_CELLS: Final = 100
_LEAST: Final = 3.0
_NARROWEST: Final = 0.14
"""Percent of the width: a point in time is seen, too."""
_WIDEST: Final = 1.6
_TICKS: Final = 7
_PAUSES: Final = 6
_PAUSE_SECONDS: Final = 2.0
_LABEL_WIDTH: Final = 9.0
_ROOMY: Final = 25.0
_BRACE_AT: Final = 118.0


@dataclass(frozen=True, slots=True)
class Cell:
    """What a click on a part of the picture leads to, where no script runs."""

    x: float
    width: float
    first: int


@dataclass(frozen=True, slots=True)
class Label:
    """What became of a transaction, where there is room for words."""

    x: float
    outcome: Outcome
    partly: bool
    roomy: bool
    """On a narrow screen, too."""


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    text: str
    anchor: Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Timeline:
    scale: Scale
    shapes: dict[str, str]
    """For each kind of mark, an SVG path: across in thousandths of the width, down in pixels."""
    spans: str
    """For the script, as JSON: first, last, x, width, at, written, undone, read, failed, schema of each."""
    cells: list[Cell]
    braces: dict[Outcome, str]
    """Brackets of transactions, as a path for each outcome."""
    labels: list[Label]
    ticks: list[Tick]
    pauses: list[Tick]
    """Where nothing happened for long, in the order's scale."""
    summary: str
    """In words, for who does not see it."""


def draw(outline: Outline, scale: Scale = "order") -> Timeline:
    across = _Across(outline, scale)
    places = [across.span(each) for each in outline.spans]
    return Timeline(
        scale,
        _shapes(outline, places, scale),
        _spans(outline, places),
        _cells(outline, places),
        *_braces(outline, across),
        across.ticks(),
        across.pauses() if scale == "order" else [],
        _summary(outline),
    )


def _shapes(outline: Outline, places: list[tuple[float, float]], scale: Scale) -> dict[str, str]:
    most_written = max((max(each.written, each.undone) for each in outline.spans), default=0)
    most_read = max((each.read for each in outline.spans), default=0)
    shapes: dict[str, list[str]] = {name: [] for name in SHAPES}
    for each, (x, width) in zip(outline.spans, places, strict=True):
        drawn = min(width * 0.8, _WIDEST) if scale == "order" else width
        left = (x + (width - drawn) / 2) * 10
        up, undone, down = (
            _height(each.written, most_written, UP),
            _height(each.undone, most_written, UP),
            _height(each.read, most_read, DOWN),
        )
        marks = {
            "schema": (BASE - UP, UP + DOWN) if each.schema else None,
            "undone": (BASE - undone, undone) if undone else None,
            "written": (BASE - up, up) if up else None,
            "read": (BASE, down) if down else None,
            "nothing": (BASE - 1, 2.0) if not (up or undone or down) else None,
            "failed": (_FAILED_AT, 4.0) if each.failed else None,
        }
        for name, mark in marks.items():
            if mark is not None:
                shapes[name].append(_box(left, drawn * 10, *mark))
    return {name: "".join(boxes) for name, boxes in shapes.items() if boxes}


def _box(x: float, width: float, y: float, height: float) -> str:
    return f"M{x:.2f} {y:.1f}h{width:.2f}v{height:.1f}h-{width:.2f}z"


def _spans(outline: Outline, places: list[tuple[float, float]]) -> str:
    told = [
        [
            *(each.first, each.last, x, width, each.at[11:23]),
            *(each.written, each.undone, each.read, each.failed, each.schema),
        ]
        for each, (x, width) in zip(outline.spans, places, strict=True)
    ]
    return msgspec.json.encode(told).decode()


def _cells(outline: Outline, places: list[tuple[float, float]]) -> list[Cell]:
    step = -(-len(places) // _CELLS) if places else 1
    cells = []
    for number in range(0, len(places), step):
        last_x, last_width = places[min(number + step, len(places)) - 1]
        x = places[number][0]
        cells.append(Cell(x, _round(last_x + last_width - x), outline.spans[number].first))
    return cells


def _braces(outline: Outline, across: _Across) -> tuple[dict[Outcome, str], list[Label]]:
    paths: dict[Outcome, list[str]] = {}
    labels = []
    for each in outline.brackets:
        x, width = across.span(each)
        path = f"M{x * 10:.2f} {_BRACE_AT - 5:.0f}v5h{width * 10:.2f}v-5"
        paths.setdefault(each.outcome, []).append(path)
        if width >= _LABEL_WIDTH:
            labels.append(Label(_round(x + width / 2), each.outcome, each.partly, width >= _ROOMY))
    return {outcome: "".join(found) for outcome, found in paths.items()}, labels


class _Across:
    """Where something stands from left to right, in percent."""

    def __init__(self, outline: Outline, scale: Scale) -> None:
        self._outline = outline
        self._scale = scale
        self._begun = _seconds(outline.first) if outline.first else 0.0
        self._lasted = max((_seconds(outline.last) if outline.last else 0.0) - self._begun, 1e-6)

    def span(self, span: Span | Bracket) -> tuple[float, float]:
        if self._scale == "order":
            return self._order(span.first, span.last)
        return self._clock(span.at, span.until)

    def ticks(self) -> list[Tick]:
        spans = self._outline.spans
        if not spans:
            return []
        digits = _digits(self._lasted)
        if self._scale == "time":
            return [
                _tick(share * 100, _clock_text(self._begun + share * self._lasted, digits))
                for share in (number / (_TICKS - 1) for number in range(_TICKS))
            ]
        chosen = sorted({round(number * (len(spans) - 1) / (_TICKS - 1)) for number in range(_TICKS)})
        found: list[Tick] = []
        for number in chosen:
            x, width = self.span(spans[number])
            at = 0.0 if number == 0 else x + width / 2
            if not found or at - found[-1].x >= _LABEL_WIDTH:
                found.append(_tick(at, _clock_text(_seconds(spans[number].at), digits)))
        return found

    def pauses(self) -> list[Tick]:
        gaps = []
        for before, after in pairwise(self._outline.spans):
            seconds = _seconds(after.at) - _seconds(before.until)
            if seconds >= _PAUSE_SECONDS:
                gaps.append((seconds, self.span(after)[0]))
        longest = sorted(gaps, reverse=True)[:_PAUSES]
        return [Tick(x, duration(int(seconds * 1e6)), "middle") for seconds, x in sorted(longest, key=_by_x)]

    def _order(self, first: int, last: int) -> tuple[float, float]:
        total = self._outline.statements
        return _round((first - 1) / total * 100), _round(max((last - first + 1) / total * 100, _NARROWEST))

    def _clock(self, at: str, until: str) -> tuple[float, float]:
        start = (_seconds(at) - self._begun) / self._lasted * 100
        width = max((_seconds(until) - _seconds(at)) / self._lasted * 100, _NARROWEST)
        return _round(min(start, 100 - width)), _round(width)


def _by_x(gap: tuple[float, float]) -> float:
    return gap[1]


def _height(rows: int, most: int, room: float) -> float:
    return round(_LEAST + (room - _LEAST) * log10(rows + 1) / log10(most + 1), 1) if rows else 0.0


def _tick(x: float, text: str) -> Tick:
    return Tick(_round(x), text, "start" if x < 4 else "end" if x > 96 else "middle")


def _digits(seconds: float) -> int:
    return 3 if seconds < 10 else 0


def _clock_text(seconds: float, digits: int) -> str:
    text = datetime.fromtimestamp(seconds, tz=UTC).strftime("%H:%M:%S.%f")
    return text[: 9 + digits] if digits else text[:8]


def _summary(outline: Outline) -> str:
    if not outline.statements:
        return "No statements."
    assert outline.first is not None and outline.last is not None
    written = sum(each.written for each in outline.spans)
    undone = sum(each.undone for each in outline.spans)
    failed = sum(each.failed for each in outline.spans)
    return (
        f"{counted(outline.statements, 'statement')} from {outline.first[11:19]} to {outline.last[11:19]}, "
        f"{counted(len(outline.brackets), 'transaction')} of {outline.shortest:,} or more statements, "
        f"{counted(written, 'row')} written and committed, "
        f"{counted(undone, 'row')} written and not committed, {failed:,} statements not ok."
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _round(number: float) -> float:
    return round(number, 3)
