"""One open session as the indexer knows it: the assembler of its statements, its counts, and what may be
asked at a restart."""

from typing import Any

import msgspec

from pgwitness.index import times
from pgwitness.statements.assembler import SessionAssembler
from pgwitness.statements.model import Statement, TransactionSettled

_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_FILLS = frozenset({"CREATE TABLE AS", "SELECT INTO"})
SPANS = 65536
"""Spans of an open transaction that are told apart."""

_DELIMITERS = frozenset({"SAVEPOINT", "RELEASE", "ROLLBACK"})


class _State(msgspec.Struct, array_like=True):
    assembler: bytes
    statements: int
    errors: int
    rows_written: int
    unsettled: list[tuple[int, int, int]]
    last_time: int
    last_position: int


class Tracked:
    """Counts are absolute, so that writing them twice does no harm."""

    __slots__ = (
        "assembler",
        "errors",
        "last_position",
        "last_time",
        "number",
        "rows_written",
        "session",
        "shown",
        "statements",
        "unsettled",
    )

    def __init__(self, number: int, session: bytes, assembler: SessionAssembler) -> None:
        self.number = number
        self.session = session
        self.assembler = assembler
        self.statements = 0
        self.errors = 0
        self.rows_written = 0
        self.unsettled: list[tuple[int, int, int]] = []
        """(first seq, last seq, rows) written in a transaction that is open; one entry between two
        savepoints."""
        self.last_time = 0
        self.last_position = 0
        self.shown = 0
        """The last seq that was written although unfinished."""

    def count(self, statement: Statement) -> None:
        """A finished statement."""
        self.statements += 1
        if statement.status == "error":
            self.errors += 1
        rows = rows_written(statement)
        if rows:
            self._wrote(statement, rows)
        elif statement.command in _DELIMITERS and self.unsettled and self.unsettled[-1][2]:
            self.unsettled.append((statement.seq, statement.seq, 0))

    def settle(self, event: TransactionSettled) -> None:
        """What a transaction wrote counts once it is committed."""
        tail = len(self.unsettled)
        while tail and self.unsettled[tail - 1][0] >= event.first_seq:
            tail -= 1
        settled = self.unsettled[tail:]
        self.unsettled[tail:] = [entry for entry in settled if entry[1] > event.last_seq]
        if event.outcome == "committed":
            self.rows_written += sum(rows for _, last, rows in settled if last <= event.last_seq)

    def counts(self) -> dict[str, Any]:
        """Parameters of the writer's update of the session's row."""
        return {
            "of": self.number,
            "new_statements": self.statements,
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
        return tracked

    def _wrote(self, statement: Statement, rows: int) -> None:
        outcome = statement.transaction.outcome
        if outcome == "committed":
            self.rows_written += rows
        elif outcome == "open":
            seq = statement.seq
            if self.unsettled and self.unsettled[-1][2]:
                first, _, before = self.unsettled[-1]
                self.unsettled[-1] = (first, seq, before + rows)
            else:
                self.unsettled.append((seq, seq, rows))
                if len(self.unsettled) > SPANS:
                    self._merge_oldest()

    def _merge_oldest(self) -> None:
        """Bounds what a transaction of very many savepoints takes: a late rollback of the merged ones
        still counts."""
        oldest = self.unsettled[: SPANS // 2]
        self.unsettled[: SPANS // 2] = [(oldest[0][0], oldest[-1][1], sum(rows for _, _, rows in oldest))]


def rows_written(statement: Statement) -> int:
    """Rows that it wrote, as its tag says: EXECUTE of a prepared UPDATE has the tag of the UPDATE."""
    rows = statement.rows
    if not rows or not statement.tag:
        return 0
    verb = statement.tag.partition(" ")[0]
    if verb in _WRITES:
        return rows
    if verb == "COPY":
        return rows if statement.copy and statement.copy.direction == "in" else 0
    return rows if statement.command in _FILLS else 0
