"""Chunks: frames of one session to bytes and back (docs/record-format.md, Objects and segments).

The plain form holds the frames by column. The stored form is the plain form compressed and encrypted, behind
a header that the encryption authenticates.
"""

import hmac
import os
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import sub

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pgwitness.errors import RecordBroken

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Frame = tuple[bytes, int, int, int, int, bytes]
"""(session id, sequence, kind, time in ns since the epoch, position, payload), as the tape has it."""

STARTED, ENDED, RECORDER = 1, 6, 7
"""Kinds of frames that the record knows (docs/tape-format.md)."""
NOBODY = bytes(16)
"""The session of the recorder."""

SECRET_BYTES = 32
MAX_PLAIN = 64 << 20
PLAIN, ZSTD = 0, 1
CLEAR, AES_256_GCM = 0, 1
LEVEL = 3

_MAGIC = b"PGWC"
_VERSION = 1
_HEADER = struct.Struct("<4sBBBx16sII12s")
HEADER_BYTES = _HEADER.size
_TAG = 16
_FIRST = struct.Struct("<IQQQ")


@dataclass(frozen=True, slots=True)
class Outline:
    """What a chunk's entry says of it."""

    sequence: tuple[int, int]
    position: tuple[int, int]
    time: tuple[int, int]
    frames: int


@dataclass(frozen=True, slots=True)
class Keys:
    """What is made from a session's secret."""

    encryption: bytes
    salt: bytes

    @classmethod
    def of(cls, secret: bytes) -> "Keys":
        return cls(_derive(secret, b"pgwitness/1 encryption"), _derive(secret, b"pgwitness/1 commitment"))

    def commit(self, plain: bytes) -> str:
        """Proves the content to who has the secret, and tells nothing to who has not."""
        return _derive(self.salt, plain).hex()


@dataclass(frozen=True, slots=True)
class Header:
    """The first bytes of an object."""

    compression: int
    encryption: int
    session: bytes
    n: int
    length: int
    nonce: bytes

    def pack(self) -> bytes:
        return _HEADER.pack(
            _MAGIC,
            _VERSION,
            self.compression,
            self.encryption,
            self.session,
            self.n,
            self.length,
            self.nonce,
        )


def join(frames: Sequence[Frame]) -> bytes:
    """The plain form of frames of one session. Raises RecordBroken if their sequences do not follow each
    other."""
    count = len(frames)
    _, sequences, kinds, times, positions, payloads = zip(*frames, strict=True)
    if sequences != tuple(range(sequences[0], sequences[0] + count)):
        raise RecordBroken("its frames are not in sequence")
    return b"".join(
        [
            _FIRST.pack(count, sequences[0], times[0], positions[0]),
            bytes(kinds),
            struct.pack(f"<{count}I", *map(len, payloads)),
            struct.pack(f"<{count}q", 0, *map(sub, times[1:], times)),
            struct.pack(f"<{count}q", 0, *map(sub, positions[1:], positions)),
            *payloads,
        ]
    )


def outline(plain: bytes) -> Outline:
    """Raises RecordBroken."""
    columns = _Columns(plain)
    count, sequence, time, position = columns.first
    return Outline(
        (sequence, sequence + count - 1),
        (position, position + sum(columns.positions)),
        (time, time + sum(columns.times)),
        count,
    )


def split(session: bytes, plain: bytes) -> list[Frame]:
    """Raises RecordBroken."""
    columns = _Columns(plain)
    _, sequence, time, position = columns.first
    frames = []
    at = columns.payloads
    times = accumulate(columns.times, initial=time)
    positions = accumulate(columns.positions, initial=position)
    next(times)
    next(positions)
    for kind, length in zip(columns.kinds, columns.lengths, strict=True):
        payload = plain[at : at + length]
        frames.append((session, sequence, kind, next(times), next(positions), payload))
        sequence, at = sequence + 1, at + length
    return frames


class _Columns:
    """The plain form taken apart. Differences, not sums, for who does not need each."""

    __slots__ = ("first", "kinds", "lengths", "payloads", "positions", "times")

    def __init__(self, plain: bytes) -> None:
        """Raises RecordBroken."""
        try:
            self.first: tuple[int, int, int, int] = _FIRST.unpack_from(plain)
            count = self.first[0]
            at = _FIRST.size
            self.kinds = plain[at : at + count]
            self.lengths = struct.unpack_from(f"<{count}I", plain, at := at + count)
            self.times = struct.unpack_from(f"<{count}q", plain, at := at + 4 * count)
            self.positions = struct.unpack_from(f"<{count}q", plain, at := at + 8 * count)
        except struct.error:
            raise RecordBroken("its frames are cut off") from None
        self.payloads = at + 8 * count
        if not count or self.payloads + sum(self.lengths) != len(plain):
            raise RecordBroken("its frames do not have the length that they say")


def store(
    session: bytes, n: int, plain: bytes, keys: Keys | None, random: Callable[[int], bytes] = os.urandom
) -> bytes:
    """The stored form. Without keys it is not encrypted, which is for events only."""
    if len(plain) > MAX_PLAIN:
        raise ValueError("a chunk is at most 64 MiB")
    encryption, nonce = (CLEAR, bytes(12)) if keys is None else (AES_256_GCM, random(12))
    packed = zstd.compress(plain, level=LEVEL)
    compression = ZSTD if len(packed) < len(plain) else PLAIN
    body = packed if compression == ZSTD else plain
    header = Header(compression, encryption, session, n, len(plain), nonce).pack()
    if keys is not None:
        body = AESGCM(keys.encryption).encrypt(nonce, body, header)
    return header + body


def parse_header(stored: bytes | memoryview) -> Header:
    """Raises RecordBroken."""
    if len(stored) < HEADER_BYTES:
        raise RecordBroken("it is cut off")
    magic, version, compression, encryption, session, n, length, nonce = _HEADER.unpack_from(stored)
    if magic != _MAGIC or stored[7]:
        raise RecordBroken("it is not a chunk")
    if version != _VERSION:
        raise RecordBroken(f"it is of version {version} of the format, and this pgwitness knows {_VERSION}")
    if compression not in (PLAIN, ZSTD) or encryption not in (CLEAR, AES_256_GCM) or length > MAX_PLAIN:
        raise RecordBroken("it is packed in a way that this pgwitness does not know")
    return Header(compression, encryption, session, n, length, nonce)


def load(stored: bytes | memoryview, keys: Keys | None) -> bytes:
    """The plain form. Raises RecordBroken, also when it is encrypted and there are no keys."""
    header = parse_header(stored)
    body: bytes | memoryview = stored[HEADER_BYTES:]
    if header.encryption == AES_256_GCM:
        if keys is None:
            raise RecordBroken("it is encrypted, and its session's secret is not here")
        if len(body) < _TAG:
            raise RecordBroken("it is cut off")
        try:
            body = AESGCM(keys.encryption).decrypt(header.nonce, body, bytes(stored[:HEADER_BYTES]))
        except InvalidTag:
            raise RecordBroken("its session's secret does not open it") from None
    plain = _unpack(body, header.length) if header.compression == ZSTD else bytes(body)
    if len(plain) != header.length:
        raise RecordBroken("it does not have the length that it says")
    return plain


def _unpack(body: bytes | memoryview, length: int) -> bytes:
    """No more than ``length`` bytes, whatever is packed in there."""
    unpacker = zstd.ZstdDecompressor()
    try:
        plain: bytes = unpacker.decompress(body, max_length=length + 1)
    except zstd.ZstdError as error:
        raise RecordBroken(f"it cannot be unpacked: {error}") from None
    if not unpacker.eof or unpacker.unused_data:
        raise RecordBroken("it does not have the length that it says")
    return plain


def _derive(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
