"""A session as its pages show it: its state, what is to be said of it before anything else, its statements
piece by piece.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from pgwitness.api.access import Reader
from pgwitness.api.services import Services
from pgwitness.index.erased import ERASED
from pgwitness.index.events import list_events
from pgwitness.index.filters import Filters
from pgwitness.index.outline import between, problems
from pgwitness.index.store import Session, SessionDetail
from pgwitness.review.text import counted
from pgwitness.web.showing import Row, rows_of

CHUNK: Final = 100
"""Statements that are loaded at a time."""
EVENTS_SHOWN: Final = 20
"""Of those at one place."""
_DAMAGE: Final = ("sequence_gap", "malformed")
_QUIET: Final = frozenset({"at", "position", "event"})

State = Literal["live", "ended", "interrupted", "unfinished", "erased"]


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be known before one trusts what is shown."""

    weight: Literal["bad", "warn", "note"]
    text: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class SessionView:
    detail: SessionDetail
    state: State
    remarks: list[Remark]

    @property
    def session(self) -> Session:
        return self.detail.session

    @property
    def version(self) -> str:
        """Differs where anything of what is shown may differ."""
        one = self.session
        counts = (one.statements, one.errors, one.rows_written, self.detail.last_position)
        return ".".join(str(each) for each in (*counts, self.state, one.ended_at, one.erased_at))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Statements ``first`` to ``last`` of a session, and the events between them."""

    first: int
    last: int
    rows: list[Row]
    after: list[dict[str, Any]]
    """Events after the session's last statement."""


def view(services: Services, reader: Reader, session: str) -> SessionView:
    """Of a full id that the reader may see. Raises NotFoundError."""
    detail = services.index.session(session)
    state = _state(services, detail.session)
    return SessionView(detail, state, list(_remarks(services, reader, detail, state)))


def chunk(services: Services, detail: SessionDetail, number: int) -> Chunk:
    """Number 0 has the statements 1 to ``CHUNK``."""
    first = number * CHUNK + 1
    last = first + CHUNK - 1
    session = detail.session
    found = list(rows_of(between(services.index, session.session, first - 1, last + 1), session.started_at))
    before = found[0].statement.position if found and found[0].statement.seq < first else -1
    goes_on = bool(found) and found[-1].statement.seq > last
    rows, rest = _with_events(
        [row for row in found if first <= row.statement.seq <= last], detail.events, before
    )
    return Chunk(first, rows[-1].statement.seq if rows else first - 1, rows, [] if goes_on else rest)


def described(event: dict[str, Any]) -> str:
    """What an event says beside its name."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in event.items() if name not in _QUIET and value
    )


def _with_events(
    rows: list[Row], events: list[dict[str, Any]], after: int
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Each event before the statement that it preceded on the tape, and those that are left."""
    positions = [each["position"] for each in events]
    at = bisect_right(positions, after)
    placed = []
    for row in rows:
        until = bisect_right(positions, row.statement.position)
        placed.append(replace(row, events=_few(events[at:until])))
        at = until
    return placed, _few(events[at:])


def _few(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(events) <= EVENTS_SHOWN:
        return events
    last = events[-1]
    left = {"at": last["at"], "event": f"{len(events) - EVENTS_SHOWN} more events"}
    return [*events[:EVENTS_SHOWN], left]


def _state(services: Services, session: Session) -> State:
    if session.erased_at is not None:
        return "erased"
    if session.ended_at is not None:
        return "interrupted" if session.end_reason == "interrupted" else "ended"
    live = services.live
    open_now = live is not None and any(each["session"] == session.session for each in live.list())
    return "live" if open_now else "unfinished"


def _remarks(services: Services, reader: Reader, detail: SessionDetail, state: State) -> Iterator[Remark]:
    session = detail.session
    if state == "erased":
        yield _erasure(services, session)
        return
    if state == "interrupted":
        yield Remark(
            "warn",
            "The record of this session ends where the gateway was stopped.",
            "What it did until then is here. What is in doubt, only the database knows.",
        )
    if state == "unfinished":
        yield Remark(
            "warn",
            "The record of this session has no end.",
            "No gateway holds it now. It had not ended when the gateway did, or its end is not indexed yet.",
        )
    yield from _damage(services, detail)
    yield from _withheld(services)
    hold = services.catalog.keeping.held(session.session) if reader.may("auditor") else None
    if hold is not None:
        yield Remark(
            "note", f"Held by {hold.actor}: {hold.reason}", "Nobody can erase it until it is released."
        )


def _erasure(services: Services, session: Session) -> Remark:
    assert session.erased_at is not None
    moment = datetime.fromisoformat(session.erased_at)
    why = "Its entries in the log stay, so the record still proves that nothing else is missing."
    told = list_events(services.index, Filters(since=moment, until=moment), ERASED).items
    for event in told:
        if event.get("session") == session.session:
            why = f"By {event.get('by')}: {event.get('reason')}. {why}"
    return Remark("warn", f"What this session did was erased at {session.erased_at[:19]}, for good.", why)


def _damage(services: Services, detail: SessionDetail) -> Iterator[Remark]:
    places = len(problems(services.index, detail.session.session))
    places += sum(each.get("event") in _DAMAGE for each in detail.events)
    if places:
        yield Remark(
            "bad",
            f"A part of this session's record cannot be read: {counted(places, 'place')}.",
            "Statements may be missing there, or stand without an answer.",
        )


def _withheld(services: Services) -> Iterator[Remark]:
    kept = {
        "normalised": "The index keeps statements without their literals and values",
        "none": "The index keeps no texts of statements and no values",
    }.get(services.settings.index.text)
    if kept is not None:
        yield Remark(
            "note",
            f"{kept} (setting index.text).",
            "The tape and the sealed record have them, and so has an evidence bundle.",
        )
