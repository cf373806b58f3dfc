"""All that was ever recorded, from a position on: frames of the tape and, where the tape was released, of the
sealed record. Who reads them sees no seam.
"""

from collections.abc import Iterator
from pathlib import Path

from pgwitness._core import TapeCorrupt, TapeReader
from pgwitness.errors import RecordBroken
from pgwitness.index.tape import SEGMENT_HEADER, Damage, TapeFollower, bytes_after, segments
from pgwitness.record.chunks import Frame
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.ordering import Lost, SealedFrames

_FRAME_HEADER = 48


class FrameFollower:
    """Reads tape and record as one, and never gives up on them."""

    def __init__(self, tape: Path, position: int = 0) -> None:
        """The record is beside the tape, if there is one."""
        self._directory = tape
        self._layout = record_beside(tape)
        self._tape = TapeFollower(tape, position)
        self._sealed: Iterator[list[Frame] | Lost] | None = None
        self._frames: list[Frame] = []
        self._position = self._until = position
        self._go_on_in_record(position)

    @property
    def position(self) -> int:
        return self._tape.position if self._sealed is None else self._position

    def read(self, max_frames: int, max_bytes: int) -> tuple[list[Frame], Damage | None]:
        """The next frames, [] at the tape's live end; or what could not be read."""
        if self._sealed is not None:
            return self._read_sealed(max_frames)
        before = self._tape.position
        frames, damage = self._tape.read(max_frames, max_bytes)
        if damage is not None and self._go_on_in_record(before):
            # It was released while we read elsewhere.
            return self._read_sealed(max_frames)
        return frames, damage

    def _read_sealed(self, max_frames: int) -> tuple[list[Frame], Damage | None]:
        assert self._sealed is not None
        while not self._frames:
            try:
                found = next(self._sealed, None)
            except RecordBroken as error:
                damage = Damage(max(self._position, SEGMENT_HEADER), str(error))
                self._go_on_in_tape()
                return [], damage
            if isinstance(found, Lost):
                self._position = max(self._position, found.position + 1)
                return [], Damage(found.position, found.text)
            if found is None:
                self._go_on_in_tape()
                return self.read(max_frames, 1 << 20)
            self._frames = found
        frames, self._frames = self._frames[:max_frames], self._frames[max_frames:]
        self._position = _after(frames[-1])
        return frames, None

    def _go_on_in_record(self, position: int) -> bool:
        """Whether the tape does not have it, and the record has."""
        until = _released(self._directory, self._layout, position)
        if until is None:
            return False
        self._until = until
        self._position = position
        self._sealed = iter(SealedFrames(self._layout, position, until))
        return True

    def _go_on_in_tape(self) -> None:
        self._sealed = None
        self._tape = TapeFollower(self._directory, self._until)


def session_frames(tape: Path, session: bytes, position: int, until: int) -> Iterator[Frame]:
    """Frames of one session from ``position`` to ``until``, that included. What cannot be read is left out of
    what the record has, and raises TapeCorrupt on the tape."""
    layout = record_beside(tape)
    released = _released(tape, layout, position)
    if released is not None:
        for found in SealedFrames(layout, position, min(released, until + 1), session):
            if not isinstance(found, Lost):
                yield from found
        position = released
    if position > until:
        return
    reader = TapeReader(tape, position, session=session)
    try:
        while frames := reader.read(max_frames=256):
            for frame in frames:
                yield frame
                if frame[4] >= until:
                    return
                position = _after(frame)
    except TapeCorrupt:
        if _released(tape, layout, position) is None:
            raise
        # It was released while we read.
        yield from session_frames(tape, session, position, until)


def bytes_left(tape: Path, position: int) -> int:
    """How much there is to read from ``position`` on; where the tape was released, in bytes of the record."""
    layout = record_beside(tape)
    released = _released(tape, layout, position)
    if released is None:
        return bytes_after(tape, position)
    share = SealedFrames(layout, position, released).share_left
    sealed = sum(path.stat().st_size for path in layout.segments.glob("*.chunks"))
    return int(sealed * share) + bytes_after(tape, released)


def record_beside(tape: Path) -> Layout:
    return Layout(tape.with_name("record"))


def _released(tape: Path, layout: Layout, position: int) -> int | None:
    """Up to where the record has what the tape has no longer, from ``position`` on; None where the tape has
    it."""
    present = segments(tape)
    number = max(position >> 32, 1)
    if (present and number >= present[0]) or not layout.checkpoint.exists():
        return None
    try:
        sealed = LogReader(layout).checkpoint.tape
    except RecordBroken:
        return None
    until = min(sealed, present[0] << 32 | SEGMENT_HEADER) if present else sealed
    return until if until > position else None


def _after(frame: Frame) -> int:
    """Where the tape goes on behind it."""
    length = len(frame[5])
    return frame[4] + _FRAME_HEADER + length + -length % 8
