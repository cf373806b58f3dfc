"""Frames as a stream of bytes: back as they were, gaps included; what was cut off is known as such."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.errors import RecordBroken
from pgwitness.record.chunks import Frame
from pgwitness.record.stream import pack, unpack

SESSION = bytes(range(16))


@st.composite
def sessions(draw: st.DrawFn) -> list[Frame]:
    frames, sequence, time = [], 0, 1_795_000_000_000_000_000
    for _ in range(draw(st.integers(1, 40))):
        sequence += draw(st.sampled_from((1, 1, 1, 2, 7)))
        time += draw(st.integers(0, 10**9))
        kind = draw(st.integers(1, 6))
        frames.append((SESSION, sequence, kind, time, sequence * 64, draw(st.binary(max_size=60))))
    return frames


@given(sessions())
def test_what_goes_in_comes_out(frames: list[Frame]) -> None:
    assert list(unpack(io.BytesIO(b"".join(pack(SESSION, frames))))) == frames


def test_large_frames_and_many_are_several_pieces() -> None:
    frames: list[Frame] = [(SESSION, n, 2, n, n, b"x" * (700_000 if n < 3 else 1)) for n in range(2000)]
    pieces = list(pack(SESSION, frames))
    assert max(map(len, pieces)) < 1 << 21 and len(pieces) > 8
    assert list(unpack(io.BytesIO(b"".join(pieces)))) == frames


def test_every_cut_is_noticed() -> None:
    whole = b"".join(pack(SESSION, [(SESSION, 0, 1, 5, 64, b"{}"), (SESSION, 1, 2, 6, 128, b"abc")]))
    for length in range(len(whole)):
        with pytest.raises(RecordBroken):
            list(unpack(io.BytesIO(whole[:length])))


def test_another_stream_is_refused() -> None:
    with pytest.raises(RecordBroken, match="not a stream of frames"):
        list(unpack(io.BytesIO(b"\0" * 64)))
