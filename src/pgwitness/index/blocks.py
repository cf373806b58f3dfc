"""Blocks: statements in their order, some thousands together, with a bit for each of them in every mark.

A block holds the statements of a span of (position, seq). Each gets a slot in it, in no particular order, and
keeps it; ``place`` is both in one number. A mark says which slots of a block have a property: an integer with
a bit a slot. A question is the marks of its filters, and-ed: its cost is that of reading them, the same
whether much is found or nothing. Statements that come late (they ran for long) still go to the block of their
position, which then has more of them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b

BLOCK_STATEMENTS = 4096
"""A block that has so many gets no further ones but late ones."""
SLOT_BITS = 24
AT_ONCE = 5000
"""Numbers that one question names: more than a block has but for late ones, fewer than SQLite refuses."""

_OFFSET_BYTES = 3


class Kind(IntEnum):
    """Properties that have marks. Their values are terms, numbers or steps."""

    SESSION = 1
    IDENTITY = 2
    IDENTITY_KIND = 3
    ON_BEHALF_OF = 4
    RUN = 5
    CONNECTION = 6
    COMMAND = 7
    TABLE = 8
    STATUS = 9
    OUTCOME = 10
    SQLSTATE = 11
    ROWS = 12
    DURATION = 13
    WRITTEN = 14
    TEXT = 15
    """Of texts that several statements have (``passages.Section.SHARED``)."""
    SHAPE = 16
    """Of all other texts."""
    WORD = 17
    """That the statement surely has: all words of its text but rare literals, and frequent ones of values."""


def place(block: int, slot: int) -> int:
    return block << SLOT_BITS | slot


def block_of(place: int) -> int:
    return place >> SLOT_BITS


def slot_of(place: int) -> int:
    return place & (1 << SLOT_BITS) - 1


def masks(places: list[int]) -> dict[int, int]:
    """By block: its slots among these, as bits."""
    found: dict[int, int] = {}
    for each in places:
        block = block_of(each)
        found[block] = found.get(block, 0) | 1 << slot_of(each)
    return found


def pack(bits: int) -> bytes:
    """Without the empty bytes at either end. ``bits`` is not 0."""
    offset = ((bits & -bits).bit_length() - 1) // 8
    bits >>= offset * 8
    length = (bits.bit_length() + 7) // 8
    return offset.to_bytes(_OFFSET_BYTES, "little") + bits.to_bytes(length, "little")


def unpack(packed: bytes) -> int:
    offset = int.from_bytes(packed[:_OFFSET_BYTES], "little")
    return int.from_bytes(packed[_OFFSET_BYTES:], "little") << offset * 8


def slots(bits: int) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    return [slot for slot, bit in enumerate(f"{bits:b}"[::-1]) if bit == "1"]


def sliced(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """So many that a question may name them one by one."""
    for first in range(0, len(numbers), AT_ONCE):
        yield numbers[first : first + AT_ONCE]


@lru_cache(100_000)
def term(text: str) -> int:
    """A name as a number. Two names of one kind in an index never meet in 63 bits but by intention."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big") >> 1


STEPS = [0, *(lead * 10**power for power in range(19) for lead in (1, 2, 5) if lead * 10**power < 2**63)]
"""Numbers are marked by the largest of these that they reach: people ask for round ones."""


@lru_cache(10_000)
def step(number: int) -> int:
    """Of a number that is not negative."""
    return bisect_right(STEPS, number) - 1
