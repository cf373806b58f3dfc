"""Verification, step 8: the index says what the record says.

Every session that ended and that both have whole is read back from its chunks, its statements are derived
again, and they are compared with the index's, field by field. A session that is open is compared as far as
its sealed statements go, since the rest of it is still in motion.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from pgwitness.errors import NotFoundError, RecordBroken, UnavailableError
from pgwitness.index import tables
from pgwitness.index.discretion import Text, withhold
from pgwitness.index.erased import erased_from
from pgwitness.index.location import Location
from pgwitness.index.opening import text_of
from pgwitness.index.store import IndexReader, SessionDetail
from pgwitness.index.tracked import Tracked
from pgwitness.record.chunks import Frame, Keys, load, split
from pgwitness.record.entries import Chunk, End, Event, Session, Stored, session_bytes
from pgwitness.record.log_reader import LogReader
from pgwitness.record.report import Findings, Progress, Report
from pgwitness.record.verify import secret_of
from pgwitness.statements.assembler import SessionAssembler
from pgwitness.statements.model import Event as Fact
from pgwitness.statements.model import (
    SessionEnded,
    SessionStarted,
    Statement,
    StatementRecorded,
    TransactionSettled,
)

_WHO = ("identity", "kind", "on_behalf_of", "connection", "database", "user")
_COUNTS = ("statements", "errors", "rows_written")
_CERTAIN = ("seq", "position", "sql", "command")
"""What does not change any more once a statement is there."""


@dataclass(slots=True)
class _Sealed:
    """What the log says of a session."""

    start: Session
    chunks: list[Stored] = field(default_factory=list)
    end: End | None = None
    gaps: bool = False


@dataclass(slots=True)
class _Derived:
    """What the session's frames say."""

    who: dict[str, Any] = field(default_factory=dict)
    ended: SessionEnded | None = None
    statements: dict[int, Statement] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)


def check_index(report: Report, log: LogReader, state: Path, progress: Progress) -> bool:
    """Whether the index in ``state`` agrees with the record, which has been verified. Raises OSError."""
    found = report.step("index")
    if report.result == "broken":
        found.skip("the record itself is broken")
        return True
    reader = IndexReader(state)
    try:
        position = _position(reader)
        if position is None:
            found.skip("there is no index yet")
            return True
        text = text_of(Location(state), "all")
        return _Check(report, found, log, reader, text, position).run(progress)
    except UnavailableError as error:
        found.skip(f"the index cannot be read: {error}")
        return True
    finally:
        reader.close()


class _Check:
    def __init__(
        self, report: Report, found: Findings, log: LogReader, reader: IndexReader, text: Text, position: int
    ) -> None:
        self._report = report
        self._found = found
        self._log = log
        self._reader = reader
        self._text = text
        self._position = position
        """The index is that far."""
        self._secret_of = secret_of(log.layout)
        self._names: set[str] = set()
        self._going = erased_from(reader, log.checkpoint.tape)
        """Erased by an event that is on the tape, and not under the checkpoint yet."""
        self._wrong: str | None = None
        """The session in which something was wrong last."""
        self._compared = self._statements = self._behind = self._closed = 0

    def run(self, progress: Progress) -> bool:
        only = self._report.session
        for index, sealed in self._sessions():
            progress("index", index, self._log.size)
            if only in (None, sealed.start.session):
                self._session(sealed)
        if only is None:
            self._strangers()
        if self._behind:
            self._report.remark(
                "index", f"{self._behind:,} sealed sessions are not indexed yet, or not whole"
            )
        if self._closed:
            self._report.remark("index", f"{self._closed:,} sessions cannot be opened here to be compared")
        self._report.numbers["statements_compared"] = self._statements
        return self._found.end(
            f"{self._compared:,} sessions and {self._statements:,} statements are the record's"
        )

    def _sessions(self) -> Iterator[tuple[int, _Sealed]]:
        """Ended ones as they end, then those that are open."""
        sealed: dict[str, _Sealed] = {}
        for index, entry in self._log.entries():
            if isinstance(entry, Session):
                self._names.add(entry.session)
                sealed[entry.session] = _Sealed(entry)
            elif not isinstance(entry, Event) and entry.session in sealed:
                one = sealed[entry.session]
                if isinstance(entry, Chunk):
                    one.chunks.append(entry.stored)
                elif isinstance(entry, End):
                    one.end = entry
                    yield index, sealed.pop(entry.session)
                else:
                    one.gaps = True
        for one in sealed.values():
            yield self._log.size, one

    def _session(self, sealed: _Sealed) -> None:
        session = sealed.start.session
        if session in self._report.erased or session in self._going:
            return
        if (sealed.end or sealed.start).position >= self._position:
            self._behind += 1
            return
        try:
            detail = self._reader.session(session)
        except NotFoundError:
            self._broken("the index does not have this session of the record", session)
            return
        secret = self._secret_of(session, sealed.start.slot)
        if secret is None:
            self._closed += 1
            self._who(
                detail, {name: getattr(sealed.start, name) for name in ("identity", "kind", "connection")}
            )
            return
        derived = self._derive(session, sealed, Keys.of(secret))
        self._compared += 1
        self._who(detail, derived.who)
        if sealed.end:
            self._outcome(detail, derived)
        self._compare(session, derived, whole=sealed.end is not None)

    def _derive(self, session: str, sealed: _Sealed, keys: Keys) -> _Derived:
        tracked = Tracked(0, session_bytes(session), SessionAssembler())
        derived = _Derived()
        for frame in self._frames(session, sealed, keys):
            tracked.passed(frame)
            for event in _fed(tracked, frame):
                if isinstance(event, SessionStarted):
                    derived.who = {name: event.header.get(name) for name in _WHO}
                elif isinstance(event, SessionEnded):
                    derived.ended = event
                elif isinstance(event, StatementRecorded):
                    tracked.count(event.statement)
                    derived.statements[event.statement.seq] = event.statement
                elif isinstance(event, TransactionSettled):
                    tracked.settle(event)
                    _settle(derived.statements, event)
        counts = tracked.counts()
        derived.counts = {name: counts[f"new_{name}"] for name in _COUNTS}
        return derived

    def _frames(self, session: str, sealed: _Sealed, keys: Keys) -> Iterator[Frame]:
        for stored in sealed.chunks:
            try:
                yield from split(session_bytes(session), load(self._log.object(stored), keys))
            except (RecordBroken, OSError) as error:
                self._found.broken(f"a chunk cannot be read: {error}", session=session)
                return

    def _who(self, detail: SessionDetail, who: dict[str, Any]) -> None:
        row = detail.session
        for name, value in who.items():
            if getattr(row, name) != value:
                text = f"the index says {name} {getattr(row, name)!r}, and the record {value!r}"
                self._broken(text, row.session)

    def _outcome(self, detail: SessionDetail, derived: _Derived) -> None:
        row = detail.session
        expected = dict(derived.counts)
        if derived.ended:
            expected["ended_at"] = derived.ended.at
            expected["end_reason"] = derived.ended.reason
        for name, value in expected.items():
            if getattr(row, name) != value:
                text = f"the index says {name} {getattr(row, name)!r}, and the record {value!r}"
                self._broken(text, row.session)

    def _compare(self, session: str, derived: _Derived, *, whole: bool) -> None:
        left = derived.statements
        for indexed in self._reader.of_session(session):
            self._statements += 1
            sealed = left.pop(indexed.seq, None)
            if sealed is None:
                if whole:
                    text = f"statement {indexed.seq} of the index is not in the record"
                    self._broken(text, session)
                continue
            wrong = _differences(withhold(sealed, self._text), indexed, whole)
            if wrong:
                text = f"statement {indexed.seq} differs in the index: {', '.join(wrong)}"
                self._broken(text, session)
        for seq in left:
            if whole or self._position >= self._log.checkpoint.tape:
                self._broken(f"statement {seq} of the record is not in the index", session)

    def _broken(self, text: str, session: str) -> None:
        """Unless it was erased while it was compared: the event is in the index with what it did there."""
        if session != self._wrong and session not in self._going:
            self._going = erased_from(self._reader, self._log.checkpoint.tape)
        if session not in self._going:
            self._wrong = session
            self._found.broken(text, session=session)

    def _strangers(self) -> None:
        """Sessions of the index that the record does not know, though it is that far."""
        sealed = self._log.checkpoint.tape
        with self._reader.connection() as connection:
            if connection is None:
                return
            columns = tables.sessions.c
            query = select(columns.id).where(columns.first_position < sealed)
            for (session,) in connection.execute(query):
                if session not in self._names:
                    text = "the index has this session, and the record does not"
                    self._found.broken(text, session=session)


def _differences(sealed: Statement, indexed: Statement, whole: bool) -> list[str]:
    if not whole:
        return [name for name in _CERTAIN if getattr(sealed, name) != getattr(indexed, name)]
    one, other = _plain(sealed), _plain(indexed)
    return [name for name in one if one[name] != other.get(name)]


def _plain(statement: Statement) -> dict[str, Any]:
    """As the index keeps it: large counts are cut."""
    if statement.rows is not None:
        statement.rows = min(statement.rows, 2**63 - 1)
    made: dict[str, Any] = msgspec.to_builtins(statement)
    return made


def _fed(tracked: Tracked, frame: Frame) -> list[Fact]:
    """As the indexer does: a session that is beyond this program is beyond it from there on."""
    try:
        return tracked.feed(frame)
    except Exception:
        tracked.deaf = True
        return []


def _settle(statements: dict[int, Statement], event: TransactionSettled) -> None:
    for seq in range(event.first_seq, event.last_seq + 1):
        statement = statements.get(seq)
        transaction = statement.transaction if statement else None
        if transaction and transaction.number == event.number and transaction.outcome == "open":
            transaction.outcome, transaction.reason = event.outcome, event.reason


def _position(reader: IndexReader) -> int | None:
    with reader.connection() as connection:
        if connection is None:
            return None
        found = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "position"))
        return int(found or 0)
