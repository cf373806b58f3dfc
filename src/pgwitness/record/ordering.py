"""The record read back in the order of the tape.

Entries are sealed span by span, and a span lies in one segment of the tape and covers at most ``SPAN_BYTES``
of it. So when an entry at position p has been met, no frame below p - ``SPAN_BYTES``, nor one of an earlier
segment, is still to come; and none is in an entry before one that lies that far below it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

import msgspec

from pgwitness.errors import RecordBroken
from pgwitness.record.chunks import ENDED, NOBODY, RECORDER, STARTED, Frame, Keys, load, split
from pgwitness.record.entries import (
    Chunk,
    End,
    Entry,
    Event,
    Gap,
    Session,
    decode,
    session_bytes,
    session_text,
)
from pgwitness.record.events import event_payload
from pgwitness.record.layout import TILE_WIDTH, Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.secrets import Secrets

SPAN_BYTES = 8 << 20
"""Of the tape, that one checkpoint adds at most: positions of frames sealed together differ by less."""

_position = itemgetter(4)


@dataclass(frozen=True, slots=True)
class Lost:
    """What cannot be read back, at a position of the tape."""

    position: int
    text: str


class SealedFrames:
    """The frames under a record's latest checkpoint. Rosters are not among them, as they are not sealed, nor
    is what a session did whose secret is not here, because it was erased or is somebody else's to read. Of
    all sessions' frames, one that only auditors can read has a first and a last that say what its entries
    do: it was, whose, when and how it ended."""

    def __init__(
        self, layout: Layout, start: int = 0, until: int | None = None, session: bytes | None = None
    ) -> None:
        """Those from position ``start`` on and below ``until``; of one session, or of all and the recorder.
        Raises RecordBroken if there is no record."""
        self._log = LogReader(layout)
        self._secrets = Secrets(layout)
        self._start = start
        self.end = self._log.checkpoint.tape if until is None else min(until, self._log.checkpoint.tape)
        self._session = session
        self._wanted = None if session is None else session_text(session)

    def __iter__(self) -> Iterator[list[Frame] | Lost]:
        """In the order of the tape, some thousand at a time; what is lost comes after the frames before it.
        Raises RecordBroken if entries cannot be read."""
        held: list[Frame] = []
        lost: list[Lost] = []
        due = 0
        for _, entry in self._log.entries(first_entry(self._log, self._start)):
            at = _at(entry)
            low = _lowest_after(at)
            if low >= self.end:
                break
            if low > due:
                held.sort(key=_position)
                ready = sum(frame[4] < low for frame in held)
                if ready:
                    yield held[:ready]
                    del held[:ready]
                yield from lost
                lost.clear()
                due = min(at + SPAN_BYTES, (at >> 32) + 1 << 32)
            found = self._frames(entry)
            if isinstance(found, Lost):
                lost.append(found)
            else:
                held += found
        held.sort(key=_position)
        if held:
            yield held
        yield from lost

    @property
    def share_left(self) -> float:
        """How much of the record is from ``start`` on, roughly: 0 to 1."""
        return 1 - first_entry(self._log, self._start) / self._log.size if self._log.size else 0.0

    def _frames(self, entry: Entry) -> list[Frame] | Lost:
        """Those that are wanted of an entry."""
        try:
            match entry:
                case Chunk() if self._wanted in (None, entry.session) and entry.position[1] >= self._start:
                    return self._within(self._chunk(entry))
                case Session() | End() if self._session is None and self._for_auditors(entry.session):
                    return self._within([_told(entry)])
                case Event() if self._session in (None, NOBODY):
                    payload = event_payload(self._log, entry)
                    frame = (NOBODY, entry.sequence, RECORDER, entry.time, entry.position, payload)
                    return self._within([frame])
                case Gap(session=None) if self._session is None and entry.position[1] > self._start:
                    return Lost(entry.position[0], entry.text)
        except (RecordBroken, OSError) as error:
            return Lost(_at(entry), f"the record cannot be read: {error}")
        return []

    def _chunk(self, entry: Chunk) -> list[Frame]:
        session = session_bytes(entry.session)
        secret = self._secrets.find(session)
        if secret is None:
            return []
        return split(session, load(self._log.object(entry.stored), Keys.of(secret)))

    def _for_auditors(self, session: str) -> bool:
        wrapped = self._log.layout.wrapped_secret(session).exists()
        return wrapped and self._secrets.find(session_bytes(session)) is None

    def _within(self, frames: list[Frame]) -> list[Frame]:
        if frames and self._start <= frames[0][4] and frames[-1][4] < self.end:
            return frames
        return [frame for frame in frames if self._start <= frame[4] < self.end]


def first_entry(log: LogReader, start: int) -> int:
    """Where to begin: no frame from position ``start`` on is in an entry before. Raises RecordBroken."""
    low = _lowest_after(start)
    # Of bundles 0 to ``first`` all begin too early; ``after`` does not, or there is none.
    first, after = 0, -(-log.size // TILE_WIDTH)
    while after - first > 1:
        middle = (first + after) // 2
        if _at(decode(log.raw_entry(middle * TILE_WIDTH))) < low:
            first = middle
        else:
            after = middle
    return first * TILE_WIDTH


def entries_between(log: LogReader, first: int, last: int) -> Iterator[Entry]:
    """All that have a frame from position ``first`` to ``last``, and more around. Raises RecordBroken."""
    for _, entry in log.entries(first_entry(log, first)):
        if _lowest_after(_at(entry)) > last:
            return
        yield entry


def _told(entry: Session | End) -> Frame:
    """A frame in place of one that cannot be read, with what is in clear. The two follow each other."""
    if isinstance(entry, Session):
        said = {name: getattr(entry, name) for name in ("identity", "kind", "connection", "database")}
        sequence, kind = 0, STARTED
    else:
        said = {"reason": entry.reason, "detail": entry.detail}
        sequence, kind = 1, ENDED
    payload = msgspec.json.encode(said)
    return session_bytes(entry.session), sequence, kind, entry.time, entry.position, payload


def _at(entry: Entry) -> int:
    """Position of the first frame of an entry."""
    return entry.position if isinstance(entry.position, int) else entry.position[0]


def _lowest_after(position: int) -> int:
    """The lowest position in a span that has something at ``position``."""
    return max(position >> 32 << 32, position - SPAN_BYTES)
