"""What a reader asks for: the filters that every listing of sessions and statements takes.

``parse`` turns the texts of a command line or of a query string into ``Filters``; anything that does not make
sense is an ``InvalidError`` that names the filter. Times are RFC 3339, or how long ago: ``90s``, ``15m``,
``2h``, ``3d``, ``1w``.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pgwitness.errors import InvalidError

STATUSES = ("ok", "error", "cancelled", "skipped", "unfinished")
OUTCOMES = ("committed", "rolled_back", "open", "in_doubt")

_AGO = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Filters:
    """All that is given must hold. ``session`` is an id or a unique head or tail of one."""

    session: str | None = None
    identity: str | None = None
    run: str | None = None
    connection: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    command: str | None = None
    table: str | None = None
    match: str | None = None
    status: str | None = None
    outcome: str | None = None
    min_rows: int | None = None

    def with_session(self, session: str | None) -> "Filters":
        return replace(self, session=session)

    @property
    def on_statements(self) -> bool:
        """Whether a property of single statements is asked for."""
        return any(
            value is not None
            for value in (self.command, self.table, self.match, self.status, self.outcome, self.min_rows)
        )


def parse(
    *,
    session: str | None = None,
    identity: str | None = None,
    run: str | None = None,
    connection: str | None = None,
    since: str | None = None,
    until: str | None = None,
    command: str | None = None,
    table: str | None = None,
    match: str | None = None,
    status: str | None = None,
    outcome: str | None = None,
    min_rows: int | None = None,
    now: datetime | None = None,
) -> Filters:
    """Filters from texts. Raises InvalidError."""
    moment = now or datetime.now(UTC)
    if min_rows is not None and min_rows < 0:
        raise InvalidError("min-rows cannot be negative")
    return Filters(
        session=session or None,
        identity=identity or None,
        run=run or None,
        connection=connection or None,
        since=parse_time(since, "since", moment) if since else None,
        until=parse_time(until, "until", moment) if until else None,
        command=command.upper() if command else None,
        table=table or None,
        match=match or None,
        status=_one_of(status, "status", STATUSES),
        outcome=_one_of(outcome, "outcome", OUTCOMES),
        min_rows=min_rows,
    )


def parse_time(text: str, name: str, now: datetime) -> datetime:
    """An RFC 3339 time (UTC when it names no zone) or a span before ``now``. Raises InvalidError."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise InvalidError(
            f"{name}: {text!r} is not a time",
            hint="Give RFC 3339, such as 2026-11-22T06:45:31Z, or how long ago: 15m, 2h, 3d.",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _one_of(value: str | None, name: str, allowed: tuple[str, ...]) -> str | None:
    if not value:
        return None
    normal = value.lower().replace("-", "_")
    if normal not in allowed:
        raise InvalidError(f"{name}: {value!r} is none of {', '.join(allowed)}")
    return normal
