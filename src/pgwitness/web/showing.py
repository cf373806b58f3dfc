"""A statement as pages show it: what may be of any size is cut here, and says so.

``Row`` is its one line in a listing, ``Panel`` all of it. Both hold text that is escaped or made so by the
templates; nothing of a statement is put out otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Literal

from markupsafe import Markup
from msgspec import UNSET
from msgspec.structs import replace

from pgwitness.index.outline import CONTROL, SCHEMA_VERBS
from pgwitness.index.tracked import rows_written
from pgwitness.review.text import seconds_between
from pgwitness.review.values import literal, numbered_pieces
from pgwitness.statements.model import Parameter, Statement
from pgwitness.web.highlight import highlight_pieces

Kind = Literal["write", "schema", "control", "read"]
Place = Literal["alone", "first", "inside", "last"]

WRITES: Final = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE TABLE"})
ROW_CHARACTERS: Final = 280
SQL_CHARACTERS: Final = 20_000
VALUE_CHARACTERS: Final = 4_000
VALUE_IN_PLACE: Final = 160
CELL_CHARACTERS: Final = 400
PARAMETERS_SHOWN: Final = 200
RESULT_ROWS: Final = 100
RESULT_COLUMNS: Final = 100
COPY_CHARACTERS: Final = 20_000
_SCANNED: Final = 16 << 10
"""Characters that PostgreSQL's scanner is asked about for placeholders: it takes memory for each token."""


@dataclass(frozen=True, slots=True)
class Row:
    statement: Statement
    sql: Markup
    kind: Kind
    place: Place = "alone"
    settles: bool = True
    """What became of it is to be said here: it ends its transaction, or what follows fared otherwise."""
    offset_us: int = 0
    """Since the session's beginning."""
    idle_us: int = 0
    """Between the end of the statement before it and its beginning."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Of the session, between the statement before it and this one."""


@dataclass(frozen=True, slots=True)
class Value:
    number: int
    parameter: Parameter
    text: str
    characters: int
    """Of the whole value."""

    @property
    def cut(self) -> bool:
        return len(self.text) < self.characters


@dataclass(frozen=True, slots=True)
class Panel:
    statement: Statement
    sql: Markup
    sql_shown: int
    """Characters; fewer than there are where it is very long."""
    kind: Kind
    values: list[Value]
    withheld: bool
    """The index keeps no values, or no text."""


def kind_of(statement: Statement) -> Kind:
    command = statement.command or ""
    if command in WRITES or rows_written(statement):
        return "write"
    if command.startswith(SCHEMA_VERBS):
        return "schema"
    return "control" if command in CONTROL else "read"


def row_of(statement: Statement) -> Row:
    """Where neither its transaction nor its session matters."""
    return Row(replace(statement, sql="", parameters=[]), one_line(statement), kind_of(statement))


def rows_of(statements: Iterable[Statement], started_at: str) -> Iterator[Row]:
    """Of statements that follow each other in one session, with their places in their transactions. Of each,
    only what a row shows is kept."""
    previous: Statement | None = None
    current: Statement | None = None
    for following in chain(statements, [None]):
        if current is not None:
            yield _row(current, previous, following, started_at)
        previous, current = current, following


def panel_of(statement: Statement) -> Panel:
    parts, cut = _cut(_pieces(statement), SQL_CHARACTERS)
    withheld = not statement.sql or any(each.encoding == "withheld" for each in statement.parameters)
    return Panel(
        statement,
        highlight_pieces(parts),
        SQL_CHARACTERS if cut else len(statement.sql),
        kind_of(statement),
        [_value(number, each) for number, each in enumerate(statement.parameters[:PARAMETERS_SHOWN], 1)],
        withheld and statement.truncated,
    )


def one_line(statement: Statement) -> Markup:
    parts, cut = _cut(_pieces(statement), ROW_CHARACTERS)
    text = highlight_pieces(parts, one_line=True)
    if not text:
        return Markup('<span class="absent">{}</span>').format(_absent(statement))
    return text + Markup('<span class="absent">…</span>') if cut else text


def cut_cell(value: str | None) -> str | None:
    if value is None or len(value) <= CELL_CHARACTERS:
        return value
    return f"{value[:CELL_CHARACTERS]}… ({len(value):,} characters)"


@dataclass(frozen=True, slots=True)
class Results:
    """The recorded rows, as far as a page shows them."""

    columns: list[str]
    rows: list[list[str | None]]
    recorded: int
    hidden_columns: int
    copied: str | None = None
    copied_characters: int = 0


def results_of(statement: Statement) -> Results:
    """Of a statement that was read with its results."""
    result, copy = statement.result, statement.copy
    data = result.data if result and result.data is not UNSET else []
    width = max([len(result.columns) if result else 0, *(len(row) for row in data[:RESULT_ROWS])])
    names = [each.name for each in result.columns] if result else []
    names += [f"column {number + 1}" for number in range(len(names), width)]
    copied = copy.data if copy and copy.data is not UNSET else None
    return Results(
        names[:RESULT_COLUMNS],
        [[cut_cell(cell) for cell in row[:RESULT_COLUMNS]] for row in data[:RESULT_ROWS]],
        len(data),
        max(0, width - RESULT_COLUMNS),
        copied[:COPY_CHARACTERS] if copied is not None else None,
        len(copied or ""),
    )


def _outcome(statement: Statement | None) -> str | None:
    return statement.transaction.outcome if statement else None


def _us_between(earlier: str, later: str) -> int:
    return max(0, int(seconds_between(earlier, later) * 1_000_000))


def _absent(statement: Statement) -> str:
    if statement.truncated:
        return f"{statement.command or 'text'} {' '.join(statement.tables)} (text not in the index)"
    return f"({statement.protocol} call)" if statement.protocol == "function" else "(empty)"


def _row(one: Statement, before: Statement | None, after: Statement | None, started_at: str) -> Row:
    place = _place(one, before, after)
    settles = place in ("alone", "last") or _outcome(after) != one.transaction.outcome
    idle = _us_between(before.started_at, one.started_at) - (before.duration_us or 0) if before else 0
    offset = _us_between(started_at, one.started_at)
    return Row(_light(one), one_line(one), kind_of(one), place, settles, offset, idle)


def _light(statement: Statement) -> Statement:
    """Without what may be of megabytes."""
    return replace(statement, sql="", parameters=[], error=None, error_detail=None)


def _place(statement: Statement, before: Statement | None, after: Statement | None) -> Place:
    number = statement.transaction.number
    begun = before is not None and before.transaction.number == number
    goes_on = after is not None and after.transaction.number == number
    if begun:
        return "inside" if goes_on else "last"
    return "first" if goes_on else "alone"


def _pieces(statement: Statement) -> list[tuple[str, int]]:
    if len(statement.sql) > _SCANNED:
        return [(statement.sql, 0)]
    return numbered_pieces(statement.sql, statement.parameters, _in_place)


def _in_place(parameter: Parameter) -> str:
    value = parameter.value
    if value is None or len(value) <= VALUE_IN_PLACE:
        return literal(parameter)
    head = Parameter(parameter.type, value[:VALUE_IN_PLACE], parameter.format, parameter.encoding)
    return f"{literal(head)}… ({len(value):,} characters)"


def _value(number: int, parameter: Parameter) -> Value:
    value = parameter.value or ""
    return Value(number, parameter, value[:VALUE_CHARACTERS], len(value))


def _cut(parts: list[tuple[str, int]], most: int) -> tuple[list[tuple[str, int]], bool]:
    kept: list[tuple[str, int]] = []
    left = most
    for text, number in parts:
        if len(text) > left:
            return [*kept, (text[:left], number)], True
        kept.append((text, number))
        left -= len(text)
    return kept, False
