"""What a sink is to be told next, read from the index: a batch of items, and where they leave the sink.

Within a session, statements are told in their order, each when its transaction is settled; so a statement
that is still open holds back those behind it in its session, and no other session. Who waits for longer than
``open_after`` is told once as open, beside that order. The index holds what waits, so that memory is bounded
by one batch and one cursor for each session that is not told to its end.

A batch is taken in one read transaction. An index that is being made anew is waited for: sessions are known
by id and statements by seq, which no rebuild changes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from msgspec import structs
from sqlalchemy import Connection, Row, func, select

from pgwitness.index import queries, tables, times
from pgwitness.index.filters import Filters
from pgwitness.index.rows import COLUMNS, to_statement
from pgwitness.index.store import IndexReader, session_of
from pgwitness.sinks.items import (
    Discretion,
    Item,
    Who,
    event_item,
    recorder_item,
    session_items,
    statement_item,
)
from pgwitness.sinks.positions import Cursor, Positions, Progress

ITEMS: Final = 500
CHARACTERS: Final = 2_000_000
"""Of one batch, roughly: it ends with the first item beyond."""
TAKEN_IN: Final = 200
"""Sessions that are looked at for the first time at once."""
UNTOLD: Final = 1000
"""While so many sessions have something to tell, no further one is taken in."""
_IDS_AT_ONCE: Final = 500

SESSION_EVENTS: Final = ("kill_requested", "cancel_requested", "sequence_gap", "malformed")
REFUSALS: Final = ("login_refused", "session_refused")
FINDINGS: Final = ("watch_finding",)

_SESSION = tables.sessions.c
_STATEMENT = tables.statements.c


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sink is to be told, and how much of it."""

    send: Collection[str] = ("statements", "sessions", "refusals", "findings")
    discretion: Discretion = field(default_factory=Discretion)
    open_after: float = 60.0

    @property
    def events(self) -> tuple[str, ...]:
        """Of the recorder."""
        return (REFUSALS if "refusals" in self.send else ()) + (FINDINGS if "findings" in self.send else ())


@dataclass(slots=True)
class Batch:
    """Items in their order. ``progress``, ``moved`` and ``done`` are to be kept once they have arrived."""

    progress: Progress
    items: list[Item] = field(default_factory=list)
    moved: dict[str, Cursor] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    characters: int = 0
    more: bool = False
    """There may be more to tell at once, also where this one is empty."""
    waits: int = 0
    """How far the index is behind what it was: it is being made anew."""

    @property
    def full(self) -> bool:
        return len(self.items) >= ITEMS or self.characters >= CHARACTERS

    def add(self, item: Item, characters: int = 500) -> None:
        self.items.append(item)
        self.characters += characters


@dataclass(slots=True)
class _Followed:
    """A session that is not told to its end."""

    cursor: Cursor
    seen: tuple[int, str | None] | None = None
    """Last position and time of erasure when it had nothing more to tell."""
    look_at: float = 0.0
    """When to look whether something has been open for too long; 0: nothing waits."""


class Feed:
    """One sink's. Not for several threads at once."""

    def __init__(self, index: IndexReader, positions: Positions, wanted: Wanted) -> None:
        self._index = index
        self._positions = positions
        self._wanted = wanted
        self.rewind()

    def rewind(self) -> None:
        """Go on from what was kept, as the last batch did not arrive. What was erased meanwhile is not told
        again."""
        self._kept = self._positions.progress()
        self._progress = replace(self._kept)
        self._followed = {session: _Followed(cursor) for session, cursor in self._positions.cursors().items()}
        self._whole: int | None = None

    def next(self) -> Batch:
        """Empty if there is nothing to tell now. Raises UnavailableError, and SQLAlchemy's errors."""
        with self._index.connection() as connection:
            position = 0 if connection is None else _position(connection)
            if connection is None or position < self._progress.known:
                return Batch(replace(self._progress), waits=self._progress.known - position)
            self._progress.known = position
            batch = Batch(self._progress)
            now = time.time()
            if position != self._whole or self._someone_waits(now):
                self._whole = position
                self._recorder_events(connection, batch)
                more = self._take_in(connection, batch)
                self._tell_sessions(connection, batch, now)
                batch.more = more or batch.full
                if batch.more:
                    self._whole = None
            batch.progress = replace(self._progress)
            return batch

    def keep(self, batch: Batch) -> None:
        """It has arrived."""
        if batch.items or batch.moved or batch.done or batch.progress != self._kept:
            self._positions.save(batch.progress, batch.moved.values(), batch.done)
            self._kept = batch.progress

    # the recorder's events

    def _recorder_events(self, connection: Connection, batch: Batch) -> None:
        if not self._wanted.events:
            return
        events = tables.events.c
        query = select(tables.events).where(
            events.position >= self._progress.events, events.event.in_(self._wanted.events)
        )
        rows = connection.execute(query.order_by(events.position).limit(ITEMS)).all()
        for row in rows:
            document = msgspec.json.decode(row.document, type=dict[str, Any])
            batch.add(
                recorder_item(row.position, row.at, document, self._wanted.discretion), len(row.document)
            )
        self._progress.events = (
            rows[-1].position + 1 if len(rows) == ITEMS else max(self._progress.events, self._progress.known)
        )

    # sessions

    def _take_in(self, connection: Connection, batch: Batch) -> bool:
        """Sessions that began since. Whether there are more."""
        if not {"statements", "sessions"} & {*self._wanted.send}:
            return False
        progress = self._progress
        number = self._number(connection)
        while sum(each.seen is None for each in self._followed.values()) < UNTOLD:
            query = select(_SESSION.number, _SESSION.id, _SESSION.first_position).where(
                _SESSION.number > number
            )
            rows = connection.execute(query.order_by(_SESSION.number).limit(TAKEN_IN)).all()
            for row in rows:
                number = row.number
                progress.last_session = row.id
                progress.last_position = max(progress.last_position, row.first_position)
                if row.first_position >= progress.begin and row.id not in self._followed:
                    # Kept with the progress, whether or not this batch has room for what it tells.
                    batch.moved[row.id] = cursor = Cursor(row.id)
                    self._followed[row.id] = _Followed(cursor)
            if len(rows) < TAKEN_IN:
                return False
        return True

    def _number(self, connection: Connection) -> int:
        """Of the last session taken in, in this index: one that was made anew may number otherwise."""
        progress = self._progress
        if not progress.last_session:
            return 0
        found = connection.scalar(select(_SESSION.number).where(_SESSION.id == progress.last_session))
        if found is None:
            before = select(func.max(_SESSION.number)).where(
                _SESSION.first_position <= progress.last_position
            )
            found = connection.scalar(before)
        return found or 0

    def _someone_waits(self, now: float) -> bool:
        return any(each.look_at and now >= each.look_at for each in self._followed.values())

    def _tell_sessions(self, connection: Connection, batch: Batch, now: float) -> None:
        for ids in _slices([*self._followed]):
            query = select(_SESSION.id, _SESSION.last_position, _SESSION.erased).where(_SESSION.id.in_(ids))
            states = {row.id: (row.last_position, row.erased) for row in connection.execute(query)}
            for session in ids:
                if batch.full:
                    return
                followed, state = self._followed[session], states.get(session)
                if state is None:  # it is gone for good, as the index is as far as it ever was
                    self._forget(session, batch)
                elif followed.seen != state or (followed.look_at and now >= followed.look_at):
                    self._tell(connection, batch, followed, now)

    def _forget(self, session: str, batch: Batch) -> None:
        del self._followed[session]
        batch.moved.pop(session, None)
        batch.done.append(session)

    def _tell(self, connection: Connection, batch: Batch, followed: _Followed, now: float) -> None:
        """All that there is to tell of a session, or a part of it if the batch gets full."""
        cursor = followed.cursor
        row = connection.execute(select(tables.sessions).where(_SESSION.id == cursor.session)).one()
        who = Who.of(session_of(row), msgspec.json.decode(row.header, type=dict[str, Any]))
        followed.seen, followed.look_at = None, 0.0
        batch.moved[cursor.session] = cursor
        start, end = session_items(who)
        sessions = "sessions" in self._wanted.send
        if not cursor.started:
            cursor.started = True
            if sessions:
                batch.add(start)
        if row.erased is None:
            if sessions:
                self._events(connection, batch, cursor, row.number, who)
            if "statements" in self._wanted.send and not self._statements(
                connection, batch, followed, row, who, now
            ):
                return
        if end is None:
            followed.seen = (row.last_position, row.erased)
            return
        if sessions:
            batch.add(end)
        self._forget(cursor.session, batch)

    def _events(self, connection: Connection, batch: Batch, cursor: Cursor, number: int, who: Who) -> None:
        """There are few of these."""
        events = tables.session_events.c
        query = select(tables.session_events).where(
            events.session == number,
            events.position >= cursor.event_position,
            events.event.in_(SESSION_EVENTS),
        )
        for row in connection.execute(query.order_by(events.position, events.ordinal)):
            if (row.position, row.ordinal) <= (cursor.event_position, cursor.event_ordinal):
                continue
            cursor.event_position, cursor.event_ordinal = row.position, row.ordinal
            document = msgspec.json.decode(row.document, type=dict[str, Any])
            batch.add(
                event_item(who, row.position, row.ordinal, row.at, document, self._wanted.discretion),
                len(row.document),
            )

    def _statements(
        self,
        connection: Connection,
        batch: Batch,
        followed: _Followed,
        row: Row[Any],
        who: Who,
        now: float,
    ) -> bool:
        """Whether all is told that can be told now."""
        cursor = followed.cursor
        ended = row.ended is not None
        last, more = self._settled(connection, row.number, cursor.final, ended)
        for statement in _between(connection, row.number, who, cursor.final, last):
            batch.add(statement_item(who, statement.value, self._wanted.discretion), statement.characters)
            cursor.final = statement.value.seq
            if batch.full:
                return False
        if more:
            return False
        return ended or self._announce(connection, batch, followed, row.number, who, now)

    def _settled(self, connection: Connection, number: int, final: int, ended: bool) -> tuple[int, bool]:
        """Up to which seq statements can be told for good, looking at a batch's worth; and whether there may
        be more. Of a session that has ended, all: there is nothing that could still become known."""
        query = select(_STATEMENT.seq, _STATEMENT.outcome).where(
            _STATEMENT.session == number, _STATEMENT.seq > final
        )
        last, count = final, 0
        for seq, outcome in connection.execute(query.order_by(_STATEMENT.seq).limit(ITEMS)):
            if not ended and (seq != last + 1 or outcome == "open"):
                return last, False
            last = seq
            count += 1
        return last, count == ITEMS

    def _announce(
        self, connection: Connection, batch: Batch, followed: _Followed, number: int, who: Who, now: float
    ) -> bool:
        """Tell what has waited for too long. Whether that is all."""
        cursor = followed.cursor
        told = max(cursor.final, cursor.announced)
        due = times.of_nanoseconds(int((now - self._wanted.open_after) * 1e9))
        waiting = (_STATEMENT.session == number) & (_STATEMENT.seq > told)
        late = connection.scalar(select(func.max(_STATEMENT.seq)).where(waiting, _STATEMENT.started <= due))
        for statement in _between(connection, number, who, told, late or told):
            item = statement_item(who, statement.value, self._wanted.discretion, final=False)
            batch.add(item, statement.characters)
            cursor.announced = statement.value.seq
            if batch.full:
                return False
        waiting = (_STATEMENT.session == number) & (_STATEMENT.seq > (late or told))
        first = connection.scalar(select(func.min(_STATEMENT.started)).where(waiting))
        # What runs is in the index a second after it began, and nothing tells that it came there.
        since = times.to_datetime(first).timestamp() if first else now
        followed.look_at = since + self._wanted.open_after
        return True


@dataclass(frozen=True, slots=True)
class _Read:
    value: Any
    characters: int


def _between(connection: Connection, number: int, who: Who, after: int, last: int) -> Iterator[_Read]:
    """A session's statements behind ``after`` up to ``last``."""
    if last <= after:
        return
    session = {**structs.asdict(who.session), "id": who.session.session}
    query = queries.select_statements(connection, Filters()).where(
        _STATEMENT.session == number, _STATEMENT.seq > after, _STATEMENT.seq <= last
    )
    with connection.execution_options(yield_per=50).execute(query.order_by(_STATEMENT.seq)) as rows:
        for row in rows:
            statement = to_statement(row[: len(COLUMNS)], session)
            yield _Read(statement, len(row.sql) + len(row.rest))


def _slices(ids: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[at : at + _IDS_AT_ONCE]


def _position(connection: Connection) -> int:
    value = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "position"))
    return int(value or 0)
