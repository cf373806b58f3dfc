"""Frames in, rows out: reads the tape a batch at a time (where it was released, the sealed record) and writes
each batch in one transaction.

The same tape gives the same rows, whatever the batches and wherever the follower was stopped. Now and then it
stores a snapshot: a position and what it knew of each open session there. A restart reads on from the last
snapshot and replaces the rows that came after it by the same rows. Memory holds one batch and the state of
open sessions.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pgwitness._core import KIND_RECORDER, KIND_ROSTER, KIND_SESSION_STARTED
from pgwitness.index import times
from pgwitness.index.batch import Batch
from pgwitness.index.discretion import withhold, withhold_event
from pgwitness.index.erased import ERASED, erased_row
from pgwitness.index.frames import FrameFollower
from pgwitness.index.rows import to_row
from pgwitness.index.tape import Damage, instance
from pgwitness.index.tracked import Tracked
from pgwitness.index.writer import IndexWriter, Resume
from pgwitness.statements.assembler import Frame, SessionAssembler
from pgwitness.statements.model import (
    Event,
    SessionEnded,
    SessionEvent,
    SessionStarted,
    Statement,
    StatementRecorded,
    TransactionSettled,
)

_HEADER_COLUMNS = ("identity", "kind", "on_behalf_of", "connection", "database", "user")
_SECOND = 1_000_000_000
_PROBLEMS = frozenset({"sequence_gap", "malformed"})


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at a time."""

    rows: int = 4000
    """A batch is written once it has that many."""
    seconds: float = 0.25
    """Or is that old."""
    frames: int = 2048
    bytes: int = 1 << 20
    """Of one read. It bounds how far a batch may exceed ``rows``."""
    snapshot_seconds: float = 3.0
    show_after_seconds: float = 1.0
    """A statement that runs for longer is shown unfinished."""


class Follower:
    """Fills one index from one tape."""

    def __init__(
        self,
        tape: Path,
        writer: IndexWriter,
        pace: Pace | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._directory = tape
        self._writer = writer
        self._pace = pace or Pace()
        self._clock = clock
        resume = writer.resume()
        self._tape = FrameFollower(tape, resume.position)
        self._numbered = writer.last_session()
        self._known = writer.position()
        self._open = {
            session: Tracked.restore(number, session, state)
            for number, (session, state) in resume.sessions.items()
        }
        self._batch = Batch()
        self._dirty: set[Tracked] = set()
        self._changed: set[Tracked] = set()
        self._gone: set[int] = set()
        self._active = set(self._open.values())
        """Sessions in which something happened since what runs in them was last shown."""
        self._damaged = -1
        self._to_forget = False
        self._stored = resume.position
        self._next_snapshot = time.monotonic() + self._pace.snapshot_seconds

    @property
    def position(self) -> int:
        """Read and written up to here."""
        return self._tape.position

    @property
    def sessions_open(self) -> int:
        return len(self._open)

    def step(self) -> bool:
        """Read and write one batch. False at the tape's live end."""
        pace = self._pace
        before = self._tape.position
        deadline = time.monotonic() + pace.seconds
        more = True
        while more and self._batch.rows < pace.rows and time.monotonic() < deadline:
            frames, damage = self._tape.read(pace.frames, pace.bytes)
            for frame in frames:
                self._take(frame)
            if damage:
                self._note_damage(damage)
            more = bool(frames) or (damage is not None and self._tape.position > damage.position)
        if not more:
            self._show_running()
        due = time.monotonic() >= self._next_snapshot and self._tape.position != self._stored
        if self._batch or self._dirty or self._tape.position != before:
            self._write(due)
        elif due:
            self._write(True)
        return more

    def snapshot(self) -> None:
        """Store where to go on from, before the process ends."""
        if self._tape.position != self._stored or self._changed or self._gone:
            self._write(True)

    def _take(self, frame: Frame) -> None:
        session, _, kind, at, position, payload = frame
        if kind == KIND_RECORDER:
            self._recorder_said(position, at, payload)
            return
        if kind == KIND_ROSTER:
            return
        tracked = self._open.get(session) or self._begin(session, frame)
        tracked.passed(frame)
        self._dirty.add(tracked)
        self._active.add(tracked)
        try:
            self._interpret(tracked, frame)
        except Exception as error:
            self._give_up(tracked, error)

    def _interpret(self, tracked: Tracked, frame: Frame) -> None:
        settled = []
        for event in tracked.feed(frame):
            if type(event) is StatementRecorded:
                statement = event.statement
                tracked.count(statement)
                self._add(tracked, statement)
            elif type(event) is TransactionSettled:
                tracked.settle(event)
                settled.append(event)
            else:
                self._session_said(tracked, event)
        for event in settled:
            self._batch.settle(tracked.number, event)

    def _add(self, tracked: Tracked, statement: Statement) -> None:
        kept = withhold(statement, self._writer.text)
        self._batch.add(tracked.number, kept, to_row(tracked.number, kept))

    def _give_up(self, tracked: Tracked, error: Exception) -> None:
        """What it holds is beyond this program: the tape has it, others go on, and it is not kept quiet."""
        tracked.deaf = True
        problem = f"its frames are not understood from here on: {type(error).__name__}: {error}"
        text = str(uuid.UUID(bytes=tracked.session))
        self._note(tracked.last_position, text, times.of_nanoseconds(tracked.last_time), problem)

    def _show_running(self) -> None:
        """Write statements that run for a while as they are, unfinished. At the tape's live end only."""
        now = self._clock()
        for tracked in [*self._active]:
            if now - tracked.since < self._pace.show_after_seconds * _SECOND:
                continue
            tracked.since = now
            self._active.discard(tracked)
            self._batch.withdrawn.append({"number": tracked.number, "last": tracked.last_seq})
            try:
                running = tracked.running()
                for statement in running:
                    self._add(tracked, statement)
                tracked.shown = [statement.seq for statement in running]
                self._dirty.add(tracked)
            except Exception as error:
                self._give_up(tracked, error)

    def _begin(self, session: bytes, frame: Frame) -> Tracked:
        text = str(uuid.UUID(bytes=session))
        _, _, kind, at, position, _ = frame
        number = self._writer.session_number(text) if position < self._known else None
        if number is None:
            self._numbered += 1
            number = self._numbered
        if kind != KIND_SESSION_STARTED:
            moment = times.of_nanoseconds(at)
            self._batch.started.append(_session_row(number, SessionStarted(text, position, moment, {})))
            self._note(position, text, moment, "the session's start is not on the tape")
        tracked = self._open[session] = Tracked(number, session, SessionAssembler())
        return tracked

    def _session_said(self, tracked: Tracked, event: Event) -> None:
        batch = self._batch
        if isinstance(event, SessionStarted):
            batch.started.append(_session_row(tracked.number, event))
        elif isinstance(event, SessionEvent):
            name = str(event.event.get("event", "unnamed"))
            batch.session_events.append(
                {
                    "session": tracked.number,
                    "position": event.position,
                    "ordinal": tracked.ordinal(),
                    "at": event.at,
                    "event": name,
                    "document": _json(withhold_event(event.event, self._writer.text)),
                }
            )
            if name in _PROBLEMS:
                self._note(event.position, event.session, event.at, _json(event.event))
        elif isinstance(event, SessionEnded):
            batch.counts[tracked.number] = tracked.counts()
            batch.withdrawn.append({"number": tracked.number, "last": tracked.last_seq})
            batch.ended.append(
                {
                    "of": tracked.number,
                    "new_ended": event.at,
                    "new_end_reason": event.reason,
                    "new_end_detail": event.detail,
                }
            )
            self._forget(tracked)

    def _forget(self, tracked: Tracked) -> None:
        self._open.pop(tracked.session, None)
        for tracking in (self._dirty, self._changed, self._active):
            tracking.discard(tracked)
        self._gone.add(tracked.number)

    def _recorder_said(self, position: int, at: int, payload: bytes) -> None:
        try:
            document = msgspec.json.decode(payload, type=dict[str, Any])
        except msgspec.DecodeError as error:
            self._note(position, "", times.of_nanoseconds(at), f"a recorder frame is no JSON: {error}")
            return
        if document.get("event") == ERASED:
            self._erased(document, position, at)
        self._batch.events.append(
            {
                "position": position,
                "at": times.of_nanoseconds(at),
                "event": str(document.get("event", "unnamed")),
                "document": _json(document),
            }
        )

    def _erased(self, document: dict[str, Any], position: int, at: int) -> None:
        """A session of which nothing can be read any more is listed all the same."""
        session, number = str(document.get("session")), None
        started = any(row["id"] == session for row in self._batch.started)
        if not started and self._writer.session_number(session) is None:
            self._numbered += 1
            number = self._numbered
        self._batch.erased.append(erased_row(document, position, times.of_nanoseconds(at), number))

    def _note_damage(self, damage: Damage) -> None:
        if damage.position != self._damaged:
            self._damaged = damage.position
            self._note(damage.position, "", times.of_nanoseconds(self._clock()), damage.text)

    def _note(self, position: int, session: str, at: str, problem: str) -> None:
        self._batch.problems.append({"position": position, "session": session, "at": at, "problem": problem})

    def _write(self, snapshot: bool) -> None:
        """The one transaction of a batch."""
        batch = self._batch
        for tracked in self._dirty:
            batch.counts[tracked.number] = tracked.counts()
        self._changed |= self._dirty
        with self._writer.transaction() as connection:
            self._writer.write(connection, batch, self._tape.position)
            if snapshot:
                self._writer.snapshot(connection, self._resume(), self._gone)
        self._to_forget = self._to_forget or bool(batch.erased)
        # Not before a snapshot is stored: the last one may be of an erased session.
        if self._to_forget and snapshot:
            self._to_forget = not self._writer.forget()
        self._batch = Batch()
        self._dirty = set()
        if snapshot:
            self._stored = self._tape.position
            self._changed = set()
            self._gone = set()
            self._next_snapshot = time.monotonic() + self._pace.snapshot_seconds

    def _resume(self) -> Resume:
        position = self._tape.position
        return Resume(
            position,
            instance(self._directory, position),
            {tracked.number: (tracked.session, tracked.snapshot()) for tracked in self._changed},
        )


def _session_row(number: int, event: SessionStarted) -> dict[str, Any]:
    header = event.header
    claims = header.get("claims") or {}
    client = header.get("client") or {}
    return {
        "number": number,
        "id": event.session,
        **{name: header.get(name) for name in _HEADER_COLUMNS},
        "run": claims.get("run"),
        "client": client.get("address"),
        "header": _json(header),
        "started": event.at,
        "ended": None,
        "end_reason": None,
        "end_detail": None,
        "erased": None,
        "statements": 0,
        "errors": 0,
        "rows_written": 0,
        "last_activity": event.at,
        "first_position": event.position,
        "last_position": event.position,
    }


def _json(document: dict[str, Any]) -> str:
    return msgspec.json.encode(document).decode()
