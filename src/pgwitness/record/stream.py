"""The frames of one session as one stream of bytes, to be read elsewhere.

A head of 24 bytes: magic ``PGWF``, version (u32, little-endian as all of it), session id (16). Then pieces: a
length (u32) and that many bytes, the plain form of frames that follow each other (docs/record-format.md,
Objects and segments). A length of zero ends it, so that a stream that was cut off is known as such.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import IO

from pgwitness.errors import RecordBroken
from pgwitness.record.chunks import MAX_PLAIN, Frame, join, split

_MAGIC, _VERSION = b"PGWF", 1
_HEAD = struct.Struct("<4sI16s")
_LENGTH = struct.Struct("<I")
_FRAMES, _BYTES = 512, 1 << 20


def pack(session: bytes, frames: Iterable[Frame]) -> Iterator[bytes]:
    """Of one session's frames in their order; sequences may have gaps."""
    yield _HEAD.pack(_MAGIC, _VERSION, session)
    waiting: list[Frame] = []
    size = 0
    for frame in frames:
        if waiting and (
            frame[1] != waiting[-1][1] + 1 or len(waiting) >= _FRAMES or size + len(frame[5]) > _BYTES
        ):
            yield from _piece(waiting)
            waiting, size = [], 0
        waiting.append(frame)
        size += len(frame[5])
    if waiting:
        yield from _piece(waiting)
    yield _LENGTH.pack(0)


def _piece(frames: list[Frame]) -> Iterator[bytes]:
    plain = join(frames)
    yield _LENGTH.pack(len(plain))
    yield plain


def unpack(file: IO[bytes]) -> Iterator[Frame]:
    """Raises RecordBroken for what is no such stream, or not all of it."""
    magic, version, session = _HEAD.unpack(_exactly(file, _HEAD.size))
    if magic != _MAGIC or version != _VERSION:
        raise RecordBroken("that is not a stream of frames of this version")
    while length := _LENGTH.unpack(_exactly(file, _LENGTH.size))[0]:
        if length > MAX_PLAIN:
            raise RecordBroken("a piece of the stream of frames is too long")
        yield from split(session, _exactly(file, length))


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise RecordBroken("the stream of frames was cut off")
    return data
