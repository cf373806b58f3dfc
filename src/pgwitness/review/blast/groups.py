"""The statements of a scope, gathered by the index itself, piece by piece: like statements come as one group,
so that a scope may be of any size."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Text, case, cast, func, null, or_, select

from pgwitness.index import tables
from pgwitness.index.rows import Rest

READING = ("SELECT", "FETCH", "MOVE", "SHOW", "EXPLAIN")
"""Their groups are not told apart by their counts of rows."""
PLAIN = ("SELECT", "INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET")
"""What most statements are; of these, command, tag and tables tell the most."""
FETCHED = 1000

_SESSION = tables.sessions.c
_STATEMENT = tables.statements.c
_TEXT = tables.texts.c


Piece = ColumnElement[bool]
"""Chooses some thousand statements of the scope."""


class Group(NamedTuple):
    """Statements of one text, through one connection, with one outcome and, where they write, one count."""

    connection: str | None
    database: str | None
    command: str | None
    status: str
    outcome: str
    text: int
    """The number of its text in the index."""
    sql: str
    tables: tuple[str, ...]
    """As each of them names them."""
    tag: str | None
    """None for commands in ``READING``, and where the server gave none."""
    copied: str | None
    """Direction of its COPY."""
    statements: int
    rows: int | None
    """Of all of them together."""
    first: str
    last: str
    example: int
    """The number of the first one in the index."""
    truncated: int
    """So many are not whole in the index."""


class Behind(NamedTuple):
    """One statement behind a number."""

    session: str
    seq: int
    at: str
    rows: int | None
    sql: str


class Change(NamedTuple):
    session: str
    seq: int
    at: str
    command: str
    outcome: str
    status: str
    connection: str | None
    database: str | None
    sql: str


def groups(connection: Connection, piece: Piece, *, by_text: bool = True) -> Iterator[Group]:
    """The groups of one piece of the scope; others may have groups of the same texts. Not ``by_text``: what
    is in ``PLAIN`` is told apart by commands, tags and tables, and has no text."""
    plain = func.coalesce(_STATEMENT.command, "").in_(READING)
    rest = cast(_STATEMENT.rest, Text)
    tag = func.json_extract(rest, _path("tag"), type_=Text)
    direction = func.json_extract(rest, f"{_path('copy')}.direction", type_=Text)
    names = func.json_extract(rest, _path("tables"), type_=Text)
    key = [
        _SESSION.connection,
        _SESSION.database,
        _STATEMENT.command,
        _STATEMENT.status,
        _STATEMENT.outcome,
        _text(by_text),
        names.label("names"),
        case((plain, null()), else_=tag).label("tag"),
        case((_STATEMENT.command == "COPY", direction), else_=null()).label("copied"),
    ]
    counts = [
        func.count().label("statements"),
        func.sum(_STATEMENT.rows).label("rows"),
        func.min(_STATEMENT.started).label("first"),
        func.max(_STATEMENT.started).label("last"),
        func.min(_STATEMENT.number).label("example"),
        func.sum(func.json_extract(rest, _path("truncated"))).label("truncated"),
    ]
    gathered = (
        select(*key, *counts)
        .select_from(tables.statements.join(tables.sessions, _SESSION.number == _STATEMENT.session))
        .where(piece)
        .group_by(*key, case((plain, null()), else_=_STATEMENT.rows))
        .subquery()
    )
    query = select(gathered, _TEXT.sql).outerjoin(tables.texts, _TEXT.number == gathered.c.text)
    for row in connection.execute(query):
        # By place: there are as many rows as a scope has different texts.
        *whose, names, tag, copied, statements, rows, first, last, example, cut, sql = row
        named = tuple(msgspec.json.decode(names))
        sums = (statements, rows, first, last, example, int(cut or 0))
        yield Group._make((*whose, sql or "", named, tag, copied, *sums))


def behind(connection: Connection, numbers: Sequence[int]) -> dict[int, Behind]:
    """Statements by their numbers in the index."""
    found: dict[int, Behind] = {}
    columns = (_STATEMENT.number, _SESSION.id, _STATEMENT.seq, _STATEMENT.started, _STATEMENT.rows, _TEXT.sql)
    query = (
        select(*columns)
        .join(tables.sessions, _SESSION.number == _STATEMENT.session)
        .join(tables.texts, _TEXT.number == _STATEMENT.text)
    )
    for at in range(0, len(numbers), FETCHED):
        some = query.where(_STATEMENT.number.in_(numbers[at : at + FETCHED]))
        for number, *rest in connection.execute(some):
            found[number] = Behind(*rest)
    return found


def changes(
    connection: Connection, piece: Piece, commands: Collection[str], also: Sequence[int], limit: int
) -> list[Change]:
    """Statements of these commands that did what they say, or may have, and those of these numbers: in
    order."""
    wanted = or_(_STATEMENT.command.in_(commands), _STATEMENT.number.in_(also))
    query = (
        select(
            _SESSION.id,
            _STATEMENT.seq,
            _STATEMENT.started,
            _STATEMENT.command,
            _STATEMENT.outcome,
            _STATEMENT.status,
            _SESSION.connection,
            _SESSION.database,
            _TEXT.sql,
        )
        .select_from(tables.statements.join(tables.sessions, _SESSION.number == _STATEMENT.session))
        .join(tables.texts, _TEXT.number == _STATEMENT.text)
        .where(piece, wanted, _STATEMENT.status.in_(("ok", "unfinished")))
        .order_by(_STATEMENT.position, _STATEMENT.seq)
        .limit(limit)
    )
    return [Change(*row) for row in connection.execute(query)]


def sessions(connection: Connection, piece: Piece) -> set[int]:
    """The numbers of those whose statements are in this piece."""
    return set(connection.scalars(select(_STATEMENT.session).where(piece).distinct()))


def _text(by_text: bool) -> ColumnElement[int]:
    """The number of the text, or 0."""
    if by_text:
        return _STATEMENT.text.label("text")
    plain = func.coalesce(_STATEMENT.command, "").in_(PLAIN)
    return case((plain, 0), else_=_STATEMENT.text).label("text")


def _path(field: str) -> str:
    """Of a field of ``rows.Rest`` in its document."""
    return f"$[{Rest.__struct_fields__.index(field)}]"
