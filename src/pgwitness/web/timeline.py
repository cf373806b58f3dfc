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

from pgwitness.index.outline import Bracket, Outline, Span
from pgwitness.review.text import counted, duration

Scale = Literal["order", "time"]
SCALES: Final[tuple[Scale, ...]] = ("order", "time")

UP: Final = 56.0
DOWN: Final = 30.0
_LEAST: Final = 3.0
_NARROWEST: Final = 0.14
"""Percent of the width: a point in time is seen, too."""
_WIDEST: Final = 1.6
_TICKS: Final = 7
_PAUSES: Final = 6
_PAUSE_SECONDS: Final = 2.0
_LABEL_WIDTH: Final = 9.0


@dataclass(frozen=True, slots=True)
class Bar:
    span: Span
    x: float
    width: float
    """Of its place."""
    drawn_x: float
    drawn: float
    """Of what is drawn in it."""
    written: float
    undone: float
    read: float
    told: str


@dataclass(frozen=True, slots=True)
class Brace:
    bracket: Bracket
    x: float
    width: float
    label: bool
    """There is room for words."""

    @property
    def end(self) -> float:
        return self.x + self.width


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    text: str
    anchor: Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Timeline:
    scale: Scale
    bars: list[Bar]
    braces: list[Brace]
    ticks: list[Tick]
    pauses: list[Tick]
    """Where nothing happened for long, in the order's scale."""
    most_written: int
    most_read: int
    summary: str
    """In words, for who does not see it."""


def draw(outline: Outline, scale: Scale = "order") -> Timeline:
    across = _Across(outline, scale)
    most_written = max((max(each.written, each.undone) for each in outline.spans), default=0)
    most_read = max((each.read for each in outline.spans), default=0)
    bars = []
    for each in outline.spans:
        x, width = across.span(each)
        drawn = min(width * 0.8, _WIDEST) if scale == "order" else width
        bars.append(
            Bar(
                each,
                x,
                width,
                _round(x + (width - drawn) / 2),
                _round(drawn),
                _height(each.written, most_written, UP),
                _height(each.undone, most_written, UP),
                _height(each.read, most_read, DOWN),
                _told(each),
            )
        )
    braces = []
    for bracket in outline.brackets:
        x, width = across.span(bracket)
        braces.append(Brace(bracket, x, width, width >= _LABEL_WIDTH))
    return Timeline(
        scale,
        bars,
        braces,
        across.ticks(),
        across.pauses() if scale == "order" else [],
        most_written,
        most_read,
        _summary(outline),
    )


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


def _told(span: Span) -> str:
    which = f"#{span.first:,}" if span.first == span.last else f"#{span.first:,} to #{span.last:,}"
    parts = [
        which,
        span.at[11:23],
        f"{counted(span.written, 'row')} written" if span.written else "",
        f"{counted(span.undone, 'row')} written, not committed" if span.undone else "",
        f"{counted(span.read, 'row')} read" if span.read else "",
        f"{span.failed:,} not ok" if span.failed else "",
        "schema" if span.schema else "",
    ]
    return " · ".join(part for part in parts if part)


def _summary(outline: Outline) -> str:
    if not outline.statements:
        return "No statements."
    assert outline.first is not None and outline.last is not None
    written = sum(each.written for each in outline.spans)
    undone = sum(each.undone for each in outline.spans)
    failed = sum(each.failed for each in outline.spans)
    braces = f"{len(outline.brackets):,}{' or more' if outline.more_brackets else ''}"
    return (
        f"{counted(outline.statements, 'statement')} from {outline.first[11:19]} to {outline.last[11:19]}, "
        f"{braces} transactions of several statements, {counted(written, 'row')} written and committed, "
        f"{counted(undone, 'row')} written and not committed, {failed:,} statements not ok."
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _round(number: float) -> float:
    return round(number, 3)
