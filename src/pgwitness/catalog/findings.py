"""What the watch found around the gateway: each finding once, with when it was first and last seen.

A finding is known by its connection and its ``key``, which stays the same from one look to the next and over
restarts. What is not found any more is ``gone``, and comes ``again`` if it is found once more; what somebody
has ``accepted`` is known and wanted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from pgwitness.catalog.database import Database
from pgwitness.catalog.tables import BaselineRow, ConnectionRow, FindingRow
from pgwitness.errors import NotFoundError

Kind = Literal["session", "statements", "route", "feature"]
Level = Literal["alarm", "weakness", "note"]
"""``alarm``: something went around the gateway. ``weakness``: something can. ``note``: good to know."""
Change = Literal["new", "again", "more", "gone"]

LEVELS: Final[tuple[Level, ...]] = ("alarm", "weakness", "note")
KEPT: Final = 2000
"""Of one connection. Beyond that, those that were gone first are forgotten here; the tape has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one look found."""

    key: str
    kind: Kind
    level: Level
    what: str
    """One line for a person."""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(Found):
    """What is known of it, over all looks."""

    connection: str
    first_seen: datetime
    last_seen: datetime
    gone_at: datetime | None = None
    accepted_at: datetime | None = None
    accepted_by: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it is there, unwanted, and more than a note."""
        return self.gone_at is None and self.accepted_at is None and self.level != "note"


class Findings:
    """Keeps them. Looks are no decisions of people: only accepting one is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def saw(
        self,
        connection: str,
        found: Iterable[Found],
        *,
        gone: Collection[Kind],
        unseen: Collection[str] = (),
        at: datetime,
    ) -> list[tuple[Change, Finding]]:
        """Keep what a look at a connection found, and return what is different now.

        ``gone``: the kinds whose other findings are not there any more, but for those whose key begins with
        one of ``unseen``. A connection that was removed
        meanwhile has no findings. ``statements`` that grow are ``more``, and not accepted any longer.
        """
        with self._database.write() as session:
            owner = session.scalar(select(ConnectionRow).where(ConnectionRow.name == connection))
            if owner is None:
                return []
            known = {row.key: row for row in _rows(session, connection)}
            changes: list[tuple[Change, FindingRow]] = []
            present = set()
            for one in found:
                present.add(one.key)
                row = known.get(one.key)
                if row is None:
                    row = FindingRow(connection_id=owner.id, connection=owner, key=one.key, first_seen=at)
                    session.add(row)
                    changes.append(("new", row))
                elif row.gone_at is not None:
                    changes.append(("again", row))
                elif one.kind == "statements" and row.details != one.details:
                    row.accepted_at = row.accepted_by = None  # what was accepted were fewer
                    changes.append(("more", row))
                row.kind, row.level, row.what, row.details = one.kind, one.level, one.what, one.details
                row.last_seen, row.gone_at = at, None
            for key, row in known.items():
                looked_for = row.kind in gone and not key.startswith(tuple(unseen))
                if key not in present and looked_for and row.gone_at is None:
                    row.gone_at = at
                    changes.append(("gone", row))
            _forget(session, list(known.values()))
            session.flush()
            return [(change, _value(row)) for change, row in changes]

    def list(self, connection: str | None = None, *, past: bool = False) -> list[Finding]:
        """The worst first, then the newest. ``past``: also those that are gone."""
        with self._database.read() as session:
            found = [_value(row) for row in _rows(session, connection) if past or row.gone_at is None]
        found.sort(key=lambda one: one.last_seen, reverse=True)
        return sorted(found, key=lambda one: (one.gone_at is not None, LEVELS.index(one.level)))

    def counts(self) -> dict[str, dict[str, int]]:
        """By connection and level: how many are there and not accepted."""
        counted: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(LEVELS, 0))
        for one in self.list():
            if one.accepted_at is None:
                counted[one.connection][one.level] += 1
        return dict(counted)

    def accept(self, connection: str, keys: Iterable[str], *, actor: str, undo: bool = False) -> None:
        """Say that these are wanted, or not any more. Raises NotFoundError."""
        with self._database.change(actor) as change:
            known = {row.key: row for row in _rows(change.session, connection)}
            for key in keys:
                row = known.get(key)
                if row is None:
                    raise NotFoundError(
                        f"connection {connection!r} has no finding {key!r}",
                        hint=f"pgwitness watch {connection} --all lists those there are",
                    )
                row.accepted_at = None if undo else change.at
                row.accepted_by = None if undo else actor
                change.log("watch.unaccept" if undo else "watch.accept", connection, key=key, what=row.what)

    def baseline(self, connection: str) -> bytes | None:
        """What ``keep_baseline`` kept."""
        with self._database.read() as session:
            row = session.scalar(
                select(BaselineRow)
                .join(ConnectionRow, ConnectionRow.id == BaselineRow.connection_id)
                .where(ConnectionRow.name == connection)
            )
            return None if row is None else row.data

    def keep_baseline(self, connection: str, data: bytes) -> None:
        with self._database.write() as session:
            owner = session.scalar(select(ConnectionRow.id).where(ConnectionRow.name == connection))
            if owner is not None:
                session.merge(BaselineRow(connection_id=owner, taken_at=datetime.now(UTC), data=data))


def _rows(session: Session, connection: str | None) -> list[FindingRow]:
    query = select(FindingRow).options(selectinload(FindingRow.connection))
    if connection is not None:
        query = query.join(FindingRow.connection).where(ConnectionRow.name == connection)
    return list(session.scalars(query))


def _forget(session: Session, rows: list[FindingRow]) -> None:
    spare = len(rows) - KEPT
    if spare <= 0:
        return
    past = [row for row in rows if row.gone_at is not None and row.accepted_at is None]
    past.sort(key=lambda row: row.last_seen)
    for row in past[:spare]:
        session.delete(row)


def _value(row: FindingRow) -> Finding:
    return Finding(
        key=row.key,
        kind=row.kind,  # type: ignore[arg-type]  # only Found puts it there
        level=row.level,  # type: ignore[arg-type]
        what=row.what,
        details=row.details,
        connection=row.connection.name,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        gone_at=row.gone_at,
        accepted_at=row.accepted_at,
        accepted_by=row.accepted_by,
    )
