"""The index's questions in SQL: from filters, cursors and pieces of session ids to conditions.

They are written for keys and ranges: a page is found by seeking to where the one before it ended.
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    TextClause,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
)

from pgwitness.errors import ConflictError, InvalidError, NotFoundError
from pgwitness.index import tables, times
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.passages import Needle
from pgwitness.index.rows import COLUMNS, PARAMETERS, Rest

MOST, LONGEST_NUMBER = 2**63 - 1, 19
"""What a database takes for an integer."""
FEW_SESSIONS = 64
"""So many are looked up one by one."""

OF_SESSIONS = ("identity", "kind", "on_behalf_of", "run", "connection")
"""Filters that are columns of sessions."""

_SESSION = tables.sessions.c
_STATEMENT = tables.statements.c
_TEXT = tables.texts.c


def resolve(connection: Connection, text: str, scope: Scope | None = None) -> tuple[int, str]:
    """Number and id. What lies outside of the scope is unknown, and makes no other ambiguous."""
    wanted = "".join(c for c in text.lower() if c in "0123456789abcdef-").replace("-", "")
    if not wanted or set(text.lower()) - set("0123456789abcdef-.…"):
        unknown(text)
    plain = func.replace(_SESSION.id, "-", "")
    query = select(_SESSION.number, _SESSION.id).where(*within(scope)).limit(4)
    if len(wanted) == 32:
        rows = connection.execute(query.where(_SESSION.id == _hyphenated(wanted))).all()
    else:
        matching = or_(plain.startswith(wanted), plain.endswith(wanted))
        rows = connection.execute(query.where(matching).order_by(_SESSION.number.desc())).all()
    if len(rows) > 1:
        some = ", ".join(row.id for row in rows[:3])
        raise ConflictError(
            f"several sessions begin or end with {text!r}: {some}{', …' if len(rows) > 3 else ''}",
            hint="Give more of the id; its last characters tell sessions apart best.",
        )
    if not rows:
        unknown(text)
    return rows[0].number, rows[0].id


def unknown(text: str) -> NoReturn:
    raise NotFoundError(f"there is no session {text!r}", hint="List them: pgwitness session list")


def _hyphenated(plain: str) -> str:
    return "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))


def statements_with_sessions() -> Select[Any]:
    joined = tables.statements.join(tables.sessions, _SESSION.number == _STATEMENT.session)
    joined = joined.join(tables.texts, _TEXT.number == _STATEMENT.text)
    columns = [_TEXT.sql if name == "text" else _STATEMENT[name] for name in COLUMNS]
    of_session = [
        _SESSION[name] for name in ("id", "identity", "on_behalf_of", "run", "connection", "database")
    ]
    return select(*columns, _STATEMENT.place, *of_session).select_from(joined)


def select_statements(connection: Connection, filters: Filters) -> Select[Any]:
    """Those that the filters choose, unordered. It is right, and slow where nothing else narrows it down:
    ``search`` is quick."""
    return (
        statements_with_sessions()
        .where(*of_sessions(connection, filters))
        .where(*of_statements(connection, filters))
        .where(*statement_times(connection, filters))
    )


def within(scope: Scope | None) -> Iterator[ColumnElement[bool]]:
    """On sessions."""
    if scope is not None and scope.identity is not None:
        yield _SESSION.identity == scope.identity
    if scope is not None and scope.connections is not None:
        yield _SESSION.connection.in_(scope.connections)


def of_sessions(connection: Connection, filters: Filters) -> Iterator[ColumnElement[bool]]:
    yield from within(filters.scope)
    if filters.session is not None:
        yield _SESSION.number == resolve(connection, filters.session, filters.scope)[0]
    wanted = [
        _SESSION[name] == getattr(filters, name) for name in OF_SESSIONS if getattr(filters, name) is not None
    ]
    if wanted:
        some = connection.scalars(select(_SESSION.number).where(*wanted).limit(FEW_SESSIONS + 1)).all()
        if len(some) <= FEW_SESSIONS:
            yield _SESSION.number.in_(some)
        else:
            # Most statements may be theirs: SQLite is told to go by the order, not by these columns' indexes.
            yield from (func.likely(condition) for condition in wanted)


def session_times(filters: Filters) -> Iterator[ColumnElement[bool]]:
    """Sessions that were there at some time of the span."""
    if filters.since is not None:
        yield _SESSION.last_activity >= times.of_datetime(filters.since)
    if filters.until is not None:
        yield _SESSION.started <= times.of_datetime(filters.until)


def of_statements(connection: Connection, filters: Filters) -> Iterator[ColumnElement[bool] | TextClause]:
    for name in ("command", "status", "outcome"):
        wanted = getattr(filters, name)
        if wanted is not None:
            yield _STATEMENT[name] == wanted
    if filters.sqlstate is not None:
        yield _STATEMENT.sqlstate.startswith(filters.sqlstate, autoescape=True)
    if filters.min_rows is not None:
        yield _STATEMENT.rows >= filters.min_rows
    if filters.min_duration is not None:
        yield _STATEMENT.duration >= filters.min_duration
    if filters.match is not None:
        wanted_text = filters.match
        yield _matching(lambda text: text.icontains(wanted_text, autoescape=True))
    if filters.words is not None:
        for needle in Needle.words(filters.words):
            yield _matching(_has_word(needle.content.decode()))
    if filters.table is not None:
        named = named_tables(connection, filters.table)
        document = cast(_STATEMENT.rest, Text)
        each = func.json_each(document, f"$[{Rest.__struct_fields__.index('tables')}]").table_valued("value")
        yield exists(select(literal(1)).select_from(each).where(each.c.value.in_(named)))


def _matching(holds: Callable[[ColumnElement[str]], ColumnElement[bool]]) -> ColumnElement[bool]:
    """In the text, or in a bound value: of ``rows.Rest``, an array whose items have names in ``Rest`` alone.

    Both are correlated subqueries, which SQLite leaves for last, when every other condition holds.
    """
    holding = select(_TEXT.number).where(holds(_TEXT.sql), _TEXT.number == _STATEMENT.text)
    document = cast(_STATEMENT.rest, Text)
    bound = func.json_each(document, f"$[{PARAMETERS}]").table_valued("value")
    value = func.json_extract(bound.c.value, "$.value", type_=Text)
    named = select(literal(1)).select_from(bound).where(holds(value))
    return or_(exists(holding.correlate(tables.statements)), exists(named.correlate(tables.statements)))


def _has_word(word: str) -> Callable[[ColumnElement[str]], ColumnElement[bool]]:
    """As ``passages`` tells words; a word has no character that means anything in a pattern."""
    edge = "[^0-9a-z_\x80-\U0010ffff]"
    pattern = f"*{edge}{word}{edge}*"
    return lambda text: (literal(" ") + func.lower(text) + " ").op("GLOB", is_comparison=True)(pattern)


def named_tables(connection: Connection, name: str) -> list[str]:
    """``public.orders`` is that table; ``orders`` is any table of that name."""
    if "." in name:
        return [name]
    column = tables.table_names.c.name
    others = select(column).where(column.endswith(f".{name}", autoescape=True))
    return [name, *connection.scalars(others)]


def statement_times(connection: Connection, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.since is not None:
        yield _STATEMENT.started >= times.of_datetime(filters.since)
    if filters.until is not None:
        yield _STATEMENT.started <= times.of_datetime(filters.until)


def cursor(position: int, seq: int) -> str:
    return f"{position:x}.{seq}"


def place_of(cursor: str) -> tuple[int, int]:
    """The (position, seq) of the statement that the cursor stands for."""
    left, _, right = cursor.partition(".")
    return integer(left, 16), integer(right)


def integer(text: str, base: int = 10) -> int:
    try:
        number = int(text, base) if len(text) <= LONGEST_NUMBER else MOST + 1
    except ValueError:
        number = MOST + 1
    if not 0 <= number <= MOST:
        raise InvalidError("this cursor is none that a listing gave")
    return number
