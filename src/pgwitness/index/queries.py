"""The index's questions in SQL: from filters, cursors and pieces of session ids to conditions.

They are written for keys and ranges: a page is found by seeking to where the one before it ended.
"""

from collections.abc import Iterator
from typing import Any, NoReturn

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    TextClause,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
)

from pgwitness.errors import ConflictError, InvalidError, NotFoundError
from pgwitness.index import tables, times
from pgwitness.index.batch import TEN_SECONDS
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.rows import COLUMNS, PARAMETERS

MOST, LONGEST_NUMBER = 2**63 - 1, 19
"""What a database takes for an integer."""
FEW_SESSIONS = 64
"""So many are looked up one by one."""

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


def select_statements(connection: Connection, filters: Filters) -> Select[Any]:
    """Statements with their sessions, unordered."""
    joined = tables.statements.join(tables.sessions, _SESSION.number == _STATEMENT.session)
    joined = joined.join(tables.texts, _TEXT.number == _STATEMENT.text)
    columns = [_TEXT.sql if name == "text" else _STATEMENT[name] for name in COLUMNS]
    of_session = [
        _SESSION[name] for name in ("id", "identity", "on_behalf_of", "run", "connection", "database")
    ]
    return (
        select(*columns, *of_session)
        .select_from(joined)
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
        _SESSION[name] == getattr(filters, name)
        for name in ("identity", "run", "connection")
        if getattr(filters, name) is not None
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
    if filters.status is not None and filters.status != "ok":
        yield tables.FAILED
    if filters.min_rows is not None:
        yield _STATEMENT.rows >= filters.min_rows
        if filters.min_rows >= tables.LARGE_ROWS:
            yield tables.LARGE
    if filters.match is not None:
        yield or_(*_matching(filters.match))
    if filters.table is not None:
        naming = tables.statement_tables.c
        named = _tables(connection, filters.table)
        if not named:
            yield false()
            return
        yield exists(
            select(naming.seq).where(
                naming.table.in_(named),
                naming.session == _STATEMENT.session,
                naming.seq == _STATEMENT.seq,
            )
        )


def _matching(wanted: str) -> Iterator[ColumnElement[bool]]:
    """In the text, or in a bound value: of ``rows.Rest``, an array whose items have names in ``Rest`` alone.

    Both are correlated subqueries, which SQLite leaves for last, when every other condition holds.
    """
    holding = select(_TEXT.number).where(_TEXT.sql.icontains(wanted, autoescape=True))
    yield exists(holding.where(_TEXT.number == _STATEMENT.text).correlate(tables.statements))
    document = cast(_STATEMENT.rest, Text)
    bound = func.json_each(document, f"$[{PARAMETERS}]").table_valued("value")
    value = func.json_extract(bound.c.value, "$.value", type_=Text)
    named = select(literal(1)).select_from(bound).where(value.icontains(wanted, autoescape=True))
    yield exists(named.correlate(tables.statements))


def _tables(connection: Connection, name: str) -> list[int]:
    """``public.orders`` is that table; ``orders`` is any table of that name."""
    column = tables.table_names.c.name
    matching = column == name
    if "." not in name:
        matching = or_(matching, column.endswith(f".{name}", autoescape=True))
    return list(connection.scalars(select(tables.table_names.c.number).where(matching)))


def statement_times(connection: Connection, filters: Filters) -> Iterator[ColumnElement[bool]]:
    """The exact times, and the span of positions that they lie in: the latter makes it quick."""
    mark = tables.timeline.c
    if filters.since is not None:
        since = times.of_datetime(filters.since)
        yield _STATEMENT.started >= since
        first = connection.scalar(select(func.min(mark.first)).where(mark.time >= since[:TEN_SECONDS]))
        yield _STATEMENT.position >= first if first is not None else false()
    if filters.until is not None:
        until = times.of_datetime(filters.until)
        yield _STATEMENT.started <= until
        last = connection.scalar(select(func.max(mark.last)).where(mark.time <= until[:TEN_SECONDS]))
        yield _STATEMENT.position <= last if last is not None else false()


def cursor_of(row: Any) -> str:
    return f"{row.position:x}.{row.seq}"


def order(filters: Filters, backwards: bool) -> list[ColumnElement[Any]]:
    """By position, and that is by seq within a session, for which there is an index by session."""
    columns = [_STATEMENT.seq] if filters.session is not None else [_STATEMENT.position, _STATEMENT.seq]
    return [column.desc() for column in columns] if backwards else list(columns)


def beyond(cursor: str, filters: Filters, *, backwards: bool) -> ColumnElement[bool]:
    """What follows the cursor's statement, or precedes it, written so that SQLite seeks in the order's
    index."""
    left, _, right = cursor.partition(".")
    at, after = integer(left, 16), integer(right)
    position, seq = _STATEMENT.position, _STATEMENT.seq
    if filters.session is not None:
        return seq < after if backwards else seq > after
    if backwards:
        return (position <= at) & ((position < at) | (seq < after))
    return (position >= at) & ((position > at) | (seq > after))


def integer(text: str, base: int = 10) -> int:
    try:
        number = int(text, base) if len(text) <= LONGEST_NUMBER else MOST + 1
    except ValueError:
        number = MOST + 1
    if not 0 <= number <= MOST:
        raise InvalidError("this cursor is none that a listing gave")
    return number
