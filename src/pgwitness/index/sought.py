"""A text that is looked for, in the blocks of an index.

First by words: each word of it has marks, or is a rare literal of the block; a piece of a word stands for all
words that it is a piece of. That leaves few statements, or none, whatever the text is made of. Then the
passages of those are looked at.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, and_, func, select

from pgwitness.index import tables
from pgwitness.index.blocks import Kind, sliced, slots, unpack
from pgwitness.index.held import within
from pgwitness.index.passages import GRAM_BYTES, Needle, Run, Section, name_of

MANY = 200
"""A piece of more words than that says nothing."""

_NO_GRAMS = bytes(GRAM_BYTES)
_MARK = tables.marks.c
_GRAM = tables.grams.c
_WORD = tables.words.c


class Sought:
    def __init__(self, connection: Connection, needle: Needle) -> None:
        self._needle = needle
        self._runs: list[tuple[Run, set[int]]] = []
        """Words of the text with those that have marks. Without those that too many have."""
        for run in needle.runs():
            names = _names(connection, run)
            if len(names) <= MANY:
                self._runs.append((run, names))

    def narrow(self, connection: Connection, left: dict[int, int]) -> dict[int, int]:
        """By block: of these slots, those that may have it."""
        if not self._runs or not left:
            return left
        blocks = list(left)
        marked = self._marked(connection, blocks)
        query = select(_GRAM.block, _GRAM.bits).where(_GRAM.block.in_(blocks))
        grams_of = {row.block: row.bits for row in connection.execute(query)}
        for block in blocks:
            bits, grams = left[block], grams_of.get(block, _NO_GRAMS)
            for run, names in self._runs:
                if not run.may_be_in(grams):
                    of_block = marked.get(block, {})
                    bits &= _or(of_block.get(name, 0) for name in names)
                    if not bits:
                        break
            left[block] = bits
        return {block: bits for block, bits in left.items() if bits}

    def holding(self, connection: Connection, block: int, bits: int) -> int:
        """Of these slots, those that have it."""
        needle = self._needle
        if needle.word:
            found = self._marked(connection, [block]).get(block, {}).get(name_of(needle.content), 0) & bits
        else:
            found = self._by_name(connection, block, Section.SHARED, Kind.TEXT)
            if not needle.across:
                found |= self._by_name(connection, block, Section.SHAPES, Kind.SHAPE)
        for section in (Section.VALUES, Section.TEXTS)[: 1 + needle.across]:
            for data in _passages(connection, block, section) if bits & ~found else ():
                if needle.content in data:
                    for slot in needle.slots(data, slots(bits & ~found)):
                        found |= 1 << slot
        return bits & found

    def _marked(self, connection: Connection, blocks: Sequence[int]) -> dict[int, dict[int, int]]:
        names = set().union(*(names for _, names in self._runs))
        query = select(_MARK.block, _MARK.value, _MARK.bits).where(
            _MARK.block.in_(blocks), _MARK.kind == int(Kind.WORD), _MARK.value.in_(names)
        )
        found: dict[int, dict[int, int]] = {}
        for block, name, bits in connection.execute(query) if names else ():
            found.setdefault(block, {})[name] = unpack(bits)
        return found

    def _by_name(self, connection: Connection, block: int, section: Section, kind: Kind) -> int:
        passages = _passages(connection, block, section)
        names = {name for data in passages for name in self._needle.names(data)}
        query = select(_MARK.bits).where(_MARK.block == block, _MARK.kind == int(kind))
        return _or(
            unpack(packed)
            for some in sliced([*names])
            for (packed,) in connection.execute(query.where(_MARK.value.in_(some)))
        )


def _names(connection: Connection, run: Run) -> set[int]:
    """Of words that it is, or is a piece of; more than MANY where that is so."""
    if run.begins and run.ends:
        return {name_of(run.content)}
    size = len(run.content)
    holds: ColumnElement[bool] = func.instr(_WORD.word, run.content) > 0
    if run.begins:
        holds = func.substr(_WORD.word, 1, size) == run.content
    elif run.ends:
        holds = and_(func.length(_WORD.word) >= size, func.substr(_WORD.word, -size) == run.content)
    return set(connection.scalars(select(_WORD.value).where(holds).limit(MANY + 1)))


def _passages(connection: Connection, block: int, section: Section) -> Iterator[bytes]:
    query = select(tables.passages.c.data).where(within(block, section))
    return iter(connection.scalars(query.order_by(tables.passages.c.place)))


def _or(some: Iterator[int]) -> int:
    bits = 0
    for each in some:
        bits |= each
    return bits
