"""Erasures that are under way: what an event on the tape asks for, done once it is under a checkpoint.

They are kept in a file from before that checkpoint on until all is done, so that a restart does again what
was not. The tape itself is not changed: what is left of a session there goes with its segments, and those of
an erased session go as soon as they can.
"""

from pathlib import Path

import msgspec

from pgwitness.errors import RecordBroken
from pgwitness.index.tape import segments
from pgwitness.record.chunks import Frame
from pgwitness.record.entries import ERASED, session_bytes
from pgwitness.record.erasure import destroy_secret, drop_chunks
from pgwitness.record.files import Files, publish
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader


class _Asked(msgspec.Struct):
    """The event's document."""

    event: str
    session: str = ""
    position: tuple[int, int] = (0, 0)


class Erasure(msgspec.Struct):
    session: str
    first: int
    last: int
    """Positions of the tape between which the session was."""
    at: int
    """That of the event."""
    done: bool = False
    """In the record. Its frames may still be on the tape."""


class Erasures:
    """Those of one state directory."""

    def __init__(self, state: Path, layout: Layout, files: Files) -> None:
        self._path = state / "sealing" / "erasures"
        self._tape = state / "tape"
        self._layout = layout
        self._files = files
        self._pending = self._read()

    @property
    def tape(self) -> int:
        """The last segment of the tape that holds frames of an erased session, 0 if there is none."""
        return max((each.last >> 32 for each in self._pending if each.done), default=0)

    def note(self, frames: list[Frame]) -> None:
        """Events that are about to come under a checkpoint. Raises OSError."""
        found = [erasure for frame in frames if (erasure := _asked(frame))]
        if found:
            self._pending += found
            self._write()

    def carry_out(self, log: LogReader) -> None:
        """All whose event is under the log's checkpoint. Raises RecordBroken, OSError."""
        due = [each for each in self._pending if not each.done and each.at < log.checkpoint.tape]
        for each in due:
            session = session_bytes(each.session)
            destroy_secret(self._layout, session, self._files)
            drop_chunks(log, session, each.first, each.last, self._files)
            each.done = True
        oldest = min(segments(self._tape), default=0)
        left = [each for each in self._pending if not each.done or each.last >> 32 >= oldest]
        if due or len(left) < len(self._pending):
            self._pending = left
            self._write()

    def _read(self) -> list[Erasure]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Erasure])
        except FileNotFoundError:
            return []
        except msgspec.DecodeError as error:
            raise RecordBroken(f"{self._path} cannot be read: {error}") from None

    def _write(self) -> None:
        publish(self._files, {self._path: msgspec.json.encode(self._pending)})


def _asked(frame: Frame) -> Erasure | None:
    try:
        asked = msgspec.json.decode(frame[5], type=_Asked)
        session_bytes(asked.session)
    except (msgspec.DecodeError, UnicodeDecodeError, RecordBroken):
        return None
    if asked.event != ERASED:
        return None
    return Erasure(asked.session, *asked.position, at=frame[4])
