"""Two documents of one statement, the recorded one and the one made here: what differs, and whether it must.

A statement is the ``same``, differs ``by nature`` (``Verdict.explained`` says in what), diverged
(``Verdict.differences``), or is a read that cannot be compared (``Verdict.incomparable``): which rows it
finds depends on when, where or by what chance it runs, and it found others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import UNSET, Struct, field

from pgwitness.reenact import nature
from pgwitness.reenact.nature import Window
from pgwitness.reenact.report import Difference
from pgwitness.statements.model import Result, Statement

SHOWN: Final = 300
"""Characters of a value in a report."""
_READS: Final = frozenset({"SELECT", "SHOW", "FETCH", "EXPLAIN", "TABLE", "VALUES", "FUNCTION"})
_READS_ONLY: Final = _READS | {"COPY"}
_OF_ROWS: Final = ("tag", "rows", "copied data")

Row = Sequence[str | None]
Fills = Callable[[int], list[str | None]]
"""By place of the statement's columns: what fills them by itself in the copy."""


class Verdict(Struct):
    differences: list[Difference] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    incomparable: str | None = None
    """Why: which rows it reads depends on that, and here it read others. It is neither."""
    hints: list[str] = field(default_factory=list)


class Windows(Struct):
    """When the session ran, and when this runs."""

    recorded: Window
    here: Window


def compare(recorded: Statement, here: Statement, windows: Windows, fills: Iterable[str | None]) -> Verdict:
    """``fills``: by column of the result, why it fills itself, if it does."""
    verdict = Verdict()
    if recorded.command == "EXPLAIN" and recorded.status == here.status == "ok":
        if _data(recorded.result) != _data(here.result):
            verdict.explained.append(nature.PLANS)
        return verdict
    _plain(verdict, "status", _status(recorded), _status(here))
    if verdict.differences:
        verdict.hints += _hints(recorded, here)
        return verdict
    own = nature.of_tables(recorded.tables) if recorded.command in _READS else None
    called = nature.volatile(recorded.sql)
    _counts(verdict, recorded, here, own)
    _columns(verdict, recorded.result, here.result)
    if not verdict.differences and recorded.result is not None and here.result is not None:
        _rows(verdict, recorded, here, windows, [*fills], own)
    _copies(verdict, recorded, here)
    if verdict.differences:
        verdict.hints += _hints(recorded, here)
    about_rows = all(one.what in _OF_ROWS or one.what.startswith("row ") for one in verdict.differences)
    if verdict.differences and about_rows and recorded.command in _READS_ONLY:
        # Of a result whose columns cannot be told apart, any may have the value.
        verdict.incomparable = called.body or (None if called.columns else called.any)
    return verdict


def _plain(verdict: Verdict, what: str, recorded: str | None, here: str | None) -> None:
    if recorded != here:
        verdict.differences.append(Difference(what, recorded, here))


def _status(statement: Statement) -> str:
    if statement.status == "error" and statement.sqlstate:
        return f"error {statement.sqlstate}"
    return statement.status


def _counts(verdict: Verdict, recorded: Statement, here: Statement, why: str | None) -> None:
    before = len(verdict.differences)
    _plain(verdict, "tag", recorded.tag, here.tag)
    if len(verdict.differences) == before and recorded.rows != here.rows:
        _plain(verdict, "rows", _number(recorded.rows), _number(here.rows))
    if why and len(verdict.differences) > before:
        del verdict.differences[before:]
        verdict.explained.append(why)


def _number(count: int | None) -> str | None:
    return None if count is None else str(count)


def _columns(verdict: Verdict, recorded: Result | None, here: Result | None) -> None:
    if recorded is None or here is None:
        if recorded is not here:
            _plain(verdict, "result", "rows" if recorded else "no result", "rows" if here else "no result")
        return
    then, now = _shape(recorded), _shape(here)
    if then and now and then != now:
        _plain(verdict, "columns", _cut(", ".join(then)), _cut(", ".join(now)))


def _shape(result: Result) -> list[str]:
    """A type that is not built in is an OID, which is another one in a copy."""
    return [f"{column.name} {'?' if column.type.isdigit() else column.type}" for column in result.columns]


def _rows(
    verdict: Verdict,
    recorded: Statement,
    here: Statement,
    windows: Windows,
    fills: list[str | None],
    own: str | None,
) -> None:
    assert recorded.result is not None and here.result is not None
    then, now = _data(recorded.result), _data(here.result)
    whole = recorded.result.complete and not recorded.truncated
    if not whole and len(now) >= len(then):
        if then == now[: len(then)]:
            return
    elif then == now:
        return
    masks = _Masks(recorded, fills)
    left = [masks.apply(row, windows.recorded) for row in then]
    right = [masks.apply(row, windows.here) for row in now]
    rest = Counter(left)
    rest.subtract(Counter(right))
    missing = +rest
    if not missing and (not whole or not -rest):
        _explain(verdict, left, right, masks)
        return
    if own:
        verdict.explained.append(own)
        return
    _differ(verdict, recorded.result, then, now, left, right)


def _explain(verdict: Verdict, left: list[Row], right: list[Row], masks: _Masks) -> None:
    verdict.explained += masks.used
    if left != right[: len(left)]:
        verdict.explained.append(nature.ORDER)


class _Masks:
    """Values that must differ, covered."""

    def __init__(self, statement: Statement, fills: list[str | None]) -> None:
        assert statement.result is not None
        called = nature.volatile(statement.sql)
        self._types = [column.type for column in statement.result.columns]
        self._columns = [
            nature.of_type(type) or called.of(at) or (fills[at] if at < len(fills) else None)
            for at, type in enumerate(self._types)
        ]
        self.used: list[str] = []

    def apply(self, row: Row, window: Window) -> Row:
        return tuple(self._cell(at, value, window) for at, value in enumerate(row))

    def _cell(self, at: int, value: str | None, window: Window) -> str | None:
        if value is None:
            return None
        why = self._columns[at] if at < len(self._columns) else None
        if why is None and at < len(self._types) and window.holds(self._types[at], value):
            why = nature.TIME
        if why is None:
            return value
        if why not in self.used:
            self.used.append(why)
        return f"\0{why}"


def _differ(
    verdict: Verdict, result: Result, then: list[Row], now: list[Row], left: list[Row], right: list[Row]
) -> None:
    """The first row of each side that the other has not."""
    here, there = Counter(right), Counter(left)
    lost = _first_without(left, here)
    new = _first_without(right, there)
    names = [column.name for column in result.columns]
    recorded = None if lost is None else _show(names, then[lost])
    shown = None if new is None else _show(names, now[new])
    verdict.differences.append(
        Difference(f"row {(lost if lost is not None else new or 0) + 1}", recorded, shown)
    )


def _first_without(rows: list[Row], others: Counter[Row]) -> int | None:
    for at, row in enumerate(rows):
        if others[row] <= 0:
            return at
        others[row] -= 1
    return None


def _show(names: list[str], row: Row) -> str:
    named = [names[at] if at < len(names) else str(at + 1) for at in range(len(row))]
    cells = ("NULL" if value is None else value for value in row)
    return _cut(", ".join(f"{name}={value}" for name, value in zip(named, cells, strict=True)))


def _copies(verdict: Verdict, recorded: Statement, here: Statement) -> None:
    then, now = recorded.copy, here.copy
    if then is None or now is None or then.direction != "out" or then.data is UNSET or now.data is UNSET:
        return
    if then.data == now.data or (not then.complete and now.data.startswith(then.data)):
        return
    if then.encoding is UNSET and then.complete:
        left, right = then.data.splitlines(), now.data.splitlines()
        if Counter(left) == Counter(right):
            verdict.explained.append(nature.ORDER)
            return
        lost = _first_without([(line,) for line in left], Counter((line,) for line in right))
        new = _first_without([(line,) for line in right], Counter((line,) for line in left))
        then_line = None if lost is None else _cut(left[lost])
        now_line = None if new is None else _cut(right[new])
    else:
        then_line, now_line = f"{then.bytes} bytes", f"{now.bytes} other bytes"
    verdict.differences.append(Difference("copied data", then_line, now_line))


def _data(result: Result | None) -> list[Row]:
    return [tuple(row) for row in result.data] if result is not None and result.data is not UNSET else []


def _hints(recorded: Statement, here: Statement) -> list[str]:
    hints = []
    if why := nature.volatile(recorded.sql).any:
        hints.append(f"its text depends on {why}")
    if any(parameter.type and parameter.type.isdigit() for parameter in recorded.parameters):
        hints.append(
            "it binds a value of a type that is not built in, by the server's number for it; a copy that "
            "was restored from a dump has other numbers: a physical copy has the same"
        )
    if here.status == "error" and here.error and recorded.status != "error":
        hints.append(f"here: {_cut(here.error)}")
    elif recorded.status == "error" and recorded.error and here.status != "error":
        hints.append(f"on record: {_cut(recorded.error)}")
    if here.status == "unfinished":
        hints.append("there was no answer here")
    return hints


def _cut(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[:SHOWN]}…"
