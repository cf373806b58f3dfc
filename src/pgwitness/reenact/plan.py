"""What is done with each of the client's messages: decided before the first is sent, because what became of a
statement stands behind it in the record.

Most messages are sent as they were. Told here is the rest, by the message's ordinal:

- ``stop``: where to end, before a statement that somebody wants to look at, or where the record has a hole;
- ``stand_ins``: statements that something from outside stopped (a cancel request, a timeout, a deadlock) or
  that were refused for want of privileges.
  They are not run: an error of the same kind takes their place, so that their transaction goes the same way;
- ``kept``, ``dropped``: with ``committed_only``, what of a message is sent, and which are not sent at all.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct, field

from pgwitness.errors import ConflictError, InvalidError, NotFoundError
from pgwitness.reenact.spool import ClientMessages
from pgwitness.statements import sql
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
from pgwitness.statements.requests import COPY_FAIL
from pgwitness.statements.state import BIND, CLOSE, DESCRIBE, EXECUTE, QUERY, SYNC
from pgwitness.wire.codec import MalformedPayloadError
from pgwitness.wire.messages import string, text
from pgwitness.wire.splitter import MalformedMessageError
from pgwitness.wire.startup import wants_replication

_STOPPED: Final = ("57", "53", "40001", "40P01", "55P03", "42501")
"""SQLSTATEs, or their beginnings, that come from outside of a session: operator intervention and timeouts,
insufficient resources, serialization failures, deadlocks, locks of others; and privileges that it had not:
the copy's role may have them, and then the statement would do here what it was kept from there."""
_OUTLIVES: Final = frozenset({"PREPARE", "DEALLOCATE"})
"""Commands whose effect stays when their transaction is rolled back."""
_ENDS_CHAIN: Final = "the end of a chained transaction"
"""In the place of a command."""
_BEYOND: Final = ("DATABASE", "TABLESPACE", "ROLE", "USER", "GROUP", "ALTER SYSTEM")

Place = tuple[int, int]
"""(a message's ordinal, which of its statements: 0, 1 …)"""


class Plan(Struct):
    header: dict[str, Any]
    total: int = 0
    """Statements on record."""
    stop: Place | None = None
    until: int | None = None
    committed_only: bool = False
    stand_ins: dict[int, list[tuple[int, str, str]]] = field(default_factory=dict)
    """Message → (which of its statements, SQLSTATE, command). Without SQLSTATE the command itself is sent."""
    dropped: set[int] = field(default_factory=set)
    kept: dict[int, set[int]] = field(default_factory=dict)
    """Message → those of its statements that are sent, where not all are."""
    left_out: int = 0
    in_doubt: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Places:
    """Which of its message's statements each one is. Feed them in the order in which they come."""

    def __init__(self) -> None:
        self._message, self._next = 0, 0

    def of(self, statement: Statement) -> Place:
        if statement.protocol != "simple":
            return statement.message, 0
        if statement.message != self._message:
            self._message, self._next = statement.message, 0
        self._next += 1
        return statement.message, self._next - 1


def make_plan(frames: Iterable[Frame], *, until: int | None = None, committed_only: bool = False) -> Plan:
    """Reads the session once. Raises NotFoundError for a statement that it does not have, ConflictError for
    one that cannot be run again."""
    return _Planner(until, committed_only).read(frames)


class _Planner:
    def __init__(self, until: int | None, committed_only: bool) -> None:
        if until is not None and until < 1:
            raise InvalidError(f"--until: statements are numbered from 1, and {until} is none of them")
        self._until, self._committed_only = until, committed_only
        self.plan = Plan({}, until=until, committed_only=committed_only)
        self._places = Places()
        self._open: dict[int, list[tuple[Statement, Place]]] = defaultdict(list)
        """Statements of transactions whose outcome is not known yet, without what is large in them."""
        self._links = _Links()
        self._chained: set[int] = set()
        """Transactions that AND CHAIN began: nothing but their end ends them."""
        self._ordinal = self._sink = 0
        self._given_up: set[int] = set()
        """Messages whose COPY the client itself broke off: that has the SQLSTATE of a cancelled statement."""
        self._beyond: dict[str, int] = {}
        self._last = 0

    def read(self, frames: Iterable[Frame]) -> Plan:
        plan, assembler, messages = self.plan, SessionAssembler(), ClientMessages()
        for frame in frames:
            events = assembler.feed(frame)
            if any(_is_gap(event) for event in events):
                self._stop_here(f"frames are missing on record behind statement {self._last}")
                break
            try:
                for ordinal, kind, payload in messages.feed(frame):
                    self._ordinal = ordinal
                    if kind in (QUERY, EXECUTE):
                        self._sink = ordinal
                    elif kind == COPY_FAIL:
                        self._given_up.add(self._sink)
                    if self._committed_only:
                        self._links.see(ordinal, kind, payload)
            except MalformedMessageError:
                plan.notes.append("the client's last message was malformed: it is not sent")
            for event in events:
                self._take(event)
        self._conclude()
        return plan

    def _take(self, event: Event) -> None:
        if isinstance(event, SessionStarted):
            self.plan.header = event.header
            asked = (event.header.get("client") or {}).get("parameters") or {}
            if wants_replication({str(name): str(value) for name, value in asked.items()}):
                raise ConflictError("that session is one of replication: it has no statements to run again")
        elif isinstance(event, StatementRecorded):
            self._statement(event.statement)
        elif isinstance(event, TransactionSettled):
            self._settled(event)
        elif isinstance(event, SessionEnded):
            for waiting in list(self._open.values()):
                for statement, place in waiting:
                    self._decide(statement, place, statement.transaction.outcome)
            self._open.clear()

    def _statement(self, statement: Statement) -> None:
        plan, place = self.plan, self._places.of(statement)
        plan.total += 1
        self._last = max(self._last, statement.seq)
        if statement.seq == self._until:
            plan.stop = place
        if statement.status == "unfinished":
            plan.in_doubt.append(statement.seq)
        elif _stopped(statement) and (statement.status == "cancelled" or place[0] not in self._given_up):
            told = (place[1], statement.sqlstate or "57014", statement.command or "")
            plan.stand_ins.setdefault(place[0], []).append(told)
        if (statement.command or "").endswith(_BEYOND) and statement.status == "ok":
            self._beyond.setdefault(statement.command or "", statement.seq)
        if self._committed_only:
            outcome = statement.transaction.outcome
            small = self._small(statement, place)
            if outcome == "open":
                self._open[statement.transaction.number].append((small, place))
            else:
                self._decide(small, place, outcome)
        elif statement.transaction.outcome == "in_doubt" and statement.status != "unfinished":
            plan.in_doubt.append(statement.seq)

    def _small(self, statement: Statement, place: Place) -> Statement:
        """As long as its transaction is open, this much of it is held."""
        number, effect = statement.transaction.number, sql.describe(statement.sql).effect
        ends = statement.status == "ok" and effect is not None and effect.kind in ("commit", "rollback")
        chains = ends and effect is not None and effect.flag
        if ends and statement.tag == "ROLLBACK" and (chains or number in self._chained):
            # Nothing of it is sent; but begun by the one before it, it must end here as it did, and what
            # begins with its end must begin here, too.
            statement.command = _ENDS_CHAIN
            end = "ROLLBACK AND CHAIN" if chains else "ROLLBACK"
            instead = end if number in self._chained else "BEGIN"
            self.plan.stand_ins.setdefault(place[0], []).append((place[1], "", instead))
        if chains:
            self._chained.add(number + 1)
        if statement.protocol == "extended" and statement.status in ("error", "cancelled"):
            self._links.failed(statement.message)
        statement.sql, statement.parameters, statement.result, statement.copy = "", [], None, None
        return statement

    def _settled(self, event: TransactionSettled) -> None:
        if event.outcome == "in_doubt" and not self._committed_only:
            self.plan.notes.append(
                f"the record cannot say whether transaction {event.number} committed: "
                f"here statements {event.first_seq} to {event.last_seq} go on to their end"
            )
        waiting = self._open.get(event.number, [])
        left = []
        for statement, place in waiting:
            if event.first_seq <= statement.seq <= event.last_seq:
                self._decide(statement, place, event.outcome)
            else:
                left.append((statement, place))
        if left:
            self._open[event.number] = left
        else:
            self._open.pop(event.number, None)

    def _decide(self, statement: Statement, place: Place, outcome: str) -> None:
        """With ``committed_only``: is it sent?"""
        message, part = place
        outlives = statement.command in _OUTLIVES and statement.status == "ok"
        if outcome == "committed" or outlives or statement.command == _ENDS_CHAIN:
            self.plan.kept.setdefault(message, set()).add(part)
            return
        self.plan.left_out += 1
        self.plan.dropped.add(message)
        if outcome == "in_doubt":
            self.plan.in_doubt.append(statement.seq)

    def _stop_here(self, why: str) -> None:
        self.plan.stop = self.plan.stop or (self._ordinal + 1, 0)
        self.plan.notes.append(f"{why}: what follows is not run")

    def _conclude(self) -> None:
        plan = self.plan
        if not plan.header:
            raise ConflictError("the beginning of that session is not on record, so it cannot be run again")
        for statements in self._open.values():
            for statement, place in statements:
                self._decide(statement, place, "open")
        # A message of which some statements are sent is not dropped; one of which all are is as it was.
        plan.kept = {message: parts for message, parts in plan.kept.items() if message in plan.dropped}
        plan.dropped -= plan.kept.keys()
        for message, parts in plan.kept.items():
            if message in plan.stand_ins:
                plan.stand_ins[message] = [one for one in plan.stand_ins[message] if one[0] in parts]
        for message in list(plan.dropped):
            plan.dropped.update(self._links.belonging(message))
        plan.dropped.update(self._links.skipped())
        if plan.until is not None and plan.stop is None:
            raise NotFoundError(
                f"session {plan.header.get('session')} has no statement {plan.until}",
                hint=f"it has {plan.total} statements on record",
            )
        for command, seq in self._beyond.items():
            plan.notes.append(
                f"statement {seq} ({command}) reaches beyond the copy's database: see its server"
            )
        plan.in_doubt = sorted(set(plan.in_doubt))


class _Links:
    """Which Bind, Describe and further Execute belong to a portal's first Execute, and what the server passed
    over after an error."""

    def __init__(self) -> None:
        self._syncs = array("q")
        self._failed: list[int] = []
        self._before: dict[str, list[int]] = {}
        self._first: dict[str, int] = {}
        self._with: dict[int, list[int]] = {}

    def see(self, ordinal: int, kind: int, payload: bytes) -> None:
        try:
            self._see(ordinal, kind, payload)
        except MalformedPayloadError:
            return

    def _see(self, ordinal: int, kind: int, payload: bytes) -> None:
        if kind == SYNC:
            self._syncs.append(ordinal)
        elif kind == BIND:
            name = string(payload, 0)[0]
            self._before[name] = [ordinal]
            self._first.pop(name, None)
        elif kind in (DESCRIBE, CLOSE) and payload[:1] == b"P":
            self._follow(text(payload[1:]), ordinal)
        elif kind == EXECUTE:
            name = text(payload)
            if name in self._first:
                self._follow(name, ordinal)
                return
            self._first[name] = ordinal
            self._with[ordinal] = self._before.pop(name, [])

    def _follow(self, name: str, ordinal: int) -> None:
        if name in self._first:
            self._with[self._first[name]].append(ordinal)
        elif name in self._before:
            self._before[name].append(ordinal)

    def failed(self, message: int) -> None:
        self._failed.append(message)

    def skipped(self) -> Iterator[int]:
        """From behind an error up to the next Sync: names that those messages would have made were not."""
        for message in self._failed:
            at = bisect_right(self._syncs, message)
            if at < len(self._syncs):
                yield from range(message + 1, self._syncs[at])

    def belonging(self, message: int) -> list[int]:
        return self._with.get(message, [])


def _is_gap(event: Event) -> bool:
    return isinstance(event, SessionEvent) and event.event.get("event") == "sequence_gap"


def _stopped(statement: Statement) -> bool:
    """By something from outside of the session."""
    failed = statement.status in ("error", "cancelled") and statement.sqlstate
    return bool(failed) and str(statement.sqlstate).startswith(_STOPPED)
