"""The tape written and read in Python, from docs/tape-format.md alone: a second opinion on the format, and
tapes for tests."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = 64
FRAME = struct.Struct("<II16sQQB7x")
LARGEST = 1 << 20
END = 0xFFFFFFFF
ZERO = bytes(16)

STARTED, CLIENT, SERVER, ELIDED, EVENT, ENDED, RECORDER, ROSTER = range(1, 9)

Frame = tuple[bytes, int, int, int, int, bytes]


class CorruptError(Exception):
    """As _core.TapeCorrupt."""


class TapeWriter:
    """Appends frames. ``close`` cuts the last segment to its length; until then it has zeroes at its end."""

    def __init__(
        self, directory: Path, *, segment_bytes: int = 1 << 20, instance: bytes = b"\x07" * 16
    ) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.instance = instance
        self.open: dict[bytes, int] = {}
        self.recorded = 0
        self.number = 0
        directory.mkdir(parents=True, exist_ok=True)
        for path in directory.glob("*.tape"):
            self.number = max(self.number, int(path.stem))
        self._start_segment(0)

    def append(self, session: bytes, kind: int, time: int, payload: bytes) -> int:
        """A frame's position. Sessions are numbered by themselves."""
        if session == ZERO:
            sequence = self.recorded
            self.recorded += 1
        else:
            sequence = self.open.get(session, 0)
            self.open[session] = sequence + 1
        if kind == ENDED:
            del self.open[session]
        if self.offset + FRAME.size + _padded(len(payload)) > self.segment_bytes:
            self._finish_segment()
            self._start_segment(time)
        return self._put(session, sequence, kind, time, payload)

    def append_json(self, session: bytes, kind: int, time: int, document: dict[str, Any]) -> int:
        return self.append(session, kind, time, json.dumps(document).encode())

    def close(self) -> None:
        self.file.truncate(self.offset)
        self.file.close()

    def crash(self) -> None:
        """Stop where it is."""
        self.file.close()

    def _put(self, session: bytes, sequence: int, kind: int, time: int, payload: bytes) -> int:
        position = self.number << 32 | self.offset
        rest = FRAME.pack(0, 0, session, sequence, time, kind)[8:] + payload
        frame = struct.pack("<II", len(payload), zlib.crc32(rest)) + rest
        self.file.seek(self.offset)
        self.file.write(frame)
        self.file.flush()
        self.offset += FRAME.size + _padded(len(payload))
        return position

    def _start_segment(self, time: int) -> None:
        self.number += 1
        self.file = (self.directory / f"{self.number:010}.tape").open("wb")
        self.file.truncate(self.segment_bytes)
        head = struct.pack("<8sIIQ16s20x", b"PGWTAPE1", 1, self.number, time, self.instance)
        self.file.write(head + struct.pack("<I", zlib.crc32(head)))
        self.offset = HEADER
        roster = b"".join(id + struct.pack("<Q", sequence) for id, sequence in self.open.items())
        self._put(ZERO, self.recorded, ROSTER, time, roster)
        self.recorded += 1

    def _finish_segment(self) -> None:
        if self.segment_bytes - self.offset >= 4:
            self.file.seek(self.offset)
            self.file.write(struct.pack("<I", END))
        self.file.close()


class TapeReader:
    """As _core.TapeReader."""

    def __init__(self, directory: Path, position: int = 0, *, session: bytes | None = None) -> None:
        self.directory = Path(directory)
        self.position = position
        self.session = session

    def read(self, max_frames: int = 4096, max_bytes: int = 1 << 20) -> list[Frame]:
        frames: list[Frame] = []
        size = 0
        for frame in self._frames():
            if self.session in (None, frame[0]):
                frames.append(frame)
                size += len(frame[5])
            if len(frames) >= max_frames or size >= max_bytes:
                break
        return frames

    def _frames(self) -> Iterator[Frame]:
        if self.position == 0:
            numbers = sorted(int(path.stem) for path in self.directory.glob("*.tape"))
            if not numbers:
                return
            self.position = numbers[0] << 32 | HEADER
        while True:
            number, offset = self.position >> 32, max(self.position & 0xFFFFFFFF, HEADER)
            path = self.directory / f"{number:010}.tape"
            if not path.exists():
                return
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            following = (self.directory / f"{number + 1:010}.tape").exists()
            at = 0
            ended = False
            while not ended:
                head = data[at : at + FRAME.size]
                if len(head) < FRAME.size:
                    ended = True
                elif head[:8] == bytes(8):
                    if following:
                        ended = True
                    else:
                        return
                elif head[:4] == b"\xff\xff\xff\xff":
                    ended = True
                else:
                    length, checksum, session, sequence, time, kind = FRAME.unpack(head)
                    payload = data[at + FRAME.size : at + FRAME.size + length]
                    if length > LARGEST or zlib.crc32(data[at + 8 : at + FRAME.size + length]) != checksum:
                        raise CorruptError(f"segment {number} offset {offset + at}: checksum")
                    at += FRAME.size + _padded(length)
                    self.position = number << 32 | (offset + at)
                    yield (
                        session,
                        sequence,
                        kind,
                        time,
                        number << 32 | (offset + at - FRAME.size - _padded(length)),
                        payload,
                    )
            if not following:
                return
            self.position = (number + 1) << 32 | HEADER


def _padded(length: int) -> int:
    return -length % 8 + length
