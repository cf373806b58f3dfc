"""Chunks: frames to bytes and back, and no byte of them changes unnoticed."""

import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness.errors import RecordBroken
from pgwitness.record.chunks import (
    HEADER_BYTES,
    NOBODY,
    Frame,
    Keys,
    join,
    load,
    outline,
    parse_header,
    split,
    store,
)

SESSION = uuid.UUID(int=7).bytes
KEYS = Keys.of(bytes(range(32)))
U64 = 2**63 - 1


@st.composite
def runs(draw: st.DrawFn) -> list[Frame]:
    """Frames of one session in sequence; times may run backwards, over a restart."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(1, 8), st.integers(0, U64), st.integers(0, U64), st.binary(max_size=300)),
            min_size=1,
            max_size=30,
        )
    )
    first = draw(st.integers(0, 2**40))
    return [(SESSION, first + at, *row) for at, row in enumerate(rows)]


@given(runs())
@settings(max_examples=300, deadline=None)
def test_frames_come_back_as_they_were(frames: list[Frame]) -> None:
    plain = join(frames)
    assert split(SESSION, plain) == frames
    about = outline(plain)
    assert about.sequence == (frames[0][1], frames[-1][1])
    assert about.time == (frames[0][3], frames[-1][3])
    assert about.position == (frames[0][4], frames[-1][4])
    assert about.frames == len(frames)
    stored = store(SESSION, 3, plain, KEYS)
    assert load(stored, KEYS) == plain
    header = parse_header(stored)
    assert (header.session, header.n, header.length) == (SESSION, 3, len(plain))


def some_frames(count: int = 5) -> list[Frame]:
    return [(SESSION, at, 2, 10**18 + at, 2**33 + at, b"SELECT 1" * 20) for at in range(count)]


def test_a_chunk_has_no_gap() -> None:
    frames = some_frames()
    with pytest.raises(RecordBroken, match="not in sequence"):
        join(frames[:2] + frames[3:])


def test_every_changed_byte_of_a_stored_chunk_is_refused() -> None:
    stored = store(SESSION, 0, join(some_frames()), KEYS)
    for at in range(len(stored)):
        bent = bytes([*stored[:at], stored[at] ^ 0x10, *stored[at + 1 :]])
        with pytest.raises(RecordBroken):
            load(bent, KEYS)
    for end in range(len(stored)):
        with pytest.raises(RecordBroken):
            load(stored[:end], KEYS)


def test_a_chunk_needs_its_own_secret() -> None:
    stored = store(SESSION, 0, join(some_frames()), KEYS)
    with pytest.raises(RecordBroken, match="does not open it"):
        load(stored, Keys.of(bytes(32)))
    with pytest.raises(RecordBroken, match="secret is not here"):
        load(stored, None)
    assert b"SELECT" not in stored


def test_the_same_place_sealed_twice_has_another_nonce() -> None:
    plain = join(some_frames())
    assert (
        parse_header(store(SESSION, 0, plain, KEYS)).nonce
        != parse_header(store(SESSION, 0, plain, KEYS)).nonce
    )


def test_a_commitment_tells_nothing_without_the_salt() -> None:
    plain = join(some_frames())
    assert KEYS.commit(plain) == KEYS.commit(plain) != Keys.of(bytes(32)).commit(plain)
    assert KEYS.encryption != KEYS.salt


def test_an_event_is_packed_but_not_encrypted() -> None:
    payload = b'{"event":"recovered"}' * 5000
    stored = store(NOBODY, 0, payload, None)
    assert len(stored) < len(payload) / 10
    assert load(stored, None) == payload
    noise = bytes(range(256))
    assert load(store(NOBODY, 0, noise, None), None) == noise


def test_a_bomb_is_unpacked_no_further_than_its_header_says() -> None:
    stored = bytearray(store(NOBODY, 0, bytes(1 << 20), None))
    struct.pack_into("<I", stored, 28, 100)
    with pytest.raises(RecordBroken, match="length that it says"):
        load(bytes(stored), None)
    struct.pack_into("<I", stored, 28, 0xFFFFFFFF)
    with pytest.raises(RecordBroken, match="does not know"):
        load(bytes(stored), None)


def test_a_newer_version_is_named() -> None:
    stored = bytearray(store(NOBODY, 0, b"x", None))
    stored[4] = 2
    with pytest.raises(RecordBroken, match="version 2"):
        load(bytes(stored), None)


@given(st.binary(max_size=400))
def test_noise_is_no_plain_form(noise: bytes) -> None:
    for data in (noise, join(some_frames())[: len(noise)]):
        try:
            frames = split(SESSION, data)
        except RecordBroken:
            continue
        assert join(frames) == data


def test_the_header_is_as_long_as_documented() -> None:
    assert HEADER_BYTES == 44
