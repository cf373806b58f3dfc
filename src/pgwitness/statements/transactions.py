"""Which transaction a statement belongs to, and what became of it.

The server decides: command tags and the status byte of ReadyForQuery. The parser is asked only what a
tag cannot tell: names of savepoints, AND CHAIN, and whether a ROLLBACK went back to a savepoint.

A transaction is opened by the first statement that runs while there is none. It is settled

- by the tag of COMMIT or ROLLBACK, wherever in a message or pipeline that stands, - by ReadyForQuery,
if the server says that it is idle: the implicit transaction of a message or pipeline then ended, - by
the end of the session.
"""

from collections.abc import Callable

from msgspec import Struct

from pgwitness.statements.model import Outcome, Statement, TransactionSettled
from pgwitness.statements.sql import Effect

# They cannot run in a transaction block and commit by themselves.
IMMEDIATE = {
    "VACUUM",
    "CREATE DATABASE",
    "DROP DATABASE",
    "CREATE TABLESPACE",
    "DROP TABLESPACE",
    "ALTER SYSTEM",
}

_NOT_UNDERSTOOD = "ended by a statement that the record does not understand"
_ELSEWHERE = "prepared: another session may have committed it"
_IDLE, _FAILED = 0x49, 0x45


class Ledger(Struct):
    """``batch`` holds statements that are complete and not yet given out: their outcome is set in
    place. For those given out as open, ``emit`` gets an event.
    """

    number: int = 0
    current: bool = False
    explicit: bool = False
    failed: bool = False
    failed_seq: int = 0
    failed_sqlstate: str = ""
    first: int = 0
    last: int = 0
    savepoints: list[tuple[str, int]] = []
    given: int = 0
    """The lowest seq of the current transaction that was given out as open; 0 for none."""
    prepared: dict[str, tuple[int, int, int]] = {}
    """By global id: number, first and last seq of a transaction that waits for COMMIT PREPARED."""

    def enter(self, seq: int) -> int:
        """A statement begins: the number of its transaction."""
        if not self.current:
            self.number += 1
            self.current = True
            self.failed = False
            self.failed_seq = 0
            self.first = seq
            self.given = 0
            self.savepoints = []
        if seq > self.last:
            self.last = seq
        return self.number

    def fail(self, seq: int, sqlstate: str) -> None:
        """A statement failed, or with seq 0 the commit at a Sync."""
        self.failed = True
        self.failed_seq = seq
        self.failed_sqlstate = sqlstate

    def give(self, seq: int) -> None:
        """A statement of the current transaction is given out as open."""
        if not self.given or seq < self.given:
            self.given = seq


class Transactions:
    """Applies what the server said to a ledger, and its consequences to statements."""

    def __init__(
        self, ledger: Ledger, batch: list[Statement], emit: Callable[[TransactionSettled], None], session: str
    ) -> None:
        self.ledger = ledger
        self.batch = batch
        self.position = 0
        self._emit = emit
        self._session = session

    def completed(self, seq: int, tag: str, effect: Effect | None) -> Outcome | None:
        """A statement ended with ``tag``. The transaction's outcome, if it ended with that."""
        ledger = self.ledger
        if tag in ("BEGIN", "START TRANSACTION"):
            ledger.explicit = True
        elif tag == "COMMIT":
            return self._end("committed", None, effect)
        elif tag == "ROLLBACK":
            return self._rolled_back(seq, effect)
        elif tag == "SAVEPOINT" and effect:
            ledger.savepoints.append((effect.name or "", seq))
        elif tag == "RELEASE" and effect:
            at = self._savepoint(effect.name)
            if at is not None:
                del ledger.savepoints[at:]
        elif tag == "PREPARE TRANSACTION":
            name = (effect and effect.name) or ""
            self._settle_prepared(name, "in_doubt", _ELSEWHERE)  # its name is free again: somebody ended it
            ledger.prepared[name] = (ledger.number, ledger.first, ledger.last)
            ledger.current = ledger.explicit = False
            return "open"
        elif tag in ("COMMIT PREPARED", "ROLLBACK PREPARED") and effect:
            self._settle_prepared(effect.name or "", "committed" if tag[0] == "C" else "rolled_back", tag)
        elif (tag in IMMEDIATE or (effect and effect.kind == "immediate")) and not ledger.explicit:
            return self._end("committed", None, None)
        return None

    def _rolled_back(self, seq: int, effect: Effect | None) -> Outcome | None:
        ledger = self.ledger
        if effect and effect.kind == "rollback_to":
            ledger.failed = False
            at = self._savepoint(effect.name)
            if at is not None:
                self._settle(
                    "rolled_back", "rolled back to a savepoint", ledger.savepoints[at][1] + 1, seq - 1
                )
                del ledger.savepoints[at + 1 :]
            return None
        if effect is None and ledger.explicit:  # perhaps to a savepoint only
            return self._end("in_doubt", _NOT_UNDERSTOOD, None)
        refused = effect is not None and effect.kind == "commit"
        return self._end(
            "rolled_back", "COMMIT was answered with ROLLBACK" if refused else "rolled back", effect
        )

    def since(self, effect: Effect) -> int | None:
        """The statement that made the savepoint that ``effect`` goes back to."""
        at = self._savepoint(effect.name)
        return None if at is None else self.ledger.savepoints[at][1]

    def _savepoint(self, name: str | None) -> int | None:
        savepoints = self.ledger.savepoints
        return next((at for at in reversed(range(len(savepoints))) if savepoints[at][0] == name), None)

    def ready(self, status: int) -> Outcome | None:
        """ReadyForQuery with its status byte. The transaction's outcome, if it ended with that."""
        ledger = self.ledger
        if status != _IDLE:
            # After Executes without a Sync, a Query leaves their implicit transaction open: that is no block.
            ledger.explicit = ledger.explicit or not ledger.current
            ledger.failed = status == _FAILED
            return None
        if not ledger.current:
            ledger.explicit = False
            return None
        if ledger.failed:
            return self._end("rolled_back", self._failure(), None)
        if ledger.explicit:
            return self._end("in_doubt", _NOT_UNDERSTOOD, None)
        return self._end("committed", None, None)

    def _failure(self) -> str:
        ledger = self.ledger
        if ledger.failed_seq:
            return f"statement {ledger.failed_seq} failed ({ledger.failed_sqlstate})"
        return f"the commit failed ({ledger.failed_sqlstate})"

    def abandon(self, outcome: Outcome, reason: str) -> None:
        """The session ends, or lost frames hide what became of the transaction."""
        if self.ledger.current:
            self._end(outcome, reason, None)

    def abandon_prepared(self) -> None:
        for name in list(self.ledger.prepared):
            self._settle_prepared(name, "in_doubt", _ELSEWHERE)

    def _end(self, outcome: Outcome, reason: str | None, effect: Effect | None) -> Outcome:
        ledger = self.ledger
        self._settle(outcome, reason, ledger.first, ledger.last)
        ledger.current = False
        ledger.failed = False
        ledger.explicit = bool(effect and effect.flag)  # AND CHAIN
        ledger.given = 0
        return outcome

    def _settle(self, outcome: Outcome, reason: str | None, first: int, last: int) -> None:
        ledger = self.ledger
        number = ledger.number
        for statement in reversed(self.batch):
            transaction = statement.transaction
            if transaction.number != number:
                break
            if transaction.outcome == "open" and first <= statement.seq <= last:
                transaction.outcome = outcome
                transaction.reason = reason if statement.seq != ledger.failed_seq else None
        if ledger.given and ledger.given <= last:
            self._emit(
                TransactionSettled(
                    self._session, self.position, number, outcome, reason, max(first, ledger.given), last
                )
            )

    def _settle_prepared(self, name: str, outcome: Outcome, reason: str) -> None:
        known = self.ledger.prepared.pop(name, None)
        if known is None:
            return
        number, first, last = known
        for statement in self.batch:
            if statement.transaction.number == number and statement.transaction.outcome == "open":
                statement.transaction.outcome = outcome
                statement.transaction.reason = reason
        self._emit(TransactionSettled(self._session, self.position, number, outcome, reason, first, last))
