"""Finds statements by all filters together: the marks of each filter, block by block, and-ed.

Nothing here depends on a query planner. A question reads the marks of its filters, half a kilobyte for each
and block at most, in growing windows from the end that it begins at, and stops when its page is full. Texts
are looked for only in blocks that are left, and whose grams allow it. Rows are read of what is found, and
where a bound lies between two steps or a block at the edge of a span of time.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, select

from pgwitness.index import queries, tables, times
from pgwitness.index.blocks import STEPS, Kind, place, sliced, slot_of, slots, step, term, unpack
from pgwitness.index.filters import Filters
from pgwitness.index.marking import SESSION_KINDS
from pgwitness.index.passages import Needle
from pgwitness.index.sought import Sought

WINDOWS = (4, 16, 64, 256)
"""Blocks looked at in one go: the first windows, and all that follow."""
FEW = 512
"""So many rows of a block are read one by one; for more of them it is read through."""

_BLOCK = tables.blocks.c
_MARK = tables.marks.c
_STATEMENT = tables.statements.c
_NAMED = {"command": Kind.COMMAND, "status": Kind.STATUS, "outcome": Kind.OUTCOME, "sqlstate": Kind.SQLSTATE}
_BOUNDS = {"min_rows": (Kind.ROWS, "rows"), "min_duration": (Kind.DURATION, "duration")}

Key = tuple[int, int, int]
"""(position, seq, place)"""


class _Wanted(NamedTuple):
    """One of these values, or at least the first of them."""

    kind: Kind
    values: Sequence[int]
    at_least: bool = False

    def condition(self) -> ColumnElement[bool]:
        mine = _MARK.kind == int(self.kind)
        if self.at_least:
            return and_(mine, _MARK.value >= self.values[0])
        return and_(mine, _MARK.value.in_(self.values))


class Hits(NamedTuple):
    """What was found in one block. ``bits``: its slots; some may still fail ``conditions``."""

    block: int
    first: tuple[int, int]
    bits: int
    conditions: Sequence[ColumnElement[bool]]
    all: bool
    """Every statement of the block, and slots that nobody has any more."""


class Search:
    """One question, within one read transaction. Raises NotFoundError, ConflictError for the session."""

    def __init__(self, connection: Connection, filters: Filters) -> None:
        self._connection = connection
        self._session: tuple[int, int] | None = None
        """Where the session's first and last frames are."""
        self._wanted = list(self._marks(filters))
        needles = [Needle.of(filters.match)] if filters.match is not None else []
        needles += Needle.words(filters.words) if filters.words is not None else []
        self._needles = [Sought(connection, needle) for needle in needles]
        self._since = times.of_datetime(filters.since) if filters.since else ""
        self._until = times.of_datetime(filters.until) if filters.until else "9999"
        self._bounds = [
            _STATEMENT[column] >= wanted
            for name, (_, column) in _BOUNDS.items()
            if (wanted := getattr(filters, name)) is not None and wanted not in STEPS
        ]

    def hits(self, *, backwards: bool = False, start: tuple[int, int] | None = None) -> Iterator[Hits]:
        """Block by block in order, from the one that holds ``start`` on; only those with any."""
        for window in self._windows(backwards, start):
            left = self._and(window)
            for needle in self._needles:
                left = needle.narrow(self._connection, left)
            for row in window:
                bits = left.get(row.number, 0)
                for needle in self._needles:
                    bits = bits and needle.holding(self._connection, row.number, bits)
                if bits:
                    conditions = [*self._bounds, *self._edges(row)]
                    whole = not self._wanted and not self._needles
                    yield Hits(row.number, (row.first_position, row.first_seq), bits, conditions, whole)

    def keys(self, hits: Hits) -> list[Key]:
        """In order."""
        rows = self._rows(hits, _STATEMENT.position, _STATEMENT.seq, _STATEMENT.place)
        return sorted((row[0], row[1], row[2]) for row in rows)

    def exact(self, hits: Hits) -> int:
        """The slots that meet all conditions; where everything is asked for, also those that nobody has."""
        if not hits.conditions:
            return hits.bits
        bits = 0
        for row in self._rows(hits, _STATEMENT.place):
            bits |= 1 << slot_of(row[0])
        return bits

    def pieces(self) -> Iterator[ColumnElement[bool]]:
        """Conditions on statements that together choose what is found, each at most a block's, and none that
        chooses the same as another."""
        for hits in self.hits():
            if hits.all:
                yield and_(*self._chosen(hits))
            else:
                for chosen in among(hits.block, hits.bits):
                    yield and_(chosen, *hits.conditions)

    def page(self, limit: int, cursor: str | None, backwards: bool) -> list[Key]:
        """The first so many and one more, in the order that is asked for."""
        after = queries.place_of(cursor) if cursor is not None else None
        found: list[Key] = []
        for hits in self.hits(backwards=backwards, start=after):
            keys = self.keys(hits)
            if after is not None:
                keys = [key for key in keys if (key[:2] < after if backwards else key[:2] > after)]
            found += reversed(keys) if backwards else keys
            if len(found) > limit:
                break
        return found[: limit + 1]

    def before_last(self, number: int) -> Key | None:
        """The last one that has ``number`` of them after it."""
        left = number
        for hits in self.hits(backwards=True):
            many = hits.bits.bit_count()
            if many <= left and not hits.conditions and not hits.all:
                left -= many
                continue
            keys = self.keys(hits)
            if len(keys) > left:
                return keys[-1 - left]
            left -= len(keys)
        return None

    def _marks(self, filters: Filters) -> Iterator[_Wanted]:
        """Those of few statements first: what they leave nothing of is not asked for further."""
        if filters.session is not None:
            number, _ = queries.resolve(self._connection, filters.session, filters.scope)
            column = tables.sessions.c
            span = select(column.first_position, column.last_position).where(column.number == number)
            first, last = self._connection.execute(span).one()
            self._session = (first, last)
            yield _Wanted(Kind.SESSION, [number])
        if filters.table is not None:
            yield _Wanted(Kind.TABLE, [*map(term, queries.named_tables(self._connection, filters.table))])
        for name, kind in reversed(SESSION_KINDS.items()):
            if (wanted := getattr(filters, name)) is not None:
                yield _Wanted(kind, [term(wanted)])
        if filters.scope is not None and filters.scope.identity is not None:
            yield _Wanted(Kind.IDENTITY, [term(filters.scope.identity)])
        if filters.scope is not None and filters.scope.connections is not None:
            yield _Wanted(Kind.CONNECTION, [*map(term, filters.scope.connections)])
        for name, (kind, _) in _BOUNDS.items():
            if (bound := getattr(filters, name)) is not None:
                yield _Wanted(kind, [step(bound)], True)
        for name, kind in _NAMED.items():
            if (wanted := getattr(filters, name)) is not None:
                yield _Wanted(kind, [term(wanted)])

    def _windows(self, backwards: bool, start: tuple[int, int] | None) -> Iterator[Sequence[Any]]:
        """Blocks of the span of time and of the session."""
        query = select(
            _BLOCK.number, _BLOCK.first_position, _BLOCK.first_seq, _BLOCK.slots, _BLOCK.began, _BLOCK.ended
        )
        query = query.where(_BLOCK.ended >= self._since, _BLOCK.began <= self._until)
        if self._session:
            first, last = self._session
            low, high = block_at(self._connection, (first, -1)), block_at(self._connection, (last, 1 << 62))
            query = query.where(_BLOCK.number.between(low, high))
        query = query.order_by(_BLOCK.number.desc() if backwards else _BLOCK.number)
        if start is not None:
            at = block_at(self._connection, start)
            query = query.where(_BLOCK.number <= at if backwards else _BLOCK.number >= at)
        size = iter(WINDOWS)
        many = 0
        while True:
            many = next(size, many)
            window = self._connection.execute(query.limit(many)).all()
            if window:
                yield window
            if len(window) < many:
                return
            reached = window[-1].number
            query = query.where(_BLOCK.number < reached if backwards else _BLOCK.number > reached)

    def _and(self, window: Sequence[Any]) -> dict[int, int]:
        left = {row.number: (1 << row.slots) - 1 for row in window}
        for wanted in self._wanted:
            found: dict[int, int] = {}
            query = select(_MARK.block, _MARK.bits).where(_MARK.block.in_(list(left)), wanted.condition())
            for block, bits in self._connection.execute(query):
                found[block] = found.get(block, 0) | unpack(bits)
            left = {number: both for number, bits in found.items() if (both := left[number] & bits)}
            if not left:
                break
        return left

    def _edges(self, block: Any) -> Iterator[ColumnElement[bool]]:
        if block.began < self._since:
            yield _STATEMENT.started >= self._since
        if block.ended > self._until:
            yield _STATEMENT.started <= self._until

    def _rows(self, hits: Hits, *columns: ColumnElement[Any]) -> Iterator[Any]:
        many = hits.bits.bit_count() > FEW
        query = select(*columns).where(*self._chosen(hits, many))
        for row in self._connection.execute(query):
            if not many or hits.bits >> slot_of(row[-1]) & 1:
                yield row

    def _chosen(self, hits: Hits, through: bool = False) -> Iterator[ColumnElement[bool]]:
        """``through``: all of the block, for who looks at the bits."""
        if through or hits.all:
            yield _STATEMENT.place.between(place(hits.block, 0), place(hits.block + 1, 0) - 1)
        else:
            yield _STATEMENT.place.in_([place(hits.block, slot) for slot in slots(hits.bits)])
        yield from hits.conditions


def among(block: int, bits: int) -> Iterator[ColumnElement[bool]]:
    """These slots of a block, in conditions that SQLite takes: a block has no end where statements come
    late."""
    for some in sliced(slots(bits)):
        yield _STATEMENT.place.in_([place(block, slot) for slot in some])


def between(connection: Connection, first: int, last: int) -> ColumnElement[bool]:
    """Statements at positions from ``first`` up to, without, ``last``."""
    low, high = block_at(connection, (first, -1)), block_at(connection, (last, -1))
    places = _STATEMENT.place.between(place(low, 0), place(high + 1, 0) - 1)
    return and_(places, _STATEMENT.position >= first, _STATEMENT.position < last)


def block_at(connection: Connection, key: tuple[int, int]) -> int:
    """The block that this (position, seq) is in, or would be."""
    position, seq = key
    before = (_BLOCK.first_position <= position) & (
        (_BLOCK.first_position < position) | (_BLOCK.first_seq <= seq)
    )
    last = select(_BLOCK.number).where(before)
    last = last.order_by(_BLOCK.first_position.desc(), _BLOCK.first_seq.desc()).limit(1)
    return connection.scalar(last) or 1
