"""Reads the index: sessions and statements by filters, in pages that stay cheap however far one has read.

Every page starts where its cursor says, by key, never by counting. Statements come in the order in which they
reached the server; sessions newest first. An index that is not there yet reads as empty.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Row, func, select
from sqlalchemy.exc import DatabaseError, OperationalError

from pgwitness.errors import NotFoundError, UnavailableError
from pgwitness.index import overview, queries, tables
from pgwitness.index.database import connect
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.having import sessions_having
from pgwitness.index.location import Location
from pgwitness.index.rows import COLUMNS, to_statement
from pgwitness.index.search import Key, Search
from pgwitness.statements.model import Statement

PAGE = 1000
"""Statements fetched at a time by ``iterate``."""
PAGE_CHARACTERS = 16_000_000
"""A page of longer statements ends early: this bounds the memory that a page takes."""

_REMEDY = "Start the gateway, or run: pgwitness index rebuild"

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
    erased_at: str | None = None
    """Then its content is gone, here and in the record."""


class SessionDetail(NamedTuple):
    session: Session
    header: dict[str, Any]
    first_position: int
    last_position: int
    events: list[dict[str, Any]]


_SESSION = tables.sessions.c
_STATEMENT = tables.statements.c
_TEXT = tables.texts.c


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
        opened = self._connect()
        if opened is None:
            yield None
            return
        with opened as connection, connection.begin():
            yield connection

    def resolve(self, text: str, scope: Scope | None = None) -> str:
        """The full id of the session whose id begins or ends with ``text``, of those in the scope. Raises
        NotFoundError, ConflictError."""
        with self.connection() as connection:
            if connection is None:
                queries.unknown(text)
            return queries.resolve(connection, text, scope)[1]

    def sessions(self, filters: Filters, *, limit: int = 100, cursor: str | None = None) -> Page[Session]:
        """The newest first."""
        with self.connection() as connection:
            if connection is None:
                return Page([])
            query = select(tables.sessions).order_by(_SESSION.number.desc()).limit(limit + 1)
            before = queries.integer(cursor) if cursor is not None else None
            if filters.on_statements:
                numbers = sessions_having(connection, filters, limit + 1, before)
                query = query.where(_SESSION.number.in_(numbers))
            else:
                query = query.where(
                    *queries.of_sessions(connection, filters), *queries.session_times(filters)
                )
                if before is not None:
                    query = query.where(_SESSION.number < before)
            rows = connection.execute(query).all()
            more = str(rows[limit - 1].number) if len(rows) > limit else None
            return Page([session_of(row) for row in rows[:limit]], more)

    def session(self, text: str) -> SessionDetail:
        """One session with its header and its events. Raises NotFoundError, ConflictError."""
        with self.connection() as connection:
            if connection is None:
                queries.unknown(text)
            number, _ = queries.resolve(connection, text)
            row = connection.execute(select(tables.sessions).where(_SESSION.number == number)).one()
            events = tables.session_events
            found = connection.execute(
                select(events).where(events.c.session == number).order_by(events.c.position, events.c.ordinal)
            ).all()
            return SessionDetail(
                session_of(row),
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
            keys = Search(connection, filters).page(limit, cursor, newest)
            shown = _fitting(connection, keys, limit)
            rows = _rows(connection, [key[2] for key in shown])
            more = queries.cursor(*shown[-1][:2]) if len(shown) < len(keys) else None
            return Page([_statement(row) for row in (reversed(rows) if newest else rows)], more)

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

    def of_session(self, id: str) -> Iterator[Statement]:
        """Every row there is of this session (its full id), by seq, found without any marks: what
        verification compares."""
        number, seen = select(_SESSION.number).where(_SESSION.id == id).scalar_subquery(), 0
        while True:
            with self.connection() as connection:
                if connection is None:
                    return
                query = queries.statements_with_sessions().where(_STATEMENT.session == number)
                query = query.where(_STATEMENT.seq > seen).order_by(_STATEMENT.seq).limit(PAGE)
                found = [_statement(row) for row in connection.execute(query)]
            yield from found
            if len(found) < PAGE:
                return
            seen = found[-1].seq

    def statement(self, text: str, seq: int) -> Statement:
        """Raises NotFoundError."""
        with self.connection() as connection:
            if connection is None:
                queries.unknown(text)
            number, id = queries.resolve(connection, text)
            query = queries.statements_with_sessions().where(
                _STATEMENT.session == number, _STATEMENT.seq == seq
            )
            row = connection.execute(query).one_or_none()
            if row is None:
                raise NotFoundError(f"session {id} has no statement {seq}")
            return _statement(row)

    def activity(
        self, since: datetime, until: datetime, buckets: int, scope: Scope | None = None
    ) -> list[dict[str, Any]]:
        """See ``overview.activity``."""
        with self.connection() as connection:
            return (
                overview.activity(connection, since, until, buckets, scope) if connection is not None else []
            )

    def largest_writes(self, filters: Filters, limit: int = 10) -> list[Statement]:
        """The statements that wrote most rows, the largest first."""
        with self.connection() as connection:
            if connection is None:
                return []
            places = overview.largest_writes(connection, filters, limit)
            return [_statement(row) for row in _rows(connection, places)]

    def errors(self, filters: Filters, limit: int = 10) -> list[overview.Errors]:
        """How many statements failed with which SQLSTATE, the most frequent first."""
        with self.connection() as connection:
            return overview.errors(connection, filters, limit) if connection is not None else []

    def _before_last(self, filters: Filters, limit: int) -> str | None:
        """A cursor after which ``limit`` statements come."""
        with self.connection() as connection:
            if connection is None:
                return None
            before = Search(connection, filters).before_last(limit)
            return queries.cursor(*before[:2]) if before is not None else None

    def _connect(self) -> Connection | None:
        while True:
            before = self._location.current()
            try:
                engine = self._engine()
                return engine.connect() if engine is not None else None
            except (OperationalError, UnavailableError):
                # Unless a rebuild removed the file while we opened it.
                if self._location.current() == before:
                    raise

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
            try:
                _check_schema(engine)
            except UnavailableError:
                engine.dispose()
                raise
            self._opened = (current, engine)
            return engine


def _check_schema(engine: Engine) -> None:
    query = select(tables.meta.c.value).where(tables.meta.c.name == "schema")
    try:
        with engine.begin() as connection:
            schema = connection.scalar(query)
    except DatabaseError as error:
        raise UnavailableError(f"the index cannot be read: {error.orig}", hint=_REMEDY) from None
    if schema != str(tables.SCHEMA):
        raise UnavailableError(
            f"the index has schema {schema}, this pgwitness has {tables.SCHEMA}", hint=_REMEDY
        )


def _fitting(connection: Connection, keys: list[Key], limit: int) -> list[Key]:
    """At most ``limit`` of them, and no more than a page may hold."""
    keys = keys[:limit]
    length = _TEXT.length + func.length(_STATEMENT.rest)
    query = select(_STATEMENT.place, length).join(tables.texts, _TEXT.number == _STATEMENT.text)
    found = connection.execute(query.where(_STATEMENT.place.in_([key[2] for key in keys])))
    lengths = {row[0]: row[1] for row in found}
    characters = 0
    for number, key in enumerate(keys):
        if characters > PAGE_CHARACTERS:
            return keys[:number]
        characters += lengths[key[2]]
    return keys


def _rows(connection: Connection, places: list[int]) -> list[Row[Any]]:
    query = queries.statements_with_sessions().where(_STATEMENT.place.in_(places))
    rows = {row.place: row for row in connection.execute(query)}
    return [rows[place] for place in places]


def _statement(row: Row[Any]) -> Statement:
    return to_statement(row[: len(COLUMNS)], dict(row._mapping))


def session_of(row: Row[Any]) -> Session:
    """Of a row of ``tables.sessions``."""
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
        erased_at=row.erased,
    )
