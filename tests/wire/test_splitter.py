"""Chunks back to messages, however they were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.wire.splitter import MalformedMessageError, MessageSplitter


def encode(messages: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([kind]) + (len(body) + 4).to_bytes(4, "big") + body for kind, body in messages)


MESSAGES = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=40)), max_size=8)


@given(MESSAGES, st.lists(st.integers(0, 60), max_size=12), st.integers(0, 30))
def test_any_cutting_gives_the_same_messages_and_a_snapshot_anywhere(messages, cuts, limit):
    wire = encode(messages)
    splitter, seen, at = MessageSplitter(limit), [], 0
    for cut in [*cuts, len(wire)]:
        seen += splitter.feed(wire[at : at + cut])
        at += cut
        splitter = MessageSplitter.restore(splitter.snapshot())
    assert seen == [(kind, body[:limit], len(body)) for kind, body in messages]
    assert splitter.at_boundary


def test_a_message_beyond_the_limit_keeps_its_head_and_its_length():
    splitter = MessageSplitter(4)
    wire = encode([(0x51, b"abcdefgh"), (0x53, b"")])
    for octet in wire[:-5]:
        seen = splitter.feed(bytes([octet]))
    assert seen == [(0x51, b"abcd", 8)]
    assert splitter.feed(wire[-5:]) == [(0x53, b"", 0)]


def test_counted_types_give_their_length_only():
    splitter, seen = MessageSplitter(40, b"d"), []
    for octet in encode([(0x64, b"abc"), (0x51, b"xy"), (0x64, b"abcdef")]):
        seen += splitter.feed(bytes([octet]))
        splitter = MessageSplitter.restore(splitter.snapshot())
    assert seen == [(0x64, b"", 3), (0x51, b"xy", 2), (0x64, b"", 6)]
    assert splitter.feed(encode([(0x64, b"abc"), (0x51, b"xy")])) == [(0x64, b"", 3), (0x51, b"xy", 2)]


def test_a_length_below_four_is_malformed_and_what_precedes_it_is_not_lost():
    seen = []
    with pytest.raises(MalformedMessageError, match="0x51"):
        MessageSplitter(10).feed_into(encode([(0x53, b"")]) + b"Q\0\0\0\x03", seen)
    assert seen == [(0x53, b"", 0)]
