"""Joins each recorded statement with the one made of it here, and keeps the score.

Both sides tell statements when they are complete; a statement is judged when both have told it. Outcomes come
later, with the end of a transaction, and are judged then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from pgwitness.reenact.comparison import SHOWN, Windows, compare
from pgwitness.reenact.nature import Window
from pgwitness.reenact.plan import Place, Places, Plan
from pgwitness.reenact.report import LISTED, Difference, Divergence, Explained, NotComparable, StoodIn
from pgwitness.statements.model import Event, Statement, StatementRecorded, TransactionSettled

Fills = Callable[[Statement], Iterable[str | None]]
"""By column of the result that was made here: why it fills itself."""


class Judge:
    """``recorded`` and ``here`` take the events of each side."""

    def __init__(self, plan: Plan, begun: datetime, fills: Fills, *, keep_going: bool) -> None:
        self._plan, self._fills, self._keep_going = plan, fills, keep_going
        self._windows = Windows(Window(begun), Window(datetime.now(UTC)))
        self._then, self._now = _Side(), _Side()
        self._pairs: dict[Place, int] = {}
        """Judged, and waiting for their outcome: the recorded seq."""
        self.concluding = False
        """What comes now is our own, not the session's."""
        self.same = self.diverged = self.by_nature = self.run = self.committed = 0
        self.last_seq = 0
        self.first: Divergence | None = None
        self.listed: list[Divergence] = []
        self._explained: dict[str, Explained] = {}
        self.stood_in: list[StoodIn] = []
        self.not_comparable: list[NotComparable] = []
        self.not_compared = 0
        self._last_committed = 0

    @property
    def over(self) -> bool:
        return self.first is not None and not self._keep_going

    @property
    def waits(self) -> bool:
        """Something was done here of which the record has yet to tell."""
        return bool(self._now.waiting)

    @property
    def explained(self) -> list[Explained]:
        return sorted(self._explained.values(), key=lambda one: one.first_seq)

    def recorded(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, StatementRecorded):
                began = datetime.fromisoformat(event.statement.started_at)
                took = timedelta(microseconds=event.statement.duration_us or 0)
                self._windows.recorded.ends = max(self._windows.recorded.ends, began + took)
                place = self._then.places.of(event.statement)
                if self._is_sent(place):
                    self._then.add(place, event.statement)
                    self._meet(place)
            elif isinstance(event, TransactionSettled):
                for place in self._then.settle(event):
                    self._outcome(place)

    def here(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, StatementRecorded):
                statement = event.statement
                if statement.transaction.outcome == "committed":
                    self._commit(statement.transaction.number)
                if self.concluding:
                    continue
                self._windows.here.ends = datetime.now(UTC)
                place = self._original(self._now.places.of(statement))
                self._now.add(place, statement)
                self._meet(place)
            elif isinstance(event, TransactionSettled):
                if event.outcome == "committed":
                    self._commit(event.number)
                for place in self._now.settle(event):
                    self._outcome(place)

    def conclude(self) -> None:
        """Nothing more comes: what only one side told has diverged."""
        for _, statement in sorted(self._then.waiting.items()):
            if statement.status not in ("unfinished", "skipped"):
                self._diverge(statement, [Difference("statement", statement.status, None)], [])
        for _, statement in sorted(self._now.waiting.items()):
            if self._plan.committed_only and statement.protocol == "extended" and statement.status == "error":
                continue  # of a Parse that failed then, too, and whose Execute is left out
            self._diverge(statement, [Difference("statement", None, statement.status)], [])

    def _is_sent(self, place: Place) -> bool:
        plan, (message, part) = self._plan, place
        if message in plan.dropped or (plan.stop is not None and place >= plan.stop):
            return False
        return part in plan.kept.get(message, (part,))

    def _original(self, place: Place) -> Place:
        """Of a statement whose message was sent without some before it."""
        parts = self._plan.kept.get(place[0])
        if parts is None:
            return place
        ordered = sorted(parts)
        return place[0], ordered[place[1]] if place[1] < len(ordered) else place[1]

    def _meet(self, place: Place) -> None:
        if place not in self._then.waiting or place not in self._now.waiting:
            return
        recorded, here = self._then.waiting.pop(place), self._now.waiting.pop(place)
        self.run += 1
        self.last_seq = max(self.last_seq, recorded.seq)
        told = self._plan.stand_ins.get(place[0], ())
        stopped = {part: sqlstate for part, sqlstate, _ in told}
        if place[1] in stopped:
            if stopped[place[1]]:
                self.stood_in.append(StoodIn(recorded.seq, stopped[place[1]]))
            return
        if recorded.status == "unfinished":
            return
        verdict = compare(recorded, here, self._windows, self._fills(here))
        if verdict.incomparable is not None:
            self.not_compared += 1
            if len(self.not_comparable) < LISTED:
                told_of = NotComparable(recorded.seq, verdict.incomparable, verdict.differences)
                self.not_comparable.append(told_of)
            self._pairs[place] = recorded.seq
            self._outcome(place)
            return
        if verdict.differences:
            self._diverge(recorded, verdict.differences, verdict.hints)
            return
        for why in dict.fromkeys(verdict.explained):
            found = self._explained.setdefault(why, Explained(why, 0, recorded.seq))
            found.statements += 1
        if verdict.explained:
            self.by_nature += 1
        else:
            self.same += 1
        self._pairs[place] = recorded.seq
        self._outcome(place)

    def _outcome(self, place: Place) -> None:
        if place not in self._pairs:
            return
        then, now = self._then.outcomes.get(place), self._now.outcomes.get(place)
        if then is None or now is None:
            return
        seq = self._pairs.pop(place)
        sql = self._then.forget(place)
        self._now.forget(place)
        if "in_doubt" in (then, now) or then == now or self.concluding:
            return
        difference = Difference("outcome of its transaction", then, now)
        self._add(Divergence(seq, sql, [difference]))

    def _diverge(self, statement: Statement, differences: list[Difference], hints: list[str]) -> None:
        self._add(Divergence(statement.seq, statement.sql[:SHOWN], differences, hints))

    def _add(self, divergence: Divergence) -> None:
        self.diverged += 1
        if self.first is None or divergence.seq < self.first.seq:
            self.first = divergence
        if len(self.listed) < LISTED:
            self.listed.append(divergence)

    def _commit(self, number: int) -> None:
        if number > self._last_committed:
            self._last_committed = number
            self.committed += 1


class _Side:
    """Statements that wait for the other side, and those that wait for their outcome."""

    def __init__(self) -> None:
        self.places = Places()
        self.waiting: dict[Place, Statement] = {}
        self.outcomes: dict[Place, str] = {}
        self._open: dict[int, list[tuple[int, Place]]] = {}
        self._sql: dict[Place, str] = {}

    def add(self, place: Place, statement: Statement) -> None:
        self.waiting[place] = statement
        self._sql[place] = statement.sql[:SHOWN]
        outcome = statement.transaction.outcome
        if outcome != "open":
            self.outcomes[place] = outcome
        else:
            self._open.setdefault(statement.transaction.number, []).append((statement.seq, place))

    def settle(self, event: TransactionSettled) -> list[Place]:
        waiting = self._open.get(event.number, [])
        settled = [place for seq, place in waiting if event.first_seq <= seq <= event.last_seq]
        left = [(seq, place) for seq, place in waiting if not event.first_seq <= seq <= event.last_seq]
        if left:
            self._open[event.number] = left
        else:
            self._open.pop(event.number, None)
        self.outcomes.update(dict.fromkeys(settled, event.outcome))
        return settled

    def forget(self, place: Place) -> str:
        self.outcomes.pop(place, None)
        return self._sql.pop(place, "")
