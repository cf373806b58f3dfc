"""Keeping sessions and letting them go: erasure of one, and of those that are older than they are to be kept.

What is asked for here is an event on the tape. The sealer carries it out once the event is under a signed
checkpoint, and the indexer takes the session's content out of the index.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pgwitness.catalog.keeping import check_reason
from pgwitness.catalog.store import Catalog
from pgwitness.errors import ConflictError, UnavailableError, WitnessError
from pgwitness.index.expired import expired
from pgwitness.index.store import IndexReader, Session
from pgwitness.record.entries import ERASED
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader

_log = logging.getLogger(__name__)

ACTOR: Final = "retention"
AT_ONCE: Final = 500
"""Sessions that one pass erases. The next pass goes on."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """``keep`` is for connections without a rule of their own, None for ever."""

    state: Path
    catalog: Catalog
    index: IndexReader
    keep: timedelta | None
    record_event: Callable[[dict[str, Any]], None] | None

    def erase(self, session: str, reason: str, *, actor: str) -> str:
        """Have an ended session erased, for good; its full id. Raises NotFoundError, ConflictError,
        InvalidError, UnavailableError.
        """
        checked = check_reason(reason)
        found = self.index.session(session)
        shown, id = found.session, found.session.session
        self._check(shown)
        if self.record_event is None:
            raise UnavailableError(
                "no gateway is running, and only it can put the erasure on the tape",
                hint="start it with: pgwitness gateway",
            )
        self._check_sealed(id, found.last_position)
        self.catalog.log(actor, "session.erase", id, reason=checked)
        try:
            self.record_event(
                {
                    "event": ERASED,
                    "session": id,
                    "by": actor,
                    "reason": checked,
                    "position": [found.first_position, found.last_position],
                    "identity": shown.identity,
                    "connection": shown.connection,
                    "started_at": shown.started_at,
                    "ended_at": shown.ended_at,
                }
            )
        except OSError as error:
            raise UnavailableError(f"the erasure cannot be recorded, so it is not done: {error}") from None
        return id

    def due(self, now: datetime | None = None) -> list[tuple[Session, str]]:
        """Ended sessions that are older than they are kept, the oldest first, and why. Held ones are not
        among them."""
        moment = now or datetime.now(UTC)
        held = {hold.session for hold in self.catalog.keeping.holds()}
        rules = self.catalog.keeping.rules()
        found = expired(self.index, rules, self.keep, moment, limit=AT_ONCE + len(held))
        due = []
        for session in found:
            keep = rules.get(session.connection or "", self.keep)
            if session.session not in held and keep is not None:
                due.append((session, f"kept for {_days(keep)}, as set for its connection"))
        return due[:AT_ONCE]

    def apply(self) -> list[str]:
        """Erase what is due; the ids. What cannot be erased yet is tried again the next time."""
        done = []
        for session, reason in self.due():
            try:
                done.append(self.erase(session.session, reason, actor=ACTOR))
            except WitnessError as error:
                _log.warning("session %s is due and was not erased: %s", session.session, error)
        return done

    def _check(self, session: Session) -> None:
        id = session.session
        if session.erased_at is not None:
            raise ConflictError(f"session {id} was erased already, at {session.erased_at}")
        if session.ended_at is None:
            raise ConflictError(f"session {id} is open", hint=f"end it first: pgwitness session kill {id}")
        hold = self.catalog.keeping.held(id)
        if hold is not None:
            raise ConflictError(
                f"session {id} is held by {hold.actor}: {hold.reason}",
                hint=f"who may decide that: pgwitness session release {id} --reason WHY",
            )

    def _check_sealed(self, session: str, last: int) -> None:
        layout = Layout(self.state / "record")
        if not layout.checkpoint.exists() or LogReader(layout).checkpoint.tape <= last:
            raise ConflictError(
                f"session {session} is not sealed yet, so there is no record of what would be erased",
                hint="try again in some seconds; pgwitness verify tells the state of the record",
            )


def _days(span: timedelta) -> str:
    return f"{span.days} days" if span.days else f"{int(span.total_seconds())} seconds"
