"""The tape as docs/tape-format.md promises it: order, recovery, refusal, no invention."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import textwrap
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness._core import (
    KIND_EVENT,
    KIND_RECORDER,
    KIND_ROSTER,
    KIND_SESSION_ENDED,
    KIND_SESSION_STARTED,
    Tape,
    TapeCorrupt,
    TapeError,
    TapeReader,
)

if TYPE_CHECKING:
    from pgwitness._core import Frame

SMALLEST = 4 << 20
HEADER = 64


def read_all(directory: Path, **options: bytes) -> list[Frame]:
    reader = TapeReader(directory, **options)
    frames: list[Frame] = []
    while batch := reader.read():
        frames += batch
    return frames


def frames_of(directory: Path, session: bytes) -> list[tuple[int, int, bytes]]:
    return [(frame[1], frame[2], frame[5]) for frame in read_all(directory, session=session)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "tape"


@pytest.fixture
def tape(directory: Path) -> Iterator[Tape]:
    tape = Tape(directory, segment_bytes=SMALLEST)
    yield tape
    tape.close()


def test_sessions_are_read_in_the_one_order_in_which_they_were_recorded(tape: Tape, directory: Path) -> None:
    tape.record(b'{"event":"started"}')
    first, second = uuid.uuid4().bytes, uuid.uuid4().bytes
    a = tape.open_session(first, b"header a")
    b = tape.open_session(second, b"header b")
    a.event(b"1")
    b.event(b"2")
    a.end(b"bye")
    frames = read_all(directory)
    assert [(f[0], f[1], f[2], f[5]) for f in frames if f[2] != KIND_ROSTER] == [
        (bytes(16), 1, KIND_RECORDER, b'{"event":"started"}'),
        (first, 0, KIND_SESSION_STARTED, b"header a"),
        (second, 0, KIND_SESSION_STARTED, b"header b"),
        (first, 1, KIND_EVENT, b"1"),
        (second, 1, KIND_EVENT, b"2"),
        (first, 2, KIND_SESSION_ENDED, b"bye"),
    ]
    positions, times = [f[4] for f in frames], [f[3] for f in frames]
    assert positions == sorted(set(positions))
    assert times == sorted(times)


def test_a_frame_is_what_the_format_document_says(tape: Tape, directory: Path) -> None:
    session = uuid.uuid4().bytes
    tape.open_session(session, b"hello").event(b"")
    position = next(f[4] for f in read_all(directory, session=session))
    data = (directory / f"{position >> 32:010}.tape").read_bytes()
    assert data[:8] == b"PGWTAPE1"
    assert struct.unpack_from("<II", data, 8) == (1, 1)
    assert zlib.crc32(data[:60]) == struct.unpack_from("<I", data, 60)[0]
    at = position & 0xFFFFFFFF
    length, crc = struct.unpack_from("<II", data, at)
    assert (length, data[at + 8 : at + 24], data[at + 40]) == (5, session, KIND_SESSION_STARTED)
    assert data[at + 48 : at + 53] == b"hello"
    assert crc == zlib.crc32(data[at + 8 : at + 53])


def test_a_reader_follows_over_segments_and_resumes_anywhere(tape: Tape, directory: Path) -> None:
    session = uuid.uuid4().bytes
    handle = tape.open_session(session, b"{}")
    reader = TapeReader(directory, session=session)
    seen = reader.read()
    for n in range(40):
        handle.event(bytes([n]) * 300_000)
        if n % 7 == 0:
            seen += reader.read()
            reader = TapeReader(directory, reader.position, session=session)
    while batch := reader.read(max_frames=3):
        assert len(batch) <= 3
        seen += batch
    assert [f[1] for f in seen] == list(range(41))
    assert [f[5][:1] for f in seen[1:]] == [bytes([n]) for n in range(40)]
    assert len(list(directory.glob("*.tape"))) >= 3
    assert reader.read() == []


def test_every_segment_begins_with_the_sessions_that_are_open(tape: Tape, directory: Path) -> None:
    still_open, over = uuid.uuid4().bytes, uuid.uuid4().bytes
    tape.open_session(over, b"{}").end(b"{}")
    handle = tape.open_session(still_open, b"{}")
    for _ in range(9):
        handle.event(bytes(1 << 20))
    rosters = [f[5] for f in read_all(directory) if f[2] == KIND_ROSTER]
    assert len(rosters) >= 3
    assert rosters[0] == b""
    for roster in rosters[1:]:
        assert roster[:16] == still_open
        assert len(roster) == 24


def test_a_closed_tape_needs_no_recovery_and_takes_nothing_more(directory: Path) -> None:
    tape = Tape(directory, segment_bytes=SMALLEST)
    session = tape.open_session(uuid.uuid4().bytes, b"{}")
    session.end(b"{}")
    with pytest.raises(TapeError, match="closed"):
        session.event(b"late")
    tape.close()
    tape.close()
    with pytest.raises(TapeError, match="closed"):
        tape.record(b"{}")
    again = Tape(directory, segment_bytes=SMALLEST)
    assert again.recovery is None
    again.close()
    assert not list(directory.glob("*.tmp"))


def test_two_recorders_never_share_a_tape(tape: Tape, directory: Path) -> None:
    with pytest.raises(TapeError, match="another process is recording"):
        Tape(directory, segment_bytes=SMALLEST)


@pytest.mark.parametrize("size", [0, 4096, SMALLEST + 1, 2 << 30])
def test_a_senseless_segment_size_is_refused(directory: Path, size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4096"):
        Tape(directory, segment_bytes=size)


def test_a_frame_of_more_than_a_mebibyte_is_refused(tape: Tape) -> None:
    with pytest.raises(TapeError, match="1 MiB"):
        tape.record(bytes((1 << 20) + 1))


WRITER = """
import sys, uuid
from pgwitness._core import Tape
tape = Tape(sys.argv[1], segment_bytes=4 << 20)
ended = tape.open_session(bytes([1]) * 16, b"{}")
ended.end(b"{}")
handle = tape.open_session(bytes([2]) * 16, b"{}")
n = 0
while True:
    handle.event(n.to_bytes(8, "big") * 500)
    print(n, flush=True)
    n += 1
"""


def test_all_that_was_appended_survives_kill_9(directory: Path) -> None:
    script = textwrap.dedent(WRITER)
    with subprocess.Popen([sys.executable, "-c", script, directory], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last >= 2500:
                break
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        last = int(rest[-1]) if rest else last
    tape = Tape(directory, segment_bytes=SMALLEST)
    recovery = tape.recovery
    assert recovery is not None
    [(session, following)] = recovery.open_sessions
    assert session == bytes([2]) * 16
    assert following >= last + 2
    tape.end_interrupted(session, b'{"reason":"interrupted"}')
    tape.close()
    frames = frames_of(directory, session)
    assert [sequence for sequence, _, _ in frames] == list(range(following + 1))
    assert [payload[:8] for _, kind, payload in frames if kind == KIND_EVENT] == [
        n.to_bytes(8, "big") for n in range(following - 1)
    ]
    assert frames[-1][1] == KIND_SESSION_ENDED


def written(directory: Path, payloads: list[bytes]) -> tuple[Path, list[Frame]]:
    """A tape whose recorder died after these events of one session; its only segment and its frames."""
    script = "import sys, os, ast\nfrom pgwitness._core import Tape\n" + textwrap.dedent("""
        tape = Tape(sys.argv[1], segment_bytes=4 << 20)
        handle = tape.open_session(bytes([7]) * 16, b"{}")
        for payload in ast.literal_eval(sys.argv[2]):
            handle.event(payload)
        os.kill(os.getpid(), 9)
    """)
    subprocess.run([sys.executable, "-c", script, directory, repr(payloads)], check=False)
    return directory / "0000000001.tape", read_all(directory)


def test_a_torn_tail_is_discarded_counted_and_everything_before_it_kept(directory: Path) -> None:
    segment, frames = written(directory, [b"one", b"two", b"three"])
    pristine = segment.read_bytes()
    last = frames[-1][4] & 0xFFFFFFFF
    end = last + 48 + len(b"three")
    for cut in range(last, end):
        # What stands there when a copy stopped here; in the worst case with the length, stored last.
        segment.write_bytes(pristine[:cut] + bytes(len(pristine) - cut))
        for other in directory.glob("*.tape"):
            if other != segment:
                other.unlink()
        tape = Tape(directory, segment_bytes=SMALLEST)
        recovery = tape.recovery
        assert recovery is not None
        assert (recovery.segment, recovery.offset) == (1, last)
        assert recovery.discarded_bytes <= cut - last
        assert (recovery.discarded_bytes > 0) == any(pristine[last:cut])
        if recovery.discarded_bytes:
            assert pristine[last:cut].startswith(segment.with_suffix(".torn").read_bytes())
        assert recovery.open_sessions == [(bytes([7]) * 16, 3)]
        tape.end_interrupted(bytes([7]) * 16, b"{}")
        tape.close()
        assert [f[5] for f in read_all(directory, session=bytes([7]) * 16)] == [b"{}", b"one", b"two", b"{}"]


def test_a_segment_whose_header_never_reached_the_disk_is_given_up(directory: Path) -> None:
    written(directory, [b"one"])
    lost = directory / "0000000002.tape"
    lost.write_bytes(bytes(64) + b"x" + bytes(1000))
    tape = Tape(directory, segment_bytes=SMALLEST)
    recovery = tape.recovery
    assert recovery is not None
    assert (recovery.segment, recovery.discarded_bytes) == (1, 65)
    tape.close()
    assert [f[5] for f in read_all(directory, session=bytes([7]) * 16)] == [b"{}", b"one"]


def test_every_flipped_byte_of_a_frame_shows_to_a_reader(directory: Path) -> None:
    segment, frames = written(directory, [b"UPDATE orders", b"COMMIT"])
    pristine = segment.read_bytes()
    at = frames[-2][4] & 0xFFFFFFFF
    for offset in range(at, at + 48 + len(b"UPDATE orders")):
        flipped = bytearray(pristine)
        flipped[offset] ^= 0x40
        segment.write_bytes(flipped)
        with pytest.raises(TapeCorrupt, match=rf"segment 1, offset {at}"):
            read_all(directory)


def test_what_stands_before_a_bad_frame_is_read_first(directory: Path) -> None:
    segment, frames = written(directory, [b"one", b"two", b"three"])
    at = frames[-1][4] & 0xFFFFFFFF
    spoiled = bytearray(segment.read_bytes())
    spoiled[at + 50] ^= 1
    segment.write_bytes(spoiled)
    reader = TapeReader(directory)
    assert [frame[5] for frame in reader.read()] == [frame[5] for frame in frames[:-1]]
    for _ in range(2):
        with pytest.raises(TapeCorrupt, match=f"offset {at}"):
            reader.read()


def test_a_hole_costs_only_what_was_in_it(directory: Path) -> None:
    segment, frames = written(directory, [b"one", b"two", b"three"])
    at, behind = (frame[4] & 0xFFFFFFFF for frame in frames[-2:])
    holed = bytearray(segment.read_bytes())
    holed[at:behind] = bytes(behind - at)
    segment.write_bytes(holed)
    tape = Tape(directory, segment_bytes=SMALLEST)
    recovery = tape.recovery
    assert recovery is not None
    assert recovery.discarded_bytes == behind - at
    assert recovery.open_sessions == [(bytes([7]) * 16, 4)], "what stands behind the hole counts"
    tape.close()
    assert b"three" in segment.read_bytes()
    reader = TapeReader(directory)
    assert [frame[5] for frame in reader.read()] == [frame[5] for frame in frames[:-2]]
    with pytest.raises(TapeCorrupt, match=f"offset {at}: frames are missing"):
        reader.read()


def test_a_missing_segment_shows_to_a_reader(directory: Path) -> None:
    tape = Tape(directory, segment_bytes=SMALLEST)
    handle = tape.open_session(uuid.uuid4().bytes, b"{}")
    for _ in range(12):
        handle.event(bytes(1 << 20))
    tape.close()
    (directory / "0000000002.tape").unlink()
    with pytest.raises(TapeCorrupt, match="segment 2 is missing"):
        read_all(directory)


def test_a_file_that_is_no_segment_is_refused(directory: Path) -> None:
    directory.mkdir()
    (directory / "0000000001.tape").write_bytes(b"something else" * 100)
    with pytest.raises(TapeCorrupt, match="not a segment"):
        read_all(directory)
    with pytest.raises(TapeError, match="not a segment"):
        Tape(directory, segment_bytes=SMALLEST)


def test_a_removed_tape_takes_no_new_session(tape: Tape, directory: Path) -> None:
    tape.open_session(uuid.uuid4().bytes, b"{}")
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    with pytest.raises(TapeError, match="removed"):
        for _ in range(1000):
            tape.open_session(uuid.uuid4().bytes, b"{}")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_refuses_frames_and_takes_them_again_once_there_is_room(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", tmp_path], check=True)
    try:
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(5 << 20))
        tape = Tape(tmp_path / "tape", segment_bytes=SMALLEST)
        session = uuid.uuid4().bytes
        handle = tape.open_session(session, b"{}")
        accepted = 0
        with pytest.raises(TapeError, match="No space left"):
            for _ in range(20):
                handle.event(bytes(1 << 20))
                accepted += 1
        with pytest.raises(TapeError):
            handle.event(bytes(1 << 20))
        ballast.unlink()
        for _ in range(100):
            try:
                handle.event(b"room again")
                break
            except TapeError:
                signal.sigtimedwait([], 0.02)
        tape.close()
        frames = frames_of(tmp_path / "tape", session)
        assert [sequence for sequence, _, _ in frames] == list(range(accepted + 2))
        assert frames[-1][2] == b"room again"
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=200)), max_size=60),
    st.integers(1, 10),
    st.sampled_from(["process", "disk"]),
)
def test_reading_gives_exactly_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, bytes]], step: int, durability: str
) -> None:
    directory = tmp_path_factory.mktemp("tape")
    tape = Tape(directory, segment_bytes=SMALLEST, durability="disk" if durability == "disk" else "process")
    ids = [bytes([n + 1]) * 16 for n in range(4)]
    handles = [tape.open_session(session, b"{}") for session in ids]
    for who, payload in events:
        handles[who].event(payload)
    reader = TapeReader(directory)
    frames: list[Frame] = []
    while batch := reader.read(max_frames=step):
        frames += batch
    tape.close()
    assert [(f[0], f[5]) for f in frames if f[2] == KIND_EVENT] == [(ids[who], data) for who, data in events]
