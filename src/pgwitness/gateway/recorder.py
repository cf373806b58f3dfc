"""The gateway's hold on the tape: what is written there beside the wire, as JSON (docs/tape-format.md).

Nothing that passes here may be a secret: no passwords, tokens, SASL messages or cancel keys.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from pgwitness._core import SessionTape, Tape, TapeError
from pgwitness.errors import RecordUnwritable

if TYPE_CHECKING:
    from pgwitness._core import Durability

log = structlog.get_logger("pgwitness.recorder")

REFUSALS_A_SECOND: Final = 20
REFUSALS_AT_ONCE: Final = 200


class Recorder:
    """Opens the tape, recovers what a crash left, and appends events of the gateway."""

    def __init__(self, directory: Path, *, segment_bytes: int, durability: Durability) -> None:
        """Raises TapeError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.tape = Tape(directory, segment_bytes=segment_bytes, durability=durability)
        self._refusals = Throttle(REFUSALS_A_SECOND, REFUSALS_AT_ONCE)

    def started(self, version: str, settings: dict[str, Any]) -> None:
        """Record this start, and the ends of the sessions that the last recorder could not end.
        Raises TapeError.
        """
        self.record({"event": "started", "version": version, "pid": os.getpid(), "settings": settings})
        recovery = self.tape.recovery
        if recovery is None:
            return
        self.record(
            {
                "event": "recovered",
                "segment": recovery.segment,
                "offset": recovery.offset,
                "discarded_bytes": recovery.discarded_bytes,
                "open_sessions": [str(uuid.UUID(bytes=session)) for session, _ in recovery.open_sessions],
            }
        )
        end = session_end("interrupted", "the gateway stopped without ending the session", None, None)
        for session, _ in recovery.open_sessions:
            self.tape.end_interrupted(session, end)
        log.warning(
            "recovered", discarded_bytes=recovery.discarded_bytes, interrupted=len(recovery.open_sessions)
        )

    def record(self, event: dict[str, Any]) -> None:
        """Raises TapeError."""
        self.tape.record(encode(event))

    def note(self, event: dict[str, Any]) -> None:
        """Record what must not fail its caller; the log says when it could not be recorded."""
        try:
            self.record(event)
        except TapeError as error:
            log.error("event_not_recorded", event_name=event["event"], error=str(error))

    def refused(self, event: dict[str, Any]) -> None:
        """As ``note``, for what a stranger can cause: a flood is counted instead of filling the disk."""
        suppressed = self._refusals.take(time.monotonic())
        if suppressed is None:
            return
        self.note({**event, "suppressed_before": suppressed} if suppressed else event)

    def open_session(self, session: uuid.UUID, header: dict[str, Any]) -> SessionTape:
        """Raises RecordUnwritable: without a header on the tape there is no session."""
        try:
            return self.tape.open_session(session.bytes, encode(header))
        except TapeError as error:
            log.error("session_not_recorded", error=str(error))
            raise RecordUnwritable(
                "the session cannot be recorded, so it is not opened",
                hint="The administrator sees the reason in the gateway's log.",
            ) from error

    def close(self) -> None:
        """Record ``stopped`` as the last frame."""
        self.note({"event": "stopped"})
        self.tape.close()


class Throttle:
    """A token bucket that counts what it held back."""

    __slots__ = ("_at", "_burst", "_held", "_left", "_rate")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._left = float(burst)
        self._at = 0.0
        self._held = 0

    def take(self, now: float) -> int | None:
        """How many were held back since the last one that passed, or None: hold this one back too."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self._held += 1
            return None
        self._left -= 1
        held, self._held = self._held, 0
        return held


def session_end(reason: str, detail: str | None, client_bytes: int | None, server_bytes: int | None) -> bytes:
    """Payload of a ``session ended`` frame."""
    return encode(
        {"reason": reason, "detail": detail, "client_bytes": client_bytes, "server_bytes": server_bytes}
    )


def encode(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value)


def new_session_id() -> uuid.UUID:
    """UUID version 7 (RFC 9562): milliseconds since the epoch, then random; ids sort by time of start."""
    value = int.from_bytes(os.urandom(16), "big")
    value = value & ((1 << 80) - 1) | (time.time_ns() // 1_000_000) << 80
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
