"""The words of a block's statements, laid out to be searched: SQL texts and bound values.

They are bytes, lower case (A to Z) and UTF-8, in sections. What one statement alone has stands in a list by
slot; what several have stands once, under a name whose marks say which. Bytes that UTF-8 never has lie
between them, so that nothing is found across two. Most texts that are a statement's own differ in their
literals only; so their shapes, with a hole for each literal, are kept too. What has neither a digit nor a
quote in it cannot lie across a hole's edge: it is in the shape, or within a literal that stands among the
values, and the texts need not be read.

Words of texts have marks. The others, rare literals, are in the block's grams: a bit for each of them, and
for each three and each five characters in a row of one, by a checksum. So most blocks are passed over, and in
the others only those statements are looked at that may have all words of what is looked for.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from pgwitness.statements.model import Parameter

GRAM_BYTES = 32_768
"""A half for words, which are fewer, so that a whole one is told from others; a half for pieces."""
_HALF = GRAM_BYTES * 4
_SHORT, _LONG = 3, 5
ALL_GRAMS = b"\xff" * GRAM_BYTES
EASY = 16_384
"""Bytes of a longer passage are not looked at one by one: its block has all grams."""


class Section(IntEnum):
    VALUES = 0
    """By slot: bound values, and the literals of TEXTS."""
    TEXTS = 1
    """By slot: SQL that no other statement has."""
    SHARED = 2
    """By the number of the text, whole: SQL of several statements, and long ones."""
    SHAPES = 3
    """Of TEXTS, by checksum."""


BY_SLOT = (Section.VALUES, Section.TEXTS)

_BEGIN = b"\xff"
_BETWEEN = b"\xfe"
_HOLE = re.compile(rb"'[^']*'|(?<![0-9a-z_\x80-\xf4])[0-9]+(?![0-9a-z_\x80-\xf4])")
"""A name with a digit in it has none: words end where they end in the text."""
_QUOTED = re.compile(rb"'([^']*)'")
"""As ``_HOLE`` pairs quotes, empty texts too: what one takes out of a shape, the other has to find."""
_WORD = re.compile(rb"[0-9a-z_\x80-\xf4]+")
_NUMBER = re.compile(rb"(?<![0-9a-z_\x80-\xf4])[0-9]+(?![0-9a-z_\x80-\xf4])")
_ACROSS = re.compile(rb"[0-9'\0]")
_FIRST = 4
"""Bytes of the first slot before a list by slot."""
_NAME = 16
"""Characters of the name before a passage."""


def folded(text: str) -> bytes:
    """As it is searched: A to Z in lower case."""
    return text.encode(errors="surrogatepass").lower()


def bound(parameters: Iterable[Parameter]) -> bytes:
    """The values bound to a statement, empty if there are none."""
    return _BETWEEN.join([folded(each.value) for each in parameters if each.value])


def literals(content: bytes) -> bytes:
    """What stands in quotes."""
    return joined(*_QUOTED.findall(content)) if b"'" in content else b""


def joined(*values: bytes) -> bytes:
    return _BETWEEN.join(filter(None, values))


def shape(content: bytes) -> bytes:
    return _HOLE.sub(b"\0", content)


@lru_cache(20_000)
def name_of(shape: bytes) -> int:
    return int.from_bytes(blake2b(shape, digest_size=8).digest(), "big") >> 1


def by_slot(first: int, entries: Sequence[bytes]) -> bytes:
    """A passage for each slot from ``first`` on."""
    return first.to_bytes(_FIRST, "little") + _BEGIN.join(entries)


def by_name(name: int, content: bytes) -> bytes:
    return b"%b%016x%b" % (_BEGIN, name, content)


def entries(data: bytes) -> tuple[int, list[bytes]]:
    """Of a list by slot: the first slot, the passages."""
    return int.from_bytes(data[:_FIRST], "little"), data[_FIRST:].split(_BEGIN)


def named(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(name, passage)"""
    for each in data.split(_BEGIN)[1:]:
        yield int(each[:_NAME], 16), each[_NAME:]


def words_of(content: bytes) -> set[bytes]:
    return set(_WORD.findall(content))


def numbers_of(content: bytes) -> set[bytes]:
    """Literals that are no quoted ones."""
    return set(_NUMBER.findall(content))


@lru_cache(20_000)
def named_words(content: bytes) -> tuple[tuple[int, bytes], ...]:
    """(name, word) of each."""
    return tuple((name_of(word), word) for word in words_of(content))


def add_grams(grams: bytearray, words: Iterable[bytes]) -> None:
    for word in words:
        for hashed in (_whole(word), *_pieces(word)):
            grams[hashed >> 3] |= 1 << (hashed & 7)


class Run(NamedTuple):
    """A word of what is looked for, and whether it begins and ends there."""

    content: bytes
    begins: bool
    ends: bool

    def hashes(self) -> list[int]:
        whole = [_whole(self.content)] if self.begins and self.ends else []
        return whole + _pieces(self.content)

    def may_be_in(self, grams: bytes) -> bool:
        return all(grams[hashed >> 3] & 1 << (hashed & 7) for hashed in self.hashes())


@dataclass(frozen=True, slots=True)
class Needle:
    """What is looked for: a text anywhere, or a whole word."""

    content: bytes
    word: bool = False

    @classmethod
    def of(cls, text: str) -> "Needle":
        return cls(folded(text))

    @classmethod
    def words(cls, text: str) -> "list[Needle]":
        """Each as a needle of its own."""
        return [cls(word, True) for word in dict.fromkeys(_WORD.findall(folded(text)))]

    @property
    def across(self) -> bool:
        """It may lie across the edge of a literal."""
        return _ACROSS.search(self.content) is not None

    def runs(self) -> "list[Run]":
        """Its words, of which the first and the last may be pieces of longer ones."""
        content = self.content
        return [
            Run(
                each[0],
                self.word or each.start() > 0,
                self.word or each.end() < len(content),
            )
            for each in _WORD.finditer(content)
        ]

    def slots(self, data: bytes, wanted: Sequence[int]) -> list[int]:
        """Of a list by slot: those of ``wanted`` whose passages have it."""
        first, passages = entries(data)
        last = first + len(passages)
        content = self.content
        found = [slot for slot in wanted if first <= slot < last and content in passages[slot - first]]
        return [slot for slot in found if self._is_in(passages[slot - first])] if self.word else found

    def names(self, data: bytes) -> list[int]:
        """Of passages by name: names of those that have it."""
        found, at = [], 0
        while (at := data.find(self.content, at)) >= 0:
            name = data.rfind(_BEGIN, 0, at) + 1
            if at < name + _NAME:
                at = name + _NAME
                continue
            end = data.find(_BEGIN, at)
            end = len(data) if end < 0 else end
            if self._is_in(data[name + _NAME : end]):
                found.append(int(data[name : name + _NAME], 16))
            at = end
        return found

    def _is_in(self, passage: bytes) -> bool:
        return not self.word or _whole_word(self.content).search(passage) is not None


@lru_cache(100)
def _whole_word(word: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![0-9a-z_\x80-\xf4])" + re.escape(word) + rb"(?![0-9a-z_\x80-\xf4])")


def _whole(word: bytes) -> int:
    return crc32(word) % _HALF


def _pieces(word: bytes) -> list[int]:
    found = [crc32(word[at : at + _SHORT]) % _HALF + _HALF for at in range(len(word) - _SHORT + 1)]
    found += [crc32(word[at : at + _LONG]) % _HALF + _HALF for at in range(len(word) - _LONG + 1)]
    return found
