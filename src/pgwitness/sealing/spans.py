"""The tape in spans: what all sessions did from one position to another, which is sealed together.

A span never leaves its segment and covers at most ``SPAN_BYTES`` of it. Readers of the record rely on that:
entries of one checkpoint are not in the order of the tape, but never further from it than a span.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pgwitness._core import KIND_ROSTER
from pgwitness.index.tape import Damage, TapeFollower
from pgwitness.record.chunks import NOBODY, Frame
from pgwitness.record.ordering import SPAN_BYTES

_FRAMES_A_READ = 8192
_BYTES_A_READ = 1 << 20


@dataclass(slots=True)
class Span:
    """Frames of the tape from ``start`` on, all below ``end``."""

    start: int
    end: int
    sessions: dict[bytes, list[Frame]] = field(default_factory=dict)
    """Frames by session, the sessions in the order of their first frame here."""
    events: list[Frame] = field(default_factory=list)
    """The recorder's own."""
    damage: list[tuple[Damage, int]] = field(default_factory=list)
    """What could not be read, and up to where."""
    full: bool = False
    """There may be more behind it at once."""

    @property
    def empty(self) -> bool:
        return not (self.sessions or self.events or self.damage)

    def take(self, frame: Frame) -> None:
        session = frame[0]
        if session != NOBODY:
            frames = self.sessions.get(session)
            if frames is None:
                self.sessions[session] = [frame]
            else:
                frames.append(frame)
        elif frame[2] != KIND_ROSTER:
            self.events.append(frame)


class Spans:
    """Cuts a tape into spans, from a position on."""

    def __init__(self, tape: Path, position: int) -> None:
        self._tape = TapeFollower(tape, position)
        self._left: list[Frame] = []
        """Read, but of the next span."""

    @property
    def position(self) -> int:
        """All below it was handed out."""
        return self._left[0][4] if self._left else self._tape.position

    def next(self) -> Span:
        """All there is up to the tape's live end, or a full span. Damage ends a span."""
        start = self.position
        span = Span(start, start)
        while not span.full:
            frames, damage = self._read()
            if damage is not None:
                if self._tape.position > damage.position:
                    span.damage.append((damage, self._tape.position))
                    span.full = True
                break
            if not frames:
                break
            self._fill(span, frames)
        span.end = self.position
        return span

    def _read(self) -> tuple[list[Frame], Damage | None]:
        if self._left:
            frames, self._left = self._left, []
            return frames, None
        return self._tape.read(_FRAMES_A_READ, _BYTES_A_READ)

    def _fill(self, span: Span, frames: list[Frame]) -> None:
        if span.empty:
            span.start = frames[0][4]
        limit = min(span.start + SPAN_BYTES, (span.start >> 32) + 1 << 32)
        if frames[-1][4] < limit:
            known = span.sessions.get
            for frame in frames:
                if bucket := known(frame[0]):
                    bucket.append(frame)
                else:
                    span.take(frame)
            return
        for at, frame in enumerate(frames):
            if frame[4] >= limit:
                self._left = frames[at:]
                span.full = True
                return
            span.take(frame)
