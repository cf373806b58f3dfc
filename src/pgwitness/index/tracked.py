"""One open session as the indexer knows it: the assembler of its statements, its counts, and what may be
asked at a restart."""

from typing import Any
from uuid import UUID

import msgspec

from pgwitness._core import KIND_SERVER, KIND_SESSION_ENDED
from pgwitness.index import times
from pgwitness.statements.assembler import Frame, SessionAssembler
from pgwitness.statements.model import (
    Event,
    SessionEnded,
    Statement,
    StatementRecorded,
    TransactionSettled,
)

_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_FILLS = frozenset({"CREATE TABLE AS", "SELECT INTO"})
SPANS = 65536
"""Spans of an open transaction that are told apart."""

_PLAUSIBLE = 2**48
"""Rows of one statement. A server may say anything in a tag, and sums must stay within an integer column."""
_READY = b"Z\0\0\0\5"
_INTERRUPTED = b'"interrupted"'
"""The reason of an end that recovery added: when the session was last there, nobody knows better than its
frames."""
_DELIMITERS = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK"})


Written = tuple[int, int, int, int]
"""(transaction, first seq, last seq, rows)"""


class _State(msgspec.Struct, array_like=True):
    assembler: bytes
    statements: int
    errors: int
    rows_written: int
    unsettled: list[Written]
    last_time: int
    last_position: int
    last_sequence: int
    last_seq: int
    deaf: bool


class Tracked:
    """Counts are absolute, so that writing them twice does no harm."""

    __slots__ = (
        "assembler",
        "deaf",
        "errors",
        "last_position",
        "last_seq",
        "last_sequence",
        "last_time",
        "number",
        "ordinals",
        "ready",
        "rows_written",
        "session",
        "shown",
        "since",
        "statements",
        "unsettled",
    )

    def __init__(self, number: int, session: bytes, assembler: SessionAssembler) -> None:
        self.number = number
        self.session = session
        self.assembler = assembler
        self.deaf = False
        """Its frames are not understood any more; only its end is."""
        self.statements = 0
        self.errors = 0
        self.rows_written = 0
        self.unsettled: list[Written] = []
        """(first seq, last seq, rows) written in a transaction that is open; one entry between two
        savepoints."""
        self.last_time = 0
        self.last_position = 0
        self.last_sequence = -1
        self.last_seq = 0
        """Of the last finished statement."""
        self.ordinals = 0
        """Of events of the current frame."""
        self.ready = True
        """The last frame ended with the server's ReadyForQuery."""
        self.shown: list[int] = []
        """Statements that were shown while they ran, by seq."""
        self.since = 0
        """When what runs now may have begun, or when it was last shown."""

    def passed(self, frame: Frame) -> None:
        """Where the session is, after this frame."""
        _, self.last_sequence, kind, at, self.last_position, payload = frame
        if kind != KIND_SESSION_ENDED or not self.last_time or _INTERRUPTED not in payload:
            self.last_time = at
        self.ordinals = 0
        ready = kind == KIND_SERVER and payload[-6:-1] == _READY
        if ready or self.ready:
            self.since = self.last_time
        self.ready = ready

    def feed(self, frame: Frame) -> list[Event]:
        """What became known with this frame."""
        if not self.deaf:
            return self.assembler.feed(frame)
        session, _, kind, at, position, _ = frame
        if kind != KIND_SESSION_ENDED:
            return []
        moment = times.of_nanoseconds(at)
        return [SessionEnded(str(UUID(bytes=session)), position, moment, "not understood", None)]

    def ordinal(self) -> int:
        """Tells the events of one frame apart."""
        self.ordinals += 1
        return self.ordinals

    def count(self, statement: Statement) -> None:
        """A finished statement."""
        self.statements += 1
        self.last_seq = max(self.last_seq, statement.seq)
        if statement.status == "error":
            self.errors += 1
        rows = rows_written(statement)
        if rows:
            self._wrote(statement, rows)
        elif statement.command in _DELIMITERS and self.unsettled and self.unsettled[-1][3]:
            self.unsettled.append((statement.transaction.number, statement.seq, statement.seq, 0))

    def settle(self, event: TransactionSettled) -> None:
        """What a transaction wrote counts once it is committed."""
        tail = len(self.unsettled)
        while tail and self.unsettled[tail - 1][1] >= event.first_seq:
            tail -= 1
        kept = []
        for entry in self.unsettled[tail:]:
            number, _, last, rows = entry
            if number != event.number or last > event.last_seq:
                kept.append(entry)
            elif event.outcome == "committed":
                self.rows_written += rows
        self.unsettled[tail:] = kept

    def running(self) -> list[Statement]:
        """Statements that were sent and have not come to an end: what would be left unfinished if the
        session ended here. Asked of a copy, so that nothing changes.
        """
        if self.deaf:
            return []
        copy = SessionAssembler.restore(self.assembler.snapshot())
        ending = (
            self.session,
            self.last_sequence + 1,
            KIND_SESSION_ENDED,
            self.last_time,
            self.last_position,
            b"{}",
        )
        running = []
        for event in copy.feed(ending):
            if isinstance(event, StatementRecorded):
                statement = event.statement
                if statement.status == "ok":
                    statement.status = "unfinished"
                statement.transaction.outcome = "open"
                statement.transaction.reason = None
                running.append(statement)
        return running

    def counts(self) -> dict[str, Any]:
        """Parameters of the writer's update of the session's row."""
        return {
            "of": self.number,
            "new_statements": self.statements + sum(seq > self.last_seq for seq in self.shown),
            "new_errors": self.errors,
            "new_rows_written": self.rows_written,
            "new_last_activity": times.of_nanoseconds(self.last_time),
            "new_last_position": self.last_position,
        }

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            _State(
                self.assembler.snapshot(),
                self.statements,
                self.errors,
                self.rows_written,
                self.unsettled,
                self.last_time,
                self.last_position,
                self.last_sequence,
                self.last_seq,
                self.deaf,
            )
        )

    @classmethod
    def restore(cls, number: int, session: bytes, data: bytes) -> "Tracked":
        state = msgspec.msgpack.decode(data, type=_State)
        tracked = cls(number, session, SessionAssembler.restore(state.assembler))
        tracked.statements = state.statements
        tracked.errors = state.errors
        tracked.rows_written = state.rows_written
        tracked.unsettled = state.unsettled
        tracked.last_time = state.last_time
        tracked.last_position = state.last_position
        tracked.last_sequence = state.last_sequence
        tracked.last_seq = state.last_seq
        tracked.deaf = state.deaf
        return tracked

    def _wrote(self, statement: Statement, rows: int) -> None:
        outcome = statement.transaction.outcome
        if outcome == "committed":
            self.rows_written += rows
        elif outcome == "open":
            seq, transaction = statement.seq, statement.transaction.number
            if self.unsettled and self.unsettled[-1][0] == transaction and self.unsettled[-1][3]:
                _, first, _, before = self.unsettled[-1]
                self.unsettled[-1] = (transaction, first, seq, before + rows)
            else:
                self.unsettled.append((transaction, seq, seq, rows))
                if len(self.unsettled) > SPANS:
                    self._merge_oldest()

    def _merge_oldest(self) -> None:
        """Bounds what a transaction of very many savepoints takes: a late rollback of the merged ones
        still counts.
        """
        oldest = self.unsettled[: SPANS // 2]
        number, _, last, _ = oldest[-1]
        self.unsettled[: SPANS // 2] = [(number, oldest[0][1], last, sum(rows for *_, rows in oldest))]


def rows_written(statement: Statement) -> int:
    """Rows that it wrote, as its tag says: EXECUTE of a prepared UPDATE has the tag of the UPDATE."""
    rows = min(statement.rows or 0, _PLAUSIBLE)
    if not rows or not statement.tag:
        return 0
    verb = statement.tag.partition(" ")[0]
    if verb in _WRITES:
        return rows
    if verb == "COPY":
        return rows if statement.copy and statement.copy.direction == "in" else 0
    return rows if statement.command in _FILLS else 0
