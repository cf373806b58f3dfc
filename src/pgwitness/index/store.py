"""Reads the index: sessions and statements by filters, in pages that stay cheap however far one has read.

Every page starts where its cursor says, by key, never by counting. Statements come in the order in which they
reached the server; sessions newest first. An index that is not there yet reads as empty.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, exists, func, or_, select

from pgwitness.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from pgwitness.index import tables, times
from pgwitness.index.database import connect
from pgwitness.index.filters import Filters
from pgwitness.index.location import Location
from pgwitness.index.rows import COLUMNS, to_statement
from pgwitness.statements.model import Statement

PAGE = 1000
"""Statements fetched at a time by ``iterate``."""

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    next: str | None = None
    """The cursor of the page after this one, None at the end."""


class Session(msgspec.Struct):
    """A session as listings show it. ``header`` is there when one session is asked for."""

    session: str
    identity: str | None
    kind: str | None
    on_behalf_of: str | None
    run: str | None
    connection: str | None
    database: str | None
    user: str | None
    client: str | None
    started_at: str
    ended_at: str | None
    end_reason: str | None
    """None while it is open."""
    end_detail: str | None
    statements: int
    errors: int
    rows_written: int
    """By statements whose transaction was committed."""
    last_activity: str


class SessionDetail(NamedTuple):
    session: Session
    header: dict[str, Any]
    first_position: int
    last_position: int
    events: list[dict[str, Any]]


_SESSION = tables.sessions.c
_STATEMENT = tables.statements.c


class IndexReader:
    """Safe to share between threads. Notices by itself that the index was rebuilt."""

    def __init__(self, state: Path) -> None:
        self._location = Location(state)
        self._lock = threading.Lock()
        self._opened: tuple[Path, Engine] | None = None

    def close(self) -> None:
        with self._lock:
            if self._opened:
                self._opened[1].dispose()
            self._opened = None

    @contextmanager
    def connection(self) -> Iterator[Connection | None]:
        """A read transaction on the current index, None while there is none."""
        engine = self._engine()
        if engine is None:
            yield None
            return
        with engine.begin() as connection:
            yield connection

    def resolve(self, text: str) -> str:
        """The full id of the session whose id begins or ends with ``text``. Raises NotFoundError,
        ConflictError."""
        with self.connection() as connection:
            if connection is None:
                _unknown(text)
            return _resolve(connection, text)[1]

    def sessions(self, filters: Filters, *, limit: int = 100, cursor: str | None = None) -> Page[Session]:
        """The newest first."""
        with self.connection() as connection:
            if connection is None:
                return Page([])
            query = select(tables.sessions).order_by(_SESSION.number.desc()).limit(limit + 1)
            query = query.where(*_on_sessions(connection, filters), *_session_times(filters))
            if cursor is not None:
                query = query.where(_SESSION.number < _integer(cursor))
            if filters.on_statements:
                found = select(_STATEMENT.number).where(_STATEMENT.session == _SESSION.number)
                found = found.where(
                    *_on_statements(connection, filters), *_statement_times(connection, filters)
                )
                query = query.where(exists(found))
            rows = connection.execute(query).all()
            more = str(rows[limit - 1].number) if len(rows) > limit else None
            return Page([_session(row) for row in rows[:limit]], more)

    def session(self, text: str) -> SessionDetail:
        """One session with its header and its events. Raises NotFoundError, ConflictError."""
        with self.connection() as connection:
            if connection is None:
                _unknown(text)
            number, _ = _resolve(connection, text)
            row = connection.execute(select(tables.sessions).where(_SESSION.number == number)).one()
            events = tables.session_events
            found = connection.execute(
                select(events).where(events.c.session == number).order_by(events.c.position)
            ).all()
            return SessionDetail(
                _session(row),
                msgspec.json.decode(row.header),
                row.first_position,
                row.last_position,
                [
                    {"at": one.at, "position": one.position, **msgspec.json.decode(one.document)}
                    for one in found
                ],
            )

    def statements(
        self, filters: Filters, *, limit: int = 100, cursor: str | None = None, newest: bool = False
    ) -> Page[Statement]:
        """Ascending. ``newest`` gives the last ones, still ascending, and its cursor goes backwards."""
        with self.connection() as connection:
            if connection is None:
                return Page([])
            query = _statements(connection, filters)
            if cursor is not None:
                query = query.where(_beyond(cursor, filters, backwards=newest))
            rows = connection.execute(query.order_by(*_order(filters, newest)).limit(limit + 1)).all()
            more = _cursor(rows[limit - 1]) if len(rows) > limit else None
            kept = rows[:limit]
            return Page([_statement(row) for row in (reversed(kept) if newest else kept)], more)

    def iterate(
        self, filters: Filters, *, limit: int | None = None, newest: bool = False
    ) -> Iterator[Statement]:
        """Ascending, a page in memory at a time. ``newest``: the last ``limit`` of them."""
        cursor = self._before_last(filters, limit) if newest and limit is not None else None
        left = limit
        while left is None or left > 0:
            page = self.statements(filters, limit=PAGE if left is None else min(PAGE, left), cursor=cursor)
            yield from page.items
            if left is not None:
                left -= len(page.items)
            if page.next is None:
                return
            cursor = page.next

    def statement(self, text: str, seq: int) -> Statement:
        """Raises NotFoundError."""
        with self.connection() as connection:
            if connection is None:
                _unknown(text)
            number, id = _resolve(connection, text)
            query = _statements(connection, Filters()).where(
                _STATEMENT.session == number, _STATEMENT.seq == seq
            )
            row = connection.execute(query).one_or_none()
            if row is None:
                raise NotFoundError(f"session {id} has no statement {seq}")
            return _statement(row)

    def _before_last(self, filters: Filters, limit: int) -> str | None:
        """A cursor after which ``limit`` statements come."""
        with self.connection() as connection:
            if connection is None:
                return None
            query = _statements(connection, filters).with_only_columns(_STATEMENT.position, _STATEMENT.seq)
            last = query.order_by(*_order(filters, True)).offset(limit).limit(1)
            row = connection.execute(last).one_or_none()
            return _cursor(row) if row is not None else None

    def _engine(self) -> Engine | None:
        with self._lock:
            current = self._location.current()
            if self._opened and self._opened[0] == current:
                return self._opened[1]
            if self._opened:
                self._opened[1].dispose()
                self._opened = None
            if current is None:
                return None
            engine = connect(current, writer=False)
            _check_schema(engine)
            self._opened = (current, engine)
            return engine


def _check_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        query = select(tables.meta.c.value).where(tables.meta.c.name == "schema")
        schema = connection.scalar(query)
    if schema != str(tables.SCHEMA):
        raise UnavailableError(
            f"the index has schema {schema}, this pgwitness has {tables.SCHEMA}",
            hint="Start the gateway, or run: pgwitness index rebuild",
        )


def _resolve(connection: Connection, text: str) -> tuple[int, str]:
    wanted = "".join(c for c in text.lower() if c in "0123456789abcdef-").replace("-", "")
    if not wanted or set(text.lower()) - set("0123456789abcdef-.…"):
        _unknown(text)
    plain = func.replace(_SESSION.id, "-", "")
    query = select(_SESSION.number, _SESSION.id).limit(4)
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
        _unknown(text)
    return rows[0].number, rows[0].id


def _unknown(text: str) -> NoReturn:
    raise NotFoundError(f"there is no session {text!r}", hint="List them: pgwitness session list")


def _hyphenated(plain: str) -> str:
    return "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))


def _statements(connection: Connection, filters: Filters) -> Select[Any]:
    """Statements with their sessions, unordered."""
    joined = tables.statements.join(tables.sessions, _SESSION.number == _STATEMENT.session)
    columns = [_STATEMENT[name] for name in COLUMNS]
    of_session = [
        _SESSION[name] for name in ("id", "identity", "on_behalf_of", "run", "connection", "database")
    ]
    return (
        select(*columns, *of_session)
        .select_from(joined)
        .where(*_on_sessions(connection, filters))
        .where(*_on_statements(connection, filters))
        .where(*_statement_times(connection, filters))
    )


def _on_sessions(connection: Connection, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.session is not None:
        yield _SESSION.number == _resolve(connection, filters.session)[0]
    for name in ("identity", "run", "connection"):
        wanted = getattr(filters, name)
        if wanted is not None:
            yield _SESSION[name] == wanted


def _session_times(filters: Filters) -> Iterator[ColumnElement[bool]]:
    """Sessions that were there at some time of the span."""
    if filters.since is not None:
        yield _SESSION.last_activity >= times.of_datetime(filters.since)
    if filters.until is not None:
        yield _SESSION.started <= times.of_datetime(filters.until)


def _on_statements(connection: Connection, filters: Filters) -> Iterator[ColumnElement[bool]]:
    for name in ("command", "status", "outcome"):
        wanted = getattr(filters, name)
        if wanted is not None:
            yield _STATEMENT[name] == wanted
    if filters.min_rows is not None:
        yield _STATEMENT.rows >= filters.min_rows
    if filters.match is not None:
        yield _STATEMENT.sql.icontains(filters.match, autoescape=True)
    if filters.table is not None:
        naming = tables.statement_tables.c
        yield exists(
            select(naming.seq).where(
                naming.table.in_(_tables(connection, filters.table)),
                naming.session == _STATEMENT.session,
                naming.seq == _STATEMENT.seq,
            )
        )


def _tables(connection: Connection, name: str) -> list[int]:
    """``public.orders`` is that table; ``orders`` is any table of that name."""
    column = tables.table_names.c.name
    matching = column == name
    if "." not in name:
        matching = or_(matching, column.endswith(f".{name}", autoescape=True))
    return list(connection.scalars(select(tables.table_names.c.number).where(matching)))


def _statement_times(connection: Connection, filters: Filters) -> Iterator[ColumnElement[bool]]:
    """The exact times, and the span of positions that they lie in: the latter makes it quick."""
    mark = tables.timeline.c
    if filters.since is not None:
        since = times.of_datetime(filters.since)
        yield _STATEMENT.started >= since
        first = select(func.min(mark.position)).where(mark.time >= since).scalar_subquery()
        before = select(func.max(mark.position)).where(or_(first.is_(None), mark.position < first))
        yield _STATEMENT.position >= (connection.scalar(before) or 0)
    if filters.until is not None:
        until = times.of_datetime(filters.until)
        yield _STATEMENT.started <= until
        last = select(func.max(mark.position)).where(mark.time <= until).scalar_subquery()
        end = connection.scalar(select(func.min(mark.position)).where(mark.position > func.coalesce(last, 0)))
        if end is not None:
            yield _STATEMENT.position < end


def _cursor(row: Any) -> str:
    return f"{row.position:x}.{row.seq}"


def _order(filters: Filters, backwards: bool) -> list[ColumnElement[Any]]:
    """By position, and that is by seq within a session, for which there is an index by session."""
    columns = [_STATEMENT.seq] if filters.session is not None else [_STATEMENT.position, _STATEMENT.seq]
    return [column.desc() for column in columns] if backwards else list(columns)


def _beyond(cursor: str, filters: Filters, *, backwards: bool) -> ColumnElement[bool]:
    """What follows the cursor's statement, or precedes it, written so that SQLite seeks in the order's
    index."""
    left, _, right = cursor.partition(".")
    at, after = _integer(left, 16), _integer(right)
    position, seq = _STATEMENT.position, _STATEMENT.seq
    if filters.session is not None:
        return seq < after if backwards else seq > after
    if backwards:
        return (position <= at) & ((position < at) | (seq < after))
    return (position >= at) & ((position > at) | (seq > after))


def _integer(text: str, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise InvalidError("this cursor is none that a listing gave") from None


def _statement(row: Row[Any]) -> Statement:
    return to_statement(row[: len(COLUMNS)], dict(row._mapping))


def _session(row: Row[Any]) -> Session:
    return Session(
        session=row.id,
        identity=row.identity,
        kind=row.kind,
        on_behalf_of=row.on_behalf_of,
        run=row.run,
        connection=row.connection,
        database=row.database,
        user=row.user,
        client=row.client,
        started_at=row.started,
        ended_at=row.ended,
        end_reason=row.end_reason,
        end_detail=row.end_detail,
        statements=row.statements,
        errors=row.errors,
        rows_written=row.rows_written,
        last_activity=row.last_activity,
    )
