"""The words of a block's statements, laid out to be searched: SQL texts and bound values.

A block's passages are one run of bytes, lower case (A to Z) and UTF-8, each after a header that tells whose
it is: of one slot, or of a text that several slots have. Byte 0xFF, which UTF-8 never has, begins each, so
that nothing is found across two of them. Beside them stand the block's grams: a bit for each three and each
five characters in a row in one of its words, by a checksum. What is looked for can only be in a block whose
grams hold all of its own, and most blocks are passed over by that.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from zlib import crc32

from pgwitness.statements.model import Parameter

GRAM_BYTES = 8192
_GRAM_MASK = GRAM_BYTES * 8 - 1
_SHORT, _LONG = 3, 5
"""A word shorter than that has no grams: its block is always searched."""
ALL_GRAMS = b"\xff" * GRAM_BYTES
EASY = 16_384
"""Bytes of a longer passage are not looked at one by one: its block has all grams."""

_BEGIN = b"\xff"
_BETWEEN = b"\xfe"
"""Between bound values; no UTF-8 either."""
_OF_SLOT, _OF_TEXT = b"\x20", b"\x21"
_DIGITS = [bytes((high, low)) for high in range(32) for low in range(32)]
"""Ten bits of a number in two bytes that are in no word."""
HEADER = 10

_WORD = re.compile(rb"[0-9a-z_\x80-\xfd]+")


def of_slot(slot: int, content: bytes) -> bytes:
    return _passage(_OF_SLOT, slot, content)


def of_text(number: int, content: bytes) -> bytes:
    return _passage(_OF_TEXT, number, content)


def folded(text: str) -> bytes:
    """As it is searched: A to Z in lower case."""
    return text.encode(errors="surrogatepass").lower()


def bound(parameters: Iterable[Parameter]) -> bytes:
    """The values bound to a statement, empty if there are none."""
    return _BETWEEN.join([folded(each.value) for each in parameters if each.value])


def split(data: bytes) -> Iterator[tuple[bool, int, bytes]]:
    """(whether it is a slot's, number, the passage with its header)"""
    for passage in data.split(_BEGIN)[1:]:
        yield passage[:1] == _OF_SLOT, _number(passage[1 : HEADER - 1]), _BEGIN + passage


def words_of(data: bytes) -> set[bytes]:
    return set(_WORD.findall(data))


def add_grams(grams: bytearray, words: Iterable[bytes]) -> None:
    for hashed in chain.from_iterable(map(_hashes, words)):
        grams[hashed >> 3] |= 1 << (hashed & 7)


def grams_of(parts: Iterable[bytes]) -> bytes:
    """Of a whole block."""
    grams = bytearray(GRAM_BYTES)
    for data in parts:
        if any(len(passage) > EASY for _, _, passage in split(data)):
            return ALL_GRAMS
        add_grams(grams, words_of(data))
    return bytes(grams)


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

    def may_be_in(self, grams: bytes) -> bool:
        return all(grams[hashed >> 3] & 1 << (hashed & 7) for hashed in self.hashes())

    def hashes(self) -> list[int]:
        return list(chain.from_iterable(map(_hashes, words_of(self.content))))

    def holders(self, data: bytes) -> tuple[list[int], list[int]]:
        """(slots, numbers of texts) whose passages have it."""
        if self.content not in data:
            return [], []
        slots: list[int] = []
        texts: list[int] = []
        wanted, skip = self.content, HEADER - 1
        found = [each for each in data.split(_BEGIN)[1:] if each.find(wanted, skip) >= 0]
        if self.word:
            whole = re.compile(rb"(?<![0-9a-z_\x80-\xfd])" + re.escape(wanted) + rb"(?![0-9a-z_\x80-\xfd])")
            found = [each for each in found if whole.search(each, skip)]
        for passage in found:
            (slots if passage[:1] == _OF_SLOT else texts).append(_number(passage[1:skip]))
        return slots, texts


def _passage(kind: bytes, number: int, content: bytes) -> bytes:
    digits = _DIGITS
    return b"".join(
        (
            _BEGIN,
            kind,
            digits[number >> 30],
            digits[number >> 20 & 1023],
            digits[number >> 10 & 1023],
            digits[number & 1023],
            content,
        )
    )


def _number(digits: bytes) -> int:
    number = 0
    for digit in digits:
        number = number << 5 | digit
    return number


def _hashes(word: bytes) -> list[int]:
    found = [crc32(word[at : at + _SHORT]) & _GRAM_MASK for at in range(len(word) - _SHORT + 1)]
    found += [crc32(word[at : at + _LONG]) & _GRAM_MASK for at in range(len(word) - _LONG + 1)]
    return found
