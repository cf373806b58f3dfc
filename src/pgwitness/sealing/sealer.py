"""The tape sealed, span by span: frames become chunks, chunks entries, entries a signed checkpoint.

Everything goes on from the last checkpoint: it says up to where the tape is sealed, and what lies beyond it
is cut off. So a crash at any moment, and any failure, loses nothing and doubles nothing. After an exception a
``Sealer`` is spent; the next one does again what was not signed for.
"""

import contextlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pgwitness.errors import RecordBroken
from pgwitness.index.tape import instance, segment, segments
from pgwitness.record.chain import Wrap, begin, extend
from pgwitness.record.chunks import Frame
from pgwitness.record.entries import session_text
from pgwitness.record.events import add_damage, add_event
from pgwitness.record.files import Files, publish
from pgwitness.record.keys import make_signer
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.log_writer import LogWriter
from pgwitness.record.notes import add_signatures, parse_note
from pgwitness.record.secrets import Secrets
from pgwitness.sealing.erasing import Erasures
from pgwitness.sealing.journal import Journal
from pgwitness.sealing.spans import Span, Spans

JOURNAL_ENTRIES = 5000
"""Entries that a start reads at most to know the open chains."""


def _now() -> datetime:
    return datetime.now(UTC)


class Sealer:
    """The record's only writer."""

    def __init__(
        self,
        state: Path,
        files: Files | None = None,
        *,
        wrap: Wrap | None = None,
        readable: bool = True,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Makes the record if there is none. Not ``readable``: a session's secret is destroyed here when the
        session has ended and ``wrap`` was given it. Raises RecordBroken when the record cannot be gone on
        with, OSError."""
        self._files = files or Files()
        self._tape = state / "tape"
        self._wrap = wrap
        self._readable = readable
        self._clock = clock
        self.layout = Layout(state / "record")
        self._log = LogWriter(self.layout, make_signer(self.layout, self._files), self._files)
        self._secrets = Secrets(self.layout, self._files)
        self._journal = Journal(state / "sealing" / "chains", self._files)
        self._check_tape()
        self._chains = self._journal.load(self._reader(), self._secrets)
        self._journaled = self._log.size
        self._spans = Spans(self._tape, self._log.checkpoint.tape)
        self._erasures = Erasures(state, self.layout, self._files)
        if not readable:
            self._forget_ended()

    @property
    def note(self) -> bytes:
        """The latest checkpoint; empty before the first."""
        return self._log.note

    @property
    def sealed(self) -> int:
        """Position of the tape below which every frame is under the checkpoint."""
        return self._log.checkpoint.tape

    def seal(self) -> Span | None:
        """Seal one span of the tape; None at its live end. Raises RecordBroken, OSError."""
        span = self._spans.next()
        if span.empty and span.end == self.sealed:
            return None
        self._sync_tape(span)
        for session, frames in span.sessions.items():
            self._seal_session(session, frames)
        for frame in span.events:
            add_event(self._log, frame)
        for damage, after in span.damage:
            moment = int(self._clock().timestamp() * 1e9)
            add_damage(self._log, damage.position, after, moment, damage.text)
        self._erasures.note(span.events)
        self._commit(span.end)
        ended = [session for session, chain in self._chains.items() if chain.ended]
        for session in ended:
            del self._chains[session]
            if not self._readable:
                self._forget(session)
        if self._log.size - self._journaled > JOURNAL_ENTRIES:
            self.save()
        return span

    def sign(self) -> None:
        """A checkpoint without anything new, as a sign of life. Raises OSError."""
        self._commit(self.sealed)

    def erase(self) -> int:
        """Carry out what was asked for under the checkpoint. Returns the last segment of the tape that holds
        frames of an erased session, 0 for none. Raises RecordBroken, OSError."""
        self._erasures.carry_out(self._reader())
        return self._erasures.tape

    def cosign(self, note: bytes, lines: list[str]) -> None:
        """Keep the cosignatures of a checkpoint: with the checkpoint, if it is still the latest, and for
        itself. Raises OSError."""
        latest = parse_note(self._log.note).text == parse_note(note).text
        cosigned = add_signatures(self._log.note if latest else note, lines)
        contents = {self.layout.witnessed: cosigned}
        if latest:
            contents[self.layout.checkpoint] = self._log.note = cosigned
        publish(self._files, contents)

    def save(self) -> None:
        """Keep what makes the next start fast. Raises OSError."""
        self._journal.save(self._reader(), self._chains, self.sealed >> 32, instance(self._tape, self.sealed))
        self._journaled = self._log.size

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._log.close()

    def _seal_session(self, session: bytes, frames: list[Frame]) -> None:
        chain = self._chains.get(session)
        if chain is None:
            chain = begin(self._log, self._secrets, frames[0], wrap=self._wrap)
            self._chains[session] = chain
        elif not chain.secret:
            raise RecordBroken(
                f"the secret of session {chain.session} is lost, and the session is open",
                hint=f"restore {self.layout.secrets} from a backup",
            )
        if frames[0][1] < chain.sequence:
            raise RecordBroken(
                f"session {chain.session} is sealed up to frame {chain.sequence - 1}, and the tape comes "
                f"again with frame {frames[0][1]}",
                hint="the tape or the record was replaced by an older copy; put back what belongs together",
            )
        extend(self._log, chain, frames)

    def _forget(self, session: bytes) -> None:
        """Only the auditors read it from now on."""
        if self.layout.wrapped_secret(session_text(session)).exists():
            self._secrets.forget(session)

    def _forget_ended(self) -> None:
        """What a crash left, or what was kept while the setting was another."""
        for session in self._secrets.sessions():
            if session not in self._chains:
                self._forget(session)

    def _commit(self, tape: int) -> None:
        self._secrets.sync()
        self._log.commit(self._clock(), tape)

    def _sync_tape(self, span: Span) -> None:
        """A power failure must not leave a record that knows more than its tape: recovery would number what
        comes next anew."""
        try:
            descriptor = os.open(segment(self._tape, span.start >> 32), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            self._files.sync(descriptor)
        finally:
            os.close(descriptor)

    def _check_tape(self) -> None:
        """The tape must be the one that was sealed so far. Raises RecordBroken."""
        present, number = segments(self._tape), self.sealed >> 32
        if not number or not present:
            return
        here, known = instance(self._tape, self.sealed), self._journal.instance(number)
        if present[-1] + 1 < number or (here and known and here != known):
            raise RecordBroken(
                f"the tape in {self._tape} is not the one that {self.layout.directory} was made from",
                hint="put back the tape that belongs to it, or move the record away to begin a new one",
            )

    def _reader(self) -> LogReader:
        return LogReader(self.layout, self._log.checkpoint)
