"""Entries of no session's chain: events of the recorder, parts of the tape that cannot be read."""

import msgspec

from pgwitness.record.chunks import NOBODY, Frame, load, store
from pgwitness.record.entries import LARGEST_PAYLOAD, Event, Gap, encode
from pgwitness.record.log_reader import LogReader
from pgwitness.record.log_writer import LogWriter


class _Named(msgspec.Struct):
    event: str = "unnamed"


def add_event(log: LogWriter, frame: Frame) -> int:
    """A frame of the recorder, whole; the entry's index. Raises OSError."""
    _, sequence, _, time, position, payload = frame
    text = _text(payload)
    stored = log.store(store(NOBODY, 0, payload, None)) if text is None else None
    return log.add(
        encode(
            Event(
                sequence=sequence,
                position=position,
                time=time,
                event=_name(payload),
                payload=text,
                stored=stored,
            )
        )
    )


def add_damage(log: LogWriter, position: int, after: int, time: int, text: str) -> int:
    """The tape could not be read from ``position`` up to ``after``; the entry's index. Raises OSError."""
    return log.add(
        encode(
            Gap(
                session=None,
                n=None,
                previous=None,
                sequence=None,
                position=(position, after),
                time=time,
                text=text[:1000],
            )
        )
    )


def event_payload(log: LogReader, event: Event) -> bytes:
    """The frame's payload. Raises RecordBroken, OSError."""
    if event.payload is not None:
        return event.payload.encode()
    return load(log.object(event.stored), None) if event.stored is not None else b""


def _text(payload: bytes) -> str | None:
    """The payload if it fits into an entry, JSON's escapes included."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    fits = len(payload) <= LARGEST_PAYLOAD and len(msgspec.json.encode(text)) <= 2 * LARGEST_PAYLOAD - 1024
    return text if fits else None


def _name(payload: bytes) -> str:
    try:
        return msgspec.json.decode(payload, type=_Named).event[:100]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "unnamed"
