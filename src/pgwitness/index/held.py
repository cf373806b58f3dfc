"""A block as the writer holds it in memory, and how it is read and written."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, delete, func, select

from pgwitness.index import rows as at
from pgwitness.index import tables
from pgwitness.index.blocks import SLOT_BITS, Kind, pack, place, unpack
from pgwitness.index.inserts import positional, replacing
from pgwitness.index.passages import (
    ALL_GRAMS,
    BY_SLOT,
    EASY,
    GRAM_BYTES,
    Section,
    add_grams,
    by_name,
    by_slot,
    entries,
    named,
    named_words,
    numbers_of,
    words_of,
)

PARTS = 64
"""So many small parts of passages are made one: who searches a block reads few."""
PART_BYTES = 1 << 22
"""A part of that size stays as it is."""

WORDS = 100_000
"""A block of more of them has all grams: what is held in memory is bounded."""

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
    named: set[Key] = field(default_factory=set)
    """Marks that have a passage."""
    passages: dict[Section, list[bytes]] = field(default_factory=dict)
    """Not written yet."""
    parts: dict[Section, int] = field(default_factory=dict)
    small: dict[Section, int] = field(default_factory=dict)
    """Of its parts, those at the end that may be made one."""
    grams: bytearray = field(default_factory=lambda: bytearray(GRAM_BYTES))
    literals: set[bytes] = field(default_factory=set)
    """Words that go to its grams."""
    told: set[bytes] = field(default_factory=set)
    """Those that went."""
    words: list[tuple[int, bytes]] = field(default_factory=list)
    """(name, word) that have marks now and had none."""
    grams_changed: bool = False
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

    def name(self, key: Key, content: bytes) -> None:
        """The passage of all that has this mark."""
        if key not in self.named:
            self.named.add(key)
            section = _NAMED[Kind(key[0])]
            self.passages.setdefault(section, []).append(by_name(key[1], content))

    def has_words(self, content: bytes, bits: int) -> None:
        """These slots have all words of it."""
        if len(content) > EASY:
            self.give_up_grams()
            return
        for name, word in named_words(content):
            self.has_word(name, word, bits)

    def has_word(self, name: int, word: bytes, bits: int) -> None:
        key = (Kind.WORD, name)
        if not self.marks.get(key):
            self.words.append((name, word))
        self.set(key, bits)

    def give_up_grams(self) -> None:
        self.grams = bytearray(ALL_GRAMS)
        self.grams_changed = True

    def add(self, section: Section, passages: list[bytes]) -> None:
        """Of the slots that are given out next."""
        if any(passages):
            self.passages.setdefault(section, []).append(by_slot(self.slots, passages))

    def took(self, rows: list[at.Row]) -> None:
        """Rows that it has now, in the order of their slots."""
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
        if kind in _NAMED:
            block.named.add((kind, value))
    for section in Section:
        part = tables.passages.c.place
        highest_part = connection.scalar(select(func.max(part)).where(within(number, section)))
        if highest_part is not None:
            block.parts[section] = block.small[section] = highest_part - _part(number, section, 0) + 1
    grams = connection.scalar(select(tables.grams.c.bits).where(tables.grams.c.block == number))
    block.grams = bytearray(grams or bytes(GRAM_BYTES))
    return block


def write(connection: Connection, block: Block) -> None:
    """What changed since it was written last."""
    if block.changed:
        _write_marks(connection, block)
    if block.words:
        connection.exec_driver_sql(_ADD_WORD, block.words)
        block.words.clear()
    if block.passages:
        _write_passages(connection, block)
    _write_grams(connection, block)
    for section, small in block.small.items():
        if small >= PARTS or (block.closing and small > 1):
            _join(connection, block, section)
    if block.dirty:
        values = (
            *(block.number, *block.first, block.slots, block.statements),
            *(block.began, block.ended),
        )
        connection.exec_driver_sql(_PUT_BLOCK, values)
        block.dirty = False
    block.closing = False


def forget(connection: Connection, block: Block, mask: int) -> None:
    """Take the passages of these slots out, and those of marks that none is left of. The block has been
    written but for its marks. Nothing that was only theirs is left in its grams."""
    gone = {key for key in block.named if not block.marks.get(key)}
    block.named -= gone
    found: set[bytes] = set()
    for section in Section:
        query = select(tables.passages.c.place, tables.passages.c.data).where(within(block.number, section))
        for part, data in connection.execute(query).all():
            kept = _without(section, data, mask, gone)
            found |= _literal_words(section, kept)
            if kept != data:
                connection.exec_driver_sql(_PUT_PASSAGES, (part, kept))
    if block.grams != ALL_GRAMS:
        block.grams, block.grams_changed = bytearray(GRAM_BYTES), True
        block.told.clear()
        block.literals = found
        _write_grams(connection, block)


def within(number: int, section: Section) -> ColumnElement[bool]:
    """The parts of a section of a block."""
    return tables.passages.c.place.between(_part(number, section, 0), _part(number, section, _PARTS - 1))


def _without(section: Section, data: bytes, mask: int, gone: set[Key]) -> bytes:
    if section not in BY_SLOT:
        kind = Kind.TEXT if section == Section.SHARED else Kind.SHAPE
        return b"".join(by_name(name, each) for name, each in named(data) if (kind, name) not in gone)
    first, passages = entries(data)
    return by_slot(first, [b"" if mask >> slot & 1 else each for slot, each in enumerate(passages, first)])


def _write_marks(connection: Connection, block: Block) -> None:
    marks, number = block.marks, block.number
    gone = [(number, *key) for key in block.changed if not marks[key]]
    lost = [(value,) for _, kind, value in gone if kind == Kind.WORD]
    if lost:
        connection.exec_driver_sql(_DROP_WORD, lost)
        connection.exec_driver_sql("DELETE FROM words WHERE blocks <= 0")
    there = [(number, *key, pack(marks[key])) for key in sorted(block.changed) if marks[key]]
    if there:
        connection.exec_driver_sql(_PUT_MARK, there)
    if gone:
        connection.exec_driver_sql(_DROP_MARK, gone)
        for _, kind, value in gone:
            del marks[kind, value]
    block.changed.clear()


def _write_passages(connection: Connection, block: Block) -> None:
    for section, passages in block.passages.items():
        data = _joined(section, passages)
        number = block.parts.get(section, 0)
        connection.exec_driver_sql(_PUT_PASSAGES, (_part(block.number, section, number), data))
        block.parts[section] = number + 1
        block.small[section] = block.small.get(section, 0) + 1
    block.passages.clear()


def _write_grams(connection: Connection, block: Block) -> None:
    fresh = block.literals - block.told
    if fresh and block.grams != ALL_GRAMS:
        if len(fresh) + len(block.told) > WORDS:
            block.give_up_grams()
        else:
            block.told |= fresh
            add_grams(block.grams, fresh)
        block.grams_changed = True
    if block.grams_changed:
        connection.exec_driver_sql(_PUT_GRAMS, (block.number, bytes(block.grams)))
        block.grams_changed = False
    block.literals = set()


def _literal_words(section: Section, data: bytes) -> set[bytes]:
    if section == Section.VALUES:
        return {word for passage in entries(data)[1] for word in words_of(passage)}
    if section == Section.TEXTS:
        return {word for passage in entries(data)[1] for word in numbers_of(passage)}
    return set()


def _join(connection: Connection, block: Block, section: Section) -> None:
    """Small parts to larger ones."""
    last = block.parts[section]
    first = last - block.small[section]
    column = tables.passages.c
    span = column.place.between(_part(block.number, section, first), _part(block.number, section, last - 1))
    parts = connection.scalars(select(column.data).where(span).order_by(column.place)).all()
    connection.execute(delete(tables.passages).where(span))
    large = [_joined(section, some) for some in _sized(parts)]
    connection.exec_driver_sql(
        _PUT_PASSAGES, [(_part(block.number, section, first + n), data) for n, data in enumerate(large)]
    )
    block.parts[section], block.small[section] = first + len(large), 0


def _joined(section: Section, parts: list[bytes]) -> bytes:
    if len(parts) == 1:
        return parts[0]
    if section not in BY_SLOT:
        return b"".join(parts)
    begin, found = entries(parts[0])
    for data in parts[1:]:
        first, passages = entries(data)
        found += [b""] * (first - begin - len(found))
        found += passages
    return by_slot(begin, found)


def _sized(parts: Iterable[bytes]) -> Iterable[list[bytes]]:
    held: list[bytes] = []
    size = 0
    for data in parts:
        if held and size + len(data) > PART_BYTES:
            yield held
            held, size = [], 0
        held.append(data)
        size += len(data)
    yield held


def _within(column: ColumnElement[int], number: int) -> ColumnElement[bool]:
    return column.between(place(number, 0), place(number + 1, 0) - 1)


def _part(number: int, section: Section, part: int) -> int:
    return place(number, section * _PARTS + part)


_ADD_WORD = """
    INSERT INTO words (value, word, blocks) VALUES (?, ?, 1)
    ON CONFLICT (value) DO UPDATE SET blocks = blocks + 1
"""
_DROP_WORD = "UPDATE words SET blocks = blocks - 1 WHERE value = ?"
_PARTS = 1 << SLOT_BITS - 2
_NAMED = {Kind.TEXT: Section.SHARED, Kind.SHAPE: Section.SHAPES}
_BLOCK_COLUMNS = ("number", "first_position", "first_seq", "slots", "statements", "began", "ended")
_PUT_BLOCK = positional(replacing(tables.blocks, _BLOCK_COLUMNS), _BLOCK_COLUMNS)
_MARK_COLUMNS = ("block", "kind", "value", "bits")
_PUT_MARK = positional(replacing(tables.marks, _MARK_COLUMNS), _MARK_COLUMNS)
_DROP_MARK = "DELETE FROM marks WHERE block = ? AND kind = ? AND value = ?"
_PUT_PASSAGES = positional(replacing(tables.passages, ("place", "data")), ("place", "data"))
_PUT_GRAMS = positional(replacing(tables.grams, ("block", "bits")), ("block", "bits"))
