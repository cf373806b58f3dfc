"""The tape goes only where it is sealed and indexed, oldest first."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgwitness.index.tape import segments
from pgwitness.record.files import Files
from pgwitness.sealing.release import release
from support import tapes
from support.sealing import seal
from support.tape_files import CLIENT, STARTED, TapeWriter

ALL = 1 << 62


SESSION = tapes.session_id(1).bytes


def _write(writer: TapeWriter, segments: int) -> None:
    while writer.number < segments:
        writer.append(SESSION, CLIENT, 2, bytes(500))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[TapeWriter]:
    made = TapeWriter(tmp_path / "tape", segment_bytes=4096)
    made.append_json(SESSION, STARTED, 1, {"identity": "agent"})
    yield made
    made.file.close()


@pytest.fixture
def state(tmp_path: Path, writer: TapeWriter) -> Path:
    """Eight segments of one session."""
    _write(writer, 8)
    return tmp_path


def _release(state: Path, sealed: int = ALL, keep_seconds: float = 0) -> list[int]:
    gone = release(state, sealed, keep_seconds, Files())
    left = segments(state / "tape")
    assert left == list(range(left[0], left[-1] + 1)), "the tape has a hole"
    return gone


def test_what_is_sealed_and_indexed_goes_but_not_the_newest(state: Path) -> None:
    seal(state)
    tapes.index(state).close()
    assert _release(state) == [1, 2, 3, 4, 5, 6]
    assert _release(state) == []


def test_not_before_it_is_sealed(state: Path) -> None:
    tapes.index(state).close()
    assert _release(state, 0) == []
    assert _release(state, 4 << 32 | 4000) == [1, 2, 3]


def test_not_before_it_is_indexed(tmp_path: Path, writer: TapeWriter) -> None:
    _write(writer, 4)
    tapes.index(tmp_path).close()
    _write(writer, 8)
    seal(tmp_path)
    assert _release(tmp_path) == [1, 2, 3]
    tapes.index(tmp_path).close()
    assert _release(tmp_path) == [4, 5, 6]


def test_not_without_an_index(state: Path) -> None:
    seal(state)
    assert _release(state) == []


def test_not_before_its_time(state: Path) -> None:
    seal(state)
    tapes.index(state).close()
    assert _release(state, keep_seconds=3600) == []
    past = time.time() - 4000
    for number in (1, 2, 4):
        os.utime(state / "tape" / f"{number:010}.tape", (past, past))
    assert _release(state, keep_seconds=-1) == []
    assert _release(state, keep_seconds=3600) == [1, 2]
