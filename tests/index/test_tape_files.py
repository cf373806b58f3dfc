"""docs/tape-format.md, read twice: the core and a reader and writer made from the document alone agree."""

import itertools
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness import _core
from support import tape_files

ONE, TWO = uuid.UUID(int=1).bytes, uuid.UUID(int=2).bytes


def _frames(reader: tape_files.TapeReader | _core.TapeReader, **limits: int) -> list[tape_files.Frame]:
    frames: list[tape_files.Frame] = []
    while some := reader.read(**limits):
        frames += some
    return frames


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.binary(max_size=3000)), max_size=40),
    st.booleans(),
)
def test_the_core_reads_what_the_document_says(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[bytes, bytes]], closed: bool
) -> None:
    directory = tmp_path_factory.mktemp("tape")
    writer = tape_files.TapeWriter(directory, segment_bytes=8192)
    time = itertools.count(1_000)
    for session, payload in chunks:
        writer.append(session, tape_files.CLIENT, next(time), payload)
    if closed:
        writer.close()
    else:
        writer.crash()
    ours = _frames(tape_files.TapeReader(directory))
    assert _frames(_core.TapeReader(directory)) == ours
    assert [frame[5] for frame in ours if frame[0] != tape_files.ZERO] == [payload for _, payload in chunks]
    assert _frames(_core.TapeReader(directory, session=TWO)) == [frame for frame in ours if frame[0] == TWO]


def test_the_document_says_what_the_core_writes(tmp_path: Path) -> None:
    tape = _core.Tape(tmp_path, segment_bytes=4 << 20)
    tape.record(b'{"event": "started"}')
    session = tape.open_session(ONE, b'{"version": 1}')
    for n in range(200):
        session.event(b"{}" + b" " * (n * 300))
    session.end(b'{"reason": "terminated"}')
    live = _frames(tape_files.TapeReader(tmp_path))
    assert live == _frames(_core.TapeReader(tmp_path))
    tape.close()
    closed = _frames(tape_files.TapeReader(tmp_path))
    assert closed == _frames(_core.TapeReader(tmp_path))
    assert closed[: len(live)] == live
    assert [frame[1] for frame in closed if frame[0] == ONE] == list(range(202))


def test_every_flipped_byte_of_a_frame_is_found(tmp_path: Path) -> None:
    writer = tape_files.TapeWriter(tmp_path, segment_bytes=4096)
    position = writer.append(ONE, tape_files.CLIENT, 1, b"select 1")
    writer.append(ONE, tape_files.CLIENT, 2, b"select 2")
    writer.close()
    path = tmp_path / "0000000001.tape"
    whole = path.read_bytes()
    offset = position & 0xFFFFFFFF
    for at in range(offset, offset + 56):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        for reader, error in (
            (_core.TapeReader, _core.TapeCorrupt),
            (tape_files.TapeReader, tape_files.CorruptError),
        ):
            with pytest.raises(error):
                _frames(reader(tmp_path))
