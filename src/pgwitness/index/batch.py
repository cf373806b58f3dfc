"""What one transaction of the indexer writes. Collected in memory, so it is bounded by whoever fills it."""

from dataclasses import dataclass, field
from typing import Any

from pgwitness.index.rows import Row, settle
from pgwitness.statements.model import Statement, TransactionSettled


@dataclass(slots=True)
class Batch:
    statements: dict[int, dict[int, Row]] = field(default_factory=dict)
    """By session number and seq: an outcome may arrive in the same batch."""
    rows: int = 0
    settled: list[dict[str, Any]] = field(default_factory=list)
    """What became of statements written before."""
    withdrawn: list[dict[str, Any]] = field(default_factory=list)
    """Statements that were shown as running, after the last one that there was."""
    started: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By session number."""
    erased: list[dict[str, Any]] = field(default_factory=list)
    """Sessions whose content goes, after all else is written."""
    session_events: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int, statement: Statement, row: Row) -> None:
        """A statement, finished or for now; a later state of the same one replaces it."""
        rows = self.statements.get(number)
        if rows is None:
            rows = self.statements[number] = {}
        rows[statement.seq] = row
        self.rows += 1

    def settle(self, number: int, event: TransactionSettled) -> None:
        """In this batch at once; by UPDATE too, unless all of the range is in this batch."""
        rows = self.statements.get(number, {})
        first, last = event.first_seq, event.last_seq
        if last - first < len(rows):
            found = [row for seq in range(first, last + 1) if (row := rows.get(seq))]
        else:
            found = [row for seq, row in rows.items() if first <= seq <= last]
        for row in found:
            settle(row, event)
        if len(found) <= last - first:
            self.settled.append(
                {
                    "of": number,
                    "in_transaction": event.number,
                    "first": first,
                    "last": last,
                    "new_outcome": event.outcome,
                    "new_reason": event.reason,
                }
            )

    def __bool__(self) -> bool:
        return bool(
            self.rows
            or self.settled
            or self.started
            or self.ended
            or self.session_events
            or self.events
            or self.problems
        )
