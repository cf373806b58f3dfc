"""A block as the writer holds it in memory, and how it is read and written."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, delete, func, select

from pgwitness.index import rows as at
from pgwitness.index import tables
from pgwitness.index.blocks import Kind, pack, place, unpack
from pgwitness.index.inserts import positional, replacing
from pgwitness.index.passages import ALL_GRAMS, EASY, GRAM_BYTES, add_grams, grams_of, split, words_of

PARTS = 64
"""So many small parts of passages are made one: who searches a block reads few."""
PART_BYTES = 1 << 22
"""A part of that size stays as it is."""

Key = tuple[int, int]
"""(kind, value)"""


@dataclass(slots=True)
class Block:
    number: int
    first: tuple[int, int]
    """The (position, seq) at which it begins."""
    slots: int = 0
    statements: int = 0
    began: str = "9999"
    ended: str = ""
    last: tuple[int, int] = (0, 0)
    """The highest (position, seq) in it; of the last block only."""
    marks: dict[Key, int] = field(default_factory=dict)
    changed: set[Key] = field(default_factory=set)
    """Of ``marks``: not written yet."""
    passages: list[bytes] = field(default_factory=list)
    """Not written yet."""
    texts: set[int] = field(default_factory=set)
    """Texts that it has a passage of."""
    parts: int = 0
    small: int = 0
    """Of its parts, those at the end that may be made one."""
    grams: bytearray = field(default_factory=lambda: bytearray(GRAM_BYTES))
    words: set[bytes] = field(default_factory=set)
    """Whose grams are known to be in."""
    closing: bool = False
    """The next block has begun."""
    dirty: bool = False

    def set(self, key: Key, bits: int) -> None:
        self.marks[key] = self.marks.get(key, 0) | bits
        self.changed.add(key)

    def clear(self, key: Key, bits: int) -> None:
        before = self.marks.get(key, 0)
        if before & bits:
            self.marks[key] = before & ~bits
            self.changed.add(key)

    def took(self, rows: list[at.Row]) -> None:
        started = [row[at.STARTED] for row in rows]
        self.began = min(self.began, *started)
        self.ended = max(self.ended, *started)
        self.slots += len(rows)
        self.statements += len(rows)
        self.dirty = True


def load(connection: Connection, number: int) -> Block:
    """A block that was written before."""
    column, statement, mark = tables.blocks.c, tables.statements.c, tables.marks.c
    row = connection.execute(select(tables.blocks).where(column.number == number)).one()
    block = Block(
        number, (row.first_position, row.first_seq), row.slots, row.statements, row.began, row.ended
    )
    highest = select(statement.position, statement.seq).where(_within(statement.place, number))
    last = connection.execute(highest.order_by(statement.position.desc(), statement.seq.desc())).first()
    block.last = (last.position, last.seq) if last else block.first
    for kind, value, bits in connection.execute(
        select(mark.kind, mark.value, mark.bits).where(mark.block == number)
    ):
        block.marks[kind, value] = unpack(bits)
        if kind == Kind.TEXT:
            block.texts.add(value)
    part = tables.passages.c.place
    highest_part = connection.scalar(select(func.max(part)).where(_within(part, number)))
    block.parts = block.small = 0 if highest_part is None else highest_part - place(number, 0) + 1
    grams = connection.scalar(select(tables.grams.c.bits).where(tables.grams.c.block == number))
    block.grams = bytearray(grams or bytes(GRAM_BYTES))
    return block


def write(connection: Connection, block: Block) -> None:
    """What changed since it was written last."""
    if block.changed:
        _write_marks(connection, block)
    if block.passages:
        _write_passages(connection, block)
    if block.small >= PARTS or (block.closing and block.small > 1):
        _join(connection, block)
    if block.dirty:
        values = (
            *(block.number, *block.first, block.slots, block.statements),
            *(block.began, block.ended),
        )
        connection.exec_driver_sql(_PUT_BLOCK, values)
        block.dirty = False
    block.closing = False


def forget(connection: Connection, block: Block, mask: int, texts: set[int]) -> None:
    """Take the passages of these slots and texts out, of a block without unwritten ones. Nothing that was
    only theirs is left in its grams."""
    part = tables.passages.c.place
    query = select(part, tables.passages.c.data).where(_within(part, block.number))
    left, changed = [], False
    for number, data in connection.execute(query).all():
        kept = b"".join(
            passage
            for slots, whose, passage in split(data)
            if not (mask >> whose & 1 if slots else whose in texts)
        )
        left.append(kept)
        if kept != data:
            changed = True
            connection.exec_driver_sql(_PUT_PASSAGES, (number, kept))
    if changed:
        block.texts -= texts
        block.words.clear()
        block.grams = bytearray(grams_of(left))
        connection.exec_driver_sql(_PUT_GRAMS, (block.number, bytes(block.grams)))


def _write_marks(connection: Connection, block: Block) -> None:
    marks, number = block.marks, block.number
    gone = [(number, *key) for key in block.changed if not marks[key]]
    there = [(number, *key, pack(marks[key])) for key in sorted(block.changed) if marks[key]]
    if there:
        connection.exec_driver_sql(_PUT_MARK, there)
    if gone:
        connection.exec_driver_sql(_DROP_MARK, gone)
        for _, kind, value in gone:
            del marks[kind, value]
    block.changed.clear()


def _write_passages(connection: Connection, block: Block) -> None:
    data = b"".join(block.passages)
    connection.exec_driver_sql(_PUT_PASSAGES, (place(block.number, block.parts), data))
    block.parts += 1
    block.small += 1
    if block.grams != ALL_GRAMS:
        if max(map(len, block.passages)) > EASY:
            block.grams = bytearray(ALL_GRAMS)
        else:
            fresh = words_of(data) - block.words
            block.words |= fresh
            add_grams(block.grams, fresh)
        connection.exec_driver_sql(_PUT_GRAMS, (block.number, bytes(block.grams)))
    block.passages.clear()


def _join(connection: Connection, block: Block) -> None:
    """Small parts to larger ones."""
    first, last = block.parts - block.small, block.parts - 1
    column = tables.passages.c
    span = column.place.between(place(block.number, first), place(block.number, last))
    parts = connection.scalars(select(column.data).where(span).order_by(column.place)).all()
    connection.execute(delete(tables.passages).where(span))
    joined = list(_sized(parts))
    connection.exec_driver_sql(
        _PUT_PASSAGES, [(place(block.number, first + n), data) for n, data in enumerate(joined)]
    )
    block.parts, block.small = first + len(joined), 0


def _sized(parts: Iterable[bytes]) -> Iterable[bytes]:
    held: list[bytes] = []
    size = 0
    for data in parts:
        if held and size + len(data) > PART_BYTES:
            yield b"".join(held)
            held, size = [], 0
        held.append(data)
        size += len(data)
    yield b"".join(held)


def _within(column: ColumnElement[int], number: int) -> ColumnElement[bool]:
    return column.between(place(number, 0), place(number + 1, 0) - 1)


_BLOCK_COLUMNS = ("number", "first_position", "first_seq", "slots", "statements", "began", "ended")
_PUT_BLOCK = positional(replacing(tables.blocks, _BLOCK_COLUMNS), _BLOCK_COLUMNS)
_MARK_COLUMNS = ("block", "kind", "value", "bits")
_PUT_MARK = positional(replacing(tables.marks, _MARK_COLUMNS), _MARK_COLUMNS)
_DROP_MARK = "DELETE FROM marks WHERE block = ? AND kind = ? AND value = ?"
_PUT_PASSAGES = positional(replacing(tables.passages, ("place", "data")), ("place", "data"))
_PUT_GRAMS = positional(replacing(tables.grams, ("block", "bits")), ("block", "bits"))
