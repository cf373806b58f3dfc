"""The tape as the indexer sees it: frames from a position on, and what is beyond repair named and passed
over.

A corrupt frame hides the rest of its segment, because frames are found by the lengths of those before them.
Reading then goes on in the next segment as soon as there is one; until then it waits, as the damage may be in
the segment being written.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from pgwitness._core import TapeCorrupt, TapeReader
from pgwitness.statements.assembler import Frame

SEGMENT_HEADER = 64
_FRAME_HEADER = 48
_END = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be read: from ``position`` to the segment's end."""

    position: int
    text: str


class TapeFollower:
    """Reads a tape and never gives up on it."""

    def __init__(self, directory: Path, position: int = 0) -> None:
        self._directory = directory
        self._reader = TapeReader(directory, position)
        self._suspect = False

    @property
    def position(self) -> int:
        return self._reader.position

    def read(self, max_frames: int, max_bytes: int) -> tuple[list[Frame], Damage | None]:
        """The next frames, [] at the live end. After damage the position is in the next segment, if there
        is one."""
        before = self._reader.position
        try:
            frames = self._reader.read(1 if self._suspect else max_frames, max_bytes)
        except TapeCorrupt as error:
            return self._around(before, str(error))
        self._suspect = self._suspect and bool(frames)
        return frames, None

    def _around(self, before: int, text: str) -> tuple[list[Frame], Damage | None]:
        if not self._suspect:
            # Frames before the damage may have been read with it: once more, one at a time.
            self._reader = TapeReader(self._directory, before)
            self._suspect = True
            return self.read(1, 1)
        self._suspect = False
        bad = max(before, SEGMENT_HEADER)
        following = [number for number in segments(self._directory) if number > bad >> 32]
        self._reader = TapeReader(
            self._directory, following[0] << 32 | SEGMENT_HEADER if following else before
        )
        return [], Damage(bad, text)


def segments(directory: Path) -> list[int]:
    """Numbers of the segments, ascending."""
    return sorted(int(path.stem) for path in directory.glob("*.tape") if path.stem.isdigit())


def last_segment(position: int) -> int:
    """The segment of what lies before ``position``: a reader at the end of one is at the head of the next,
    which may not be there yet."""
    return (position >> 32) - ((position & 0xFFFFFFFF) <= SEGMENT_HEADER)


def segment(directory: Path, number: int) -> Path:
    return directory / f"{number:010}.tape"


def instance(directory: Path, position: int) -> str:
    """Which start of the recorder wrote the segment of ``position``; empty if it is not there or shorter
    than that."""
    try:
        with segment(directory, position >> 32).open("rb") as file:
            header = file.read(SEGMENT_HEADER)
            length = file.seek(0, 2)
    except FileNotFoundError:
        return ""
    return header[24:40].hex() if len(header) == SEGMENT_HEADER and length >= position & 0xFFFFFFFF else ""


def bytes_after(directory: Path, position: int) -> int:
    """How much tape there is after ``position``."""
    total = 0
    numbers = [number for number in segments(directory) if number >= position >> 32]
    for number in numbers:
        start = max(position & 0xFFFFFFFF, SEGMENT_HEADER) if number == position >> 32 else SEGMENT_HEADER
        try:
            last = number == numbers[-1]
            end = _written(segment(directory, number), start) if last else _size(directory, number)
        except FileNotFoundError:
            continue
        total += max(0, end - start)
    return total


def first_time(directory: Path, position: int) -> int | None:
    """Time (ns) of the frame at ``position``, None if none is there yet."""
    try:
        with segment(directory, position >> 32).open("rb") as file:
            file.seek(max(position & 0xFFFFFFFF, SEGMENT_HEADER))
            header = file.read(_FRAME_HEADER)
    except FileNotFoundError:
        return None
    if len(header) < _FRAME_HEADER or header[:8] == bytes(8) or header[:4] == b"\xff\xff\xff\xff":
        return None
    time: int = struct.unpack_from("<Q", header, 32)[0]
    return time


def _size(directory: Path, number: int) -> int:
    return segment(directory, number).stat().st_size


def _written(path: Path, offset: int) -> int:
    """Where the last frame of a segment ends, looking from the frame at ``offset`` on."""
    with path.open("rb") as file:
        while True:
            file.seek(offset)
            length, checksum = struct.unpack("<II", file.read(8).ljust(8, b"\0"))
            if length == _END or not (length or checksum):
                return offset
            offset += _FRAME_HEADER + length + -length % 8
