"""Passages: what is found in them is what a plain look at the contents finds, and grams never deny it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.index.blocks import pack, slots, step, unpack
from pgwitness.index.passages import (
    GRAM_BYTES,
    Needle,
    add_grams,
    by_name,
    by_slot,
    folded,
    joined,
    literals,
    numbers_of,
    shape,
    words_of,
)

QUOTED = [
    "''",
    "''''",
    "'ab'",
    "'b''a'",
    "E''",
    "E'\\'a'",
    "$$a'b$$",
    "/* a'b */",
    "-- b'\n",
    ", ",
    "a",
    "b1",
    "X",
    "'",
]
"""Quotes of all sorts, and what stands between them."""
TEXTS = st.text("ab1 '=_éX", max_size=12) | st.lists(st.sampled_from(QUOTED), max_size=8).map("".join)
NEEDLES = st.text("ab1 '=_éx", min_size=1, max_size=4)
WORD = re.compile(rb"[0-9a-z_\x80-\xf4]+")


@given(texts=st.lists(TEXTS, min_size=1, max_size=8), needle=NEEDLES, first=st.integers(0, 1 << 23))
def test_by_slot(texts: list[str], needle: str, first: int) -> None:
    contents = [folded(text) for text in texts]
    wanted = range(max(0, first - 2), first + len(texts) + 2)
    expected = [slot for slot, content in enumerate(contents, first) if folded(needle) in content]
    assert Needle.of(needle).slots(by_slot(first, contents), wanted) == expected


@given(
    texts=st.lists(TEXTS, max_size=8), needle=NEEDLES | st.text("0123456789abcdef", min_size=1, max_size=3)
)
def test_by_name(texts: list[str], needle: str) -> None:
    """What is in a name is not found."""
    data = b"".join(by_name(number * 0xABCDEF, folded(text)) for number, text in enumerate(texts))
    expected = [n * 0xABCDEF for n, text in enumerate(texts) if folded(needle) in folded(text)]
    assert Needle.of(needle).names(data) == expected


@given(text=TEXTS, needle=NEEDLES)
def test_what_is_not_across_a_literal_is_in_the_shape_or_in_a_literal(text: str, needle: str) -> None:
    content, wanted = folded(text), Needle.of(needle)
    if not wanted.across:
        there = wanted.content in shape(content) or wanted.content in literals(content)
        assert there == (wanted.content in content)
    for word in Needle.words(needle):
        if not word.across:
            there = word.content in words_of(shape(content)) or word.content in words_of(literals(content))
            assert there == (word.content in WORD.findall(content))


@given(text=TEXTS, start=st.integers(0, 11), length=st.integers(1, 12))
def test_grams_and_marks_know_every_piece(text: str, start: int, length: int) -> None:
    content = folded(text)
    piece = text[start : start + length]
    grams = bytearray(GRAM_BYTES)
    add_grams(grams, words_of(literals(content)) | numbers_of(content))
    marked = words_of(shape(content))
    for run in Needle.of(piece).runs() if piece else []:
        known = {run.content} if run.begins and run.ends else {word for word in marked if run.content in word}
        assert known & marked or run.may_be_in(grams), run


@pytest.mark.parametrize("before", ["''", "''''", "E''", "'', ''", "$$it's$$", "/* it's */ ''"])
def test_a_literal_behind_quotes_is_not_lost(before: str) -> None:
    content = folded(f"INSERT INTO users VALUES ({before}, 'topsecret@x')")
    assert b"topsecret" in shape(content) or b"topsecret" in literals(content)


def test_values_do_not_run_into_each_other() -> None:
    data = by_slot(0, [joined(b"ab", b"", b"cd"), b"ef"])
    assert [Needle.of(text).slots(data, [0, 1]) for text in ("bc", "cde", "cd", "ef")] == [[], [], [0], [1]]


@given(st.integers(1, 1 << 200))
def test_bits_come_back(bits: int) -> None:
    assert unpack(pack(bits)) == bits
    assert sum(1 << slot for slot in slots(bits)) == bits


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 999, 1000, 2**63 - 1])
def test_steps_keep_the_order(number: int) -> None:
    assert step(number - 1 if number else 0) <= step(number) <= step(number + 1)
    assert step(1000) == step(1999) < step(2000)
