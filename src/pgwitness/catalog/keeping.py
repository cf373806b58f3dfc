"""What people decided about keeping sessions: which are held whatever happens, and for how long the others
are kept, by connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from pgwitness.catalog.database import Database
from pgwitness.catalog.tables import HoldRow, RetentionRow
from pgwitness.errors import ConflictError, InvalidError, NotFoundError

LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Hold:
    """A session that nobody may erase."""

    session: str
    reason: str
    actor: str
    at: datetime


class Keeping:
    """Holds and retention rules. Every change needs an ``actor`` and is in the audit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, session: str, reason: str, *, actor: str) -> Hold:
        """``session`` is a full id. Raises ConflictError if it is held already, InvalidError."""
        checked = check_reason(reason)
        with self._database.change(actor) as change:
            if change.session.get(HoldRow, session) is not None:
                raise ConflictError(f"session {session} is held already")
            row = HoldRow(session=session, reason=checked, actor=actor, at=change.at)
            change.session.add(row)
            change.log("session.hold", session, reason=checked)
            return _hold(row)

    def release(self, session: str, reason: str, *, actor: str) -> None:
        """Raises NotFoundError if it is not held, InvalidError."""
        checked = check_reason(reason)
        with self._database.change(actor) as change:
            row = change.session.get(HoldRow, session)
            if row is None:
                raise NotFoundError(f"session {session} is not held")
            change.session.delete(row)
            change.log("session.release", session, reason=checked)

    def held(self, session: str) -> Hold | None:
        with self._database.read() as reading:
            row = reading.get(HoldRow, session)
            return None if row is None else _hold(row)

    def holds(self) -> list[Hold]:
        """The newest first."""
        with self._database.read() as reading:
            return [_hold(row) for row in reading.scalars(select(HoldRow).order_by(HoldRow.at.desc()))]

    def set_rule(self, connection: str, keep: timedelta | None, *, actor: str) -> None:
        """How long sessions of a connection are kept; None: for ever."""
        seconds = None if keep is None else int(keep.total_seconds())
        with self._database.change(actor) as change:
            change.session.merge(RetentionRow(connection=connection, seconds=seconds))
            change.log("retention.set", connection, seconds=seconds)

    def drop_rule(self, connection: str, *, actor: str) -> None:
        """The setting counts again. Raises NotFoundError."""
        with self._database.change(actor) as change:
            row = change.session.get(RetentionRow, connection)
            if row is None:
                raise NotFoundError(f"connection {connection!r} has no retention of its own")
            change.session.delete(row)
            change.log("retention.default", connection)

    def rules(self) -> dict[str, timedelta | None]:
        """By connection; None: for ever."""
        with self._database.read() as reading:
            rows = reading.scalars(select(RetentionRow).order_by(RetentionRow.connection))
            return {
                row.connection: None if row.seconds is None else timedelta(seconds=row.seconds)
                for row in rows
            }


def check_reason(reason: str) -> str:
    """One line that is not empty. Raises InvalidError."""
    line = " ".join(reason.split())
    if not line or len(line) > LONGEST_REASON:
        raise InvalidError(f"a reason is needed, of up to {LONGEST_REASON} characters")
    return line


def _hold(row: HoldRow) -> Hold:
    return Hold(row.session, row.reason, row.actor, row.at)
