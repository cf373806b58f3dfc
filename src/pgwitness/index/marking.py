"""The writer's side of blocks: gives statements places, marks what they are, keeps what can be searched.

Blocks that change are held in memory, the last few of them, and written by ``flush`` in the transaction of
the batch. Counts of activity are kept here too, since they change with the same rows.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from pgwitness.index import rows as at
from pgwitness.index import tables
from pgwitness.index.blocks import BLOCK_STATEMENTS, Kind, masks, place, step, term
from pgwitness.index.held import Block, Key, forget, load, write
from pgwitness.index.passages import (
    EASY,
    Section,
    folded,
    joined,
    literals,
    name_of,
    numbers_of,
    shape,
    words_of,
)
from pgwitness.index.rows import Row
from pgwitness.index.times import minute_of

HELD = 8
"""Blocks in memory: the last one, and those that late statements go to."""
FREQUENT = 8
"""A literal that so many statements of a batch have gets a mark as a word."""
KEPT = 10_000
"""Sessions, names and minutes whose meaning stays in memory."""

SESSION_KINDS = {
    "identity": Kind.IDENTITY,
    "kind": Kind.IDENTITY_KIND,
    "on_behalf_of": Kind.ON_BEHALF_OF,
    "run": Kind.RUN,
    "connection": Kind.CONNECTION,
}
"""Columns of sessions that statements are asked for by."""

SQLSTATE_CLASS = 2
"""Characters of a code that name its class, which is marked as well."""

_key = itemgetter(at.POSITION, at.SEQ)
_by_session = itemgetter(0, at.SEQ)
_MINUTE = len("2026-11-22T06:45")
_OPEN: Key = (Kind.OUTCOME, term("open"))

_S = tables.statements.c
REMOVED = (_S.place, _S.session, _S.started, _S.status, _S.outcome, _S.written)
"""Columns of statements that ``remove`` and ``settle`` want."""


class _Whose(NamedTuple):
    identity: str
    connection: str
    marks: list[Key]


class Marker:
    """Fills the blocks of one index."""

    def __init__(self, connection: Connection) -> None:
        column = tables.blocks.c
        query = select(column.first_position, column.first_seq).order_by(column.number)
        self._firsts = [(row.first_position, row.first_seq) for row in connection.execute(query)]
        """(position, seq) at which block 1, 2, 3 … begins."""
        self._held: dict[int, Block] = {}
        self._whose: dict[int, _Whose] = {}
        self._minutes: dict[str, int] = {}
        self._names: set[str] = set()
        self._activity: dict[tuple[int, str, str], list[int]] = {}
        """[statements, errors, rows written] not written yet."""

    def changed(self, sessions: Iterable[int]) -> None:
        """These sessions may not be any more what they were."""
        for number in sessions:
            self._whose.pop(number, None)

    def add(self, connection: Connection, rows: list[Row], fresh: set[int]) -> None:
        """Places and marks, for rows whose texts are numbered. ``fresh``: texts that no statement of another
        batch has."""
        rows.sort(key=_key)
        for number, some in self._by_block(connection, rows).items():
            some.sort(key=_by_session)
            block = self._block(connection, number)
            self._mark(connection, block, some)
            _pass_on(block, some, fresh)
            block.took(some)
        self._note_tables(connection, rows)

    def remove(self, connection: Connection, gone: Sequence[Any]) -> None:
        """Statements that are deleted: rows of ``REMOVED``."""
        self.flush(connection)
        for row in gone:
            errors, written = _counts(row.status, row.outcome, row.written)
            self._count(connection, row.session, row.started[:_MINUTE], -1, -errors, -written)
        for number, mask in masks([row.place for row in gone]).items():
            block = self._block(connection, number)
            block.statements -= mask.bit_count()
            block.dirty = True
            for key in [*block.marks]:
                block.clear(key, mask)
            forget(connection, block, mask)
        self.flush(connection)

    def settle(self, connection: Connection, settled: Sequence[Any], outcome: str) -> None:
        """Statements that were open and have come to this outcome."""
        for number, mask in masks([row.place for row in settled]).items():
            block = self._block(connection, number)
            block.clear(_OPEN, mask)
            block.set((Kind.OUTCOME, term(outcome)), mask)
        if outcome == "committed":
            for row in settled:
                if row.written:
                    self._count(connection, row.session, row.started[:_MINUTE], 0, 0, row.written)

    def flush(self, connection: Connection) -> None:
        """Write what changed."""
        for block in self._held.values():
            write(connection, block)
        for number in [*self._held][:-HELD]:
            del self._held[number]
        if self._activity:
            counts = [(*key, *count) for key, count in self._activity.items()]
            connection.exec_driver_sql(_COUNT, counts)
            self._activity.clear()

    def _by_block(self, connection: Connection, rows: list[Row]) -> dict[int, list[Row]]:
        """Where they belong, rows in order; further blocks are begun where the last one is full."""
        found: dict[int, list[Row]] = {}
        if not self._firsts:
            self._begin(_key(rows[0]))
        last = len(self._firsts)
        block = self._block(connection, last)
        some = found.setdefault(last, [])
        for row in rows:
            key = _key(row)
            if key < block.first:
                found.setdefault(max(1, bisect_right(self._firsts, key)), []).append(row)
                continue
            if block.slots + len(some) >= BLOCK_STATEMENTS and key > block.last:
                block.closing = True
                block = self._begin(key)
                some = found[block.number] = []
            block.last = max(block.last, key)
            some.append(row)
        return {number: some for number, some in found.items() if some}

    def _begin(self, key: tuple[int, int]) -> Block:
        self._firsts.append(key)
        number = len(self._firsts)
        block = self._held[number] = Block(number, key)
        return block

    def _block(self, connection: Connection, number: int) -> Block:
        """The one used last is the last one in ``_held``."""
        block = self._held.pop(number, None) or load(connection, number)
        self._held[number] = block
        return block

    def _mark(self, connection: Connection, block: Block, rows: list[Row]) -> None:
        base, first = place(block.number, 0), block.slots
        alike: dict[tuple[Any, ...], int] = {}
        sessions: dict[int, int] = {}
        counts: dict[tuple[int, str], int] = {}
        for slot, row in enumerate(rows, first):
            row[at.PLACE] = base | slot
            count, duration, written = row[at.ROWS], row[at.DURATION], row[at.WRITTEN]
            properties = (
                row[at.COMMAND],
                row[at.STATUS],
                row[at.OUTCOME],
                row[at.SQLSTATE],
                row[at.TABLES],
                None if count is None else step(count),
                None if duration is None else step(duration),
                step(written) if written else None,
            )
            alike[properties] = alike.get(properties, 0) | 1 << slot
            session = row[0]
            sessions[session] = sessions.get(session, 0) + 1
            then = (session, row[at.STARTED][:_MINUTE])
            counts[then] = counts.get(then, 0) + 1
            if written or row[at.STATUS] == "error":
                self._count(connection, *then, 0, *_counts(row[at.STATUS], row[at.OUTCOME], written))
        for properties, bits in alike.items():
            for key in _keys(*properties):
                block.set(key, bits)
        for session, number in sessions.items():
            for key in self._whose_is(connection, session).marks:
                block.set(key, (1 << number) - 1 << first)
            first += number
        for (session, minute), number in counts.items():
            self._count(connection, session, minute, number, 0, 0)

    def _whose_is(self, connection: Connection, session: int) -> _Whose:
        whose = self._whose.get(session)
        if whose is None:
            if len(self._whose) >= KEPT:
                self._whose.clear()
            column = tables.sessions.c
            columns = [column[name] for name in SESSION_KINDS]
            row = connection.execute(select(*columns).where(column.number == session)).one()
            marks: list[Key] = [(Kind.SESSION, session)]
            for kind, value in zip(SESSION_KINDS.values(), row, strict=True):
                if value is not None:
                    marks.append((kind, term(value)))
            whose = self._whose[session] = _Whose(row.identity or "", row.connection or "", marks)
        return whose

    def _count(
        self, connection: Connection, session: int, minute: str, statements: int, errors: int, written: int
    ) -> None:
        number = self._minutes.get(minute)
        if number is None:
            if len(self._minutes) >= KEPT:
                self._minutes.clear()
            number = self._minutes[minute] = minute_of(datetime.fromisoformat(minute).replace(tzinfo=UTC))
        whose = self._whose_is(connection, session)
        count = self._activity.setdefault((number, whose.identity, whose.connection), [0, 0, 0])
        count[0] += statements
        count[1] += errors
        count[2] += written

    def _note_tables(self, connection: Connection, rows: list[Row]) -> None:
        names = {name for some in {row[at.TABLES] for row in rows} for name in some} - self._names
        if names:
            made = insert(tables.table_names).on_conflict_do_nothing()
            connection.execute(made, [{"name": name} for name in sorted(names)])
            if len(self._names) > KEPT:
                self._names.clear()
            self._names |= names


def _keys(
    command: str | None,
    status: str,
    outcome: str,
    sqlstate: str | None,
    names: tuple[str, ...],
    rows: int | None,
    duration: int | None,
    written: int | None,
) -> Iterator[Key]:
    yield Kind.STATUS, term(status)
    yield Kind.OUTCOME, term(outcome)
    if command is not None:
        yield Kind.COMMAND, term(command)
    if sqlstate is not None:
        yield Kind.SQLSTATE, term(sqlstate)
        yield Kind.SQLSTATE, term(sqlstate[:SQLSTATE_CLASS])
    for name in names:
        yield Kind.TABLE, term(name)
    for kind, number in ((Kind.ROWS, rows), (Kind.DURATION, duration), (Kind.WRITTEN, written)):
        if number is not None:
            yield kind, number


def _pass_on(block: Block, rows: list[Row], fresh: set[int]) -> None:
    """What can be searched, of rows in the order of their slots."""
    uses = Counter(row[at.TEXT] for row in rows)
    values, texts = [], []
    worded: dict[tuple[Key, bytes], int] = {}
    literal: dict[bytes, int] = {}
    for slot, row in enumerate(rows, block.slots):
        own, number = row[at.BOUND], row[at.TEXT]
        content = b""
        if row[at.SQL]:
            folded_text = folded(row[at.SQL])
            if uses[number] == 1 and number in fresh and len(folded_text) <= EASY:
                content = folded_text
                passage = shape(content)
                key: Key = (Kind.SHAPE, name_of(passage))
                own = joined(own, literals(content))
                block.literals |= numbers_of(content)
            else:
                key, passage = (Kind.TEXT, number), folded_text
            block.name(key, passage)
            worded[key, passage] = worded.get((key, passage), 0) | 1 << slot
        if own and len(own) <= EASY:
            for word in words_of(own):
                literal[word] = literal.get(word, 0) | 1 << slot
        elif own:
            block.give_up_grams()
        values.append(own)
        texts.append(content)
    for (key, passage), bits in worded.items():
        block.set(key, bits)
        block.has_words(passage, bits)
    for word, bits in literal.items():
        if bits.bit_count() >= FREQUENT:
            block.has_word(name_of(word), word, bits)
        else:
            block.literals.add(word)
    block.add(Section.VALUES, values)
    block.add(Section.TEXTS, texts)


def _counts(status: str, outcome: str, written: int | None) -> tuple[int, int]:
    """(errors, rows written) of one statement."""
    return int(status == "error"), (written or 0) if outcome == "committed" else 0


_COUNT = """
    INSERT INTO activity (minute, identity, connection, statements, errors, rows_written)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (minute, identity, connection) DO UPDATE SET
    statements = statements + excluded.statements, errors = errors + excluded.errors,
    rows_written = rows_written + excluded.rows_written
"""
