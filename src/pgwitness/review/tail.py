"""Statements as they become known, for who looks on: a stream that one asks again and again for what is new.

The index numbers statements in the order in which it comes to know them, and gives no number twice; one that
was shown while it ran comes again when it is over. What changes without a new number is the outcome of a
transaction that was open: those are watched, and told when they settle.

Each event has its ``kind``: ``statement``, with the fields of a statement's document; ``settled``, what
became of a transaction whose statements were told while it was open. ``cursor`` is where to go on: a stream
from there tells what one that was never broken off would have told. Only an indexer that was killed, and an
index made anew, number statements again. Within one stream what was told lately is not told twice even then;
who reads several streams knows a statement by its session and seq.
"""

import base64
import binascii
import re
import time
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, TextClause, false, func, select, tuple_

from pgwitness.errors import InvalidError
from pgwitness.index import queries, tables
from pgwitness.index.filters import Filters
from pgwitness.index.rows import COLUMNS, to_statement
from pgwitness.index.store import IndexReader
from pgwitness.index.tape import bytes_after, first_time
from pgwitness.statements.model import Statement

PAGE = 500
PAGE_CHARACTERS = 4_000_000
"""Events of one answer, and the length of their texts together, about."""
PATIENCE = 1.0
WATCHED = 10_000
"""Open transactions whose end is waited for; of more, the oldest are forgotten."""
IN_CURSOR = 500
"""Of them, so many newest ones are in a cursor."""
REMEMBERED = 10_000
"""Statements told lately."""
RENUMBERED = 8_000
"""So far back one looks for what is new in an index that was made anew."""

Event = dict[str, Any]

_GENERATION = re.compile(r"index-\d+")
_SESSION = tables.sessions.c
_STATEMENT = tables.statements.c


class Seen:
    """Which statements were told lately, and whether they were over."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._told: OrderedDict[tuple[str, int], bool] = OrderedDict()

    def new(self, session: str, seq: int, over: bool) -> bool:
        """Whether this is news; then it is told from now on."""
        key = session, seq
        before = self._told.get(key)
        if before is not None and before >= over:
            return False
        self._told[key] = over
        self._told.move_to_end(key)
        if len(self._told) > self._most:
            self._told.popitem(last=False)
        return True


class Watch(NamedTuple):
    """An open transaction."""

    session: int
    transaction: int
    first: int
    """The first of its statements that was told, or may have to be."""


class _Cursor(msgspec.Struct, array_like=True):
    generation: str
    number: int
    position: int
    watches: list[Watch]


class Tail:
    """One stream. ``poll`` from one thread at a time."""

    def __init__(self, index: IndexReader, filters: Filters, cursor: str | None = None) -> None:
        """From now on; with ``filters.since`` from then on; with ``cursor`` from there on. Raises
        InvalidError, NotFoundError, ConflictError."""
        if filters.until is not None:
            raise InvalidError(
                "until: tail has no end", hint="pgwitness statements lists what was, up to a time"
            )
        self._index = index
        self._filters = replace(filters, since=None)
        self._live = replace(self._filters, outcome=None)
        self._seen = Seen()
        self._watches: OrderedDict[tuple[int, int], Watch] = OrderedDict()
        self._due: deque[Watch] = deque()
        """Settled transactions, of which statements are told now that their outcome is known."""
        self._history: Iterator[Statement] | None = None
        self._at = _Cursor("", 0, 0, [])
        self.more = True
        """There may be more already."""
        self.forgotten = 0
        """Transactions whose end will not be told."""
        if filters.session is not None:
            index.resolve(filters.session, filters.scope)
        if cursor is not None:
            self._at = _decode(cursor)
            self._watches.update(
                ((each.session, each.transaction), each) for each in self._at.watches[:IN_CURSOR]
            )
        else:
            self._begin()
            if filters.since is not None:
                self._history = index.iterate(filters)

    @property
    def cursor(self) -> str | None:
        """Where to go on; None in the middle of what cannot be cut."""
        if self._due or self._history is not None:
            return None
        self._at.watches = [*self._watches.values()][-IN_CURSOR:]
        return base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(self._at))).decode().rstrip("=")

    @property
    def position(self) -> int:
        """Of the tape: up to there all is told that is over."""
        return self._at.position

    def poll(self) -> list[Event]:
        """What is new, at most some ``PAGE`` of it. [] if nothing is, or if one had to look for ``PATIENCE``
        seconds and is not through."""
        until = time.monotonic() + PATIENCE
        while True:
            events = self._tell_history() if self._history is not None else self._look()
            if events or not self.more or time.monotonic() > until:
                return events

    def _look(self) -> list[Event]:
        with self._index.connection() as connection:
            if connection is None:
                return []
            if self._due:
                return self._tell_due(connection)
            number, position = self._where(connection)
            if (number, position) == (self._at.number, self._at.position):
                self.more = False
                return []
            events = self._fresh(connection, number, position)
            return events if self.more else events + self._settled(connection)

    def _begin(self) -> None:
        with self._index.connection() as connection:
            if connection is not None:
                number, position = self._where(connection)
                self._at.number, self._at.position = number, position

    def _where(self, connection: Connection) -> tuple[int, int]:
        """The last number given, and how far the tape is read."""
        generation = "".join(_GENERATION.findall(str(connection.engine.url))[-1:])
        number = connection.scalar(select(func.max(_STATEMENT.number))) or 0
        meta = tables.meta.c
        position = connection.scalar(select(meta.value).where(meta.name == "position"))
        if self._at.generation != generation:
            if self._at.generation:
                self._at.number = self._again_from(connection, number)
            self._at.generation = generation
        return number, int(position or 0)

    def _again_from(self, connection: Connection, last: int) -> int:
        """In an index that was made anew: a number before all that is new."""
        behind = select(func.min(_STATEMENT.number)).where(_STATEMENT.position > self._at.position)
        first = connection.scalar(behind) or last + 1
        return max(0, first - 1 - RENUMBERED)

    def _tell_history(self) -> list[Event]:
        events: list[Event] = []
        assert self._history is not None
        size = 0
        for statement in self._history:
            self._tell(events, statement, None)
            size += len(statement.sql)
            if len(events) >= PAGE or size >= PAGE_CHARACTERS:
                return events
        self._history = None
        self.more = True
        return events

    def _fresh(self, connection: Connection, last: int, position: int) -> list[Event]:
        """Statements with new numbers."""
        query = _select(connection, self._live).where(_STATEMENT.number > self._at.number)
        rows, self.more = _page(connection, query.order_by(_STATEMENT.number))
        events: list[Event] = []
        for row in rows:
            self._tell(events, _statement(row), row.session)
        if self.more:
            self._at.number = rows[-1].number
        else:
            self._at.number, self._at.position = last, position
        return events

    def _tell(self, events: list[Event], statement: Statement, session: int | None) -> None:
        transaction = statement.transaction
        over = statement.status != "unfinished"
        if over and transaction.outcome == "open":
            self._watch(statement, session)
        wanted = self._filters.outcome in (None, transaction.outcome)
        if wanted and self._seen.new(statement.session, statement.seq, over):
            events.append(_told(statement))

    def _watch(self, statement: Statement, session: int | None) -> None:
        if session is None:
            session = self._number_of(statement.session)
        key = session, statement.transaction.number
        if key not in self._watches:
            self._watches[key] = Watch(*key, statement.seq)
            if len(self._watches) > WATCHED:
                self._watches.popitem(last=False)
                self.forgotten += 1

    def _number_of(self, session: str) -> int:
        with self._index.connection() as connection:
            query = select(_SESSION.number).where(_SESSION.id == session)
            return (connection.scalar(query) if connection is not None else None) or 0

    def _settled(self, connection: Connection) -> list[Event]:
        """What became of watched transactions."""
        events: list[Event] = []
        watches = [*self._watches.values()]
        for at in range(0, len(watches), PAGE):
            some = {(each.session, each.first): each for each in watches[at : at + PAGE]}
            key = tuple_(_STATEMENT.session, _STATEMENT.seq)
            query = select(_STATEMENT.session, _STATEMENT.seq, _STATEMENT.outcome).where(key.in_([*some]))
            found = {(row.session, row.seq): row.outcome for row in connection.execute(query)}
            for place, watch in some.items():
                if place not in found:  # erased, or read again in a moment
                    continue
                if found[place] != "open":
                    events += self._settle(connection, watch)
        return events

    def _settle(self, connection: Connection, watch: Watch) -> list[Event]:
        """One whose first statement is not open any more; others of it still may be."""
        del self._watches[watch.session, watch.transaction]
        theirs = _select(connection, self._live).where(*_of(watch)).subquery()
        counts = (func.count(), func.min(theirs.c.seq), func.max(theirs.c.seq))
        query = select(theirs.c.outcome, theirs.c.reason, theirs.c.id, *counts).group_by(
            theirs.c.outcome, theirs.c.reason, theirs.c.id
        )
        events: list[Event] = []
        for outcome, reason, session, statements, first, last in connection.execute(query).all():
            if outcome == "open":
                self._watches[watch.session, watch.transaction] = watch._replace(first=first)
            elif self._filters.outcome == outcome:
                self._due.append(watch)
                self.more = True
            elif self._filters.outcome in (None, "open"):
                events.append(
                    {
                        "kind": "settled",
                        "session": session,
                        "transaction": watch.transaction,
                        "outcome": outcome,
                        "reason": reason,
                        "first_seq": first,
                        "last_seq": last,
                        "statements": statements,
                    }
                )
        return events

    def _tell_due(self, connection: Connection) -> list[Event]:
        """A page of the statements of one settled transaction."""
        watch = self._due.popleft()
        query = _select(connection, self._filters).where(*_of(watch)).order_by(_STATEMENT.seq)
        rows, left = _page(connection, query)
        self.more = True
        if left:
            self._due.appendleft(watch._replace(first=rows[-1].seq + 1))
        told = (_statement(row) for row in rows)
        return [_told(each) for each in told if self._seen.new(each.session, each.seq, True)]


def behind_seconds(tape: Path, position: int) -> float:
    """How old the first thing on the tape is that is not told yet."""
    waiting = first_time(tape, position) if bytes_after(tape, position) else None
    return max(0.0, round((time.time_ns() - waiting) / 1e9, 3)) if waiting else 0.0


def _of(watch: Watch) -> tuple[ColumnElement[bool], ...]:
    return (
        _STATEMENT.session == watch.session,
        _STATEMENT.seq >= watch.first,
        _STATEMENT.transaction == watch.transaction,
    )


def _select(connection: Connection, filters: Filters) -> Select[Any]:
    """Statements that the filters find. The filters' conditions are wrapped, so that no index is used for
    them: what is asked for is a short range of numbers, or one transaction."""
    conditions = [*queries.of_sessions(connection, filters), *queries.of_statements(connection, filters)]
    wrapped = [func.coalesce(each, false()) for each in conditions if not isinstance(each, TextClause)]
    query = queries.select_statements(connection, Filters())
    return query.add_columns(_STATEMENT.number).where(*wrapped)


def _page(connection: Connection, query: Select[Any]) -> tuple[list[Row[Any]], bool]:
    """The first rows, and whether there may be more."""
    rows: list[Row[Any]] = []
    size = 0
    for row in connection.execute(query.limit(PAGE)):
        rows.append(row)
        size += len(row.sql) + len(row.rest)
        if len(rows) == PAGE or size >= PAGE_CHARACTERS:
            return rows, True
    return rows, False


def _statement(row: Row[Any]) -> Statement:
    return to_statement(row[: len(COLUMNS)], dict(row._mapping))


def _told(statement: Statement) -> Event:
    return {"kind": "statement", **msgspec.to_builtins(statement)}


def _decode(cursor: str) -> _Cursor:
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        opened = zlib.decompressobj()
        return msgspec.json.decode(opened.decompress(packed, 1 << 20), type=_Cursor)
    except (binascii.Error, ValueError, zlib.error, msgspec.MsgspecError):
        raise InvalidError("this cursor is none that tail gave") from None
