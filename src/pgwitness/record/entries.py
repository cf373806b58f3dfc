"""The entries of the log (docs/record-format.md, Entries) as JSON. An entry's bytes count, not what they
decode to."""

import uuid
from hashlib import sha256
from typing import Any

import msgspec

from pgwitness.errors import RecordBroken

VERSION = 1
MAX_BYTES = 0xFFFF
LARGEST_PAYLOAD = 32 << 10
"""Of an event inside its entry."""
ERASED = "session_erased"
"""The one event that verification acts on."""

Span = tuple[int, int]
"""First and last."""


class Stored(msgspec.Struct, frozen=True):
    """Where an object is, and what it is."""

    segment: int
    offset: int
    length: int
    sha256: str

    @classmethod
    def of(cls, segment: int, offset: int, data: bytes) -> "Stored":
        return cls(segment, offset, len(data), sha256(data).hexdigest())


class Session(msgspec.Struct, frozen=True, tag="session", tag_field="type", kw_only=True):
    v: int = VERSION
    session: str
    n: int = 0
    previous: None = None
    position: int
    time: int
    slot: int | None
    wrapped: bool
    identity: str | None
    kind: str | None
    connection: str | None
    database: str | None


class Chunk(msgspec.Struct, frozen=True, tag="chunk", tag_field="type", kw_only=True):
    v: int = VERSION
    session: str
    n: int
    previous: str
    sequence: Span
    position: Span
    time: Span
    frames: int
    length: int
    commitment: str
    stored: Stored


class End(msgspec.Struct, frozen=True, tag="end", tag_field="type", kw_only=True):
    v: int = VERSION
    session: str
    n: int
    previous: str
    sequence: int
    position: int
    time: int
    reason: str
    detail: str | None
    chunks: int
    frames: int


class Gap(msgspec.Struct, frozen=True, tag="gap", tag_field="type", kw_only=True):
    v: int = VERSION
    session: str | None
    n: int | None
    previous: str | None
    sequence: Span | None
    position: Span
    time: int
    text: str


class Event(msgspec.Struct, frozen=True, tag="event", tag_field="type", kw_only=True):
    v: int = VERSION
    sequence: int
    position: int
    time: int
    event: str
    payload: str | None
    stored: Stored | None

    @property
    def document(self) -> dict[str, Any]:
        """The payload, empty if it is stored elsewhere or is no JSON object."""
        try:
            return msgspec.json.decode(self.payload or "{}", type=dict[str, Any])
        except msgspec.DecodeError:
            return {}


Entry = Session | Chunk | End | Gap | Event
InChain = Session | Chunk | End | Gap


class _Head(msgspec.Struct):
    v: int
    type: str


_decoder = msgspec.json.Decoder(Entry)
_encoder = msgspec.json.Encoder()


def encode(entry: Entry) -> bytes:
    data = _encoder.encode(entry)
    if len(data) > MAX_BYTES:
        raise RecordBroken(f"an entry of {len(data)} bytes does not fit the log")
    return data


def decode(data: bytes) -> Entry:
    """Raises RecordBroken."""
    try:
        entry: Entry = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _explain(data)
        raise RecordBroken(f"it is no entry: {error}") from None
    if entry.v != VERSION:
        _explain(data)
    return entry


def session_text(session: bytes) -> str:
    return str(uuid.UUID(bytes=session))


def session_bytes(session: str) -> bytes:
    """Raises RecordBroken."""
    try:
        data = bytes.fromhex(session.replace("-", ""))
    except ValueError:
        data = b""
    if len(data) != 16 or len(session) != 36:
        raise RecordBroken(f"{session!r} is no session id")
    return data


def _explain(data: bytes) -> None:
    """Raise if it is of a version that this program does not know."""
    try:
        head = msgspec.json.decode(data, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if head.v != VERSION:
        raise RecordBroken(
            f"it is of version {head.v} of the format, and this pgwitness knows {VERSION}",
            hint="verify with a newer pgwitness",
        )
