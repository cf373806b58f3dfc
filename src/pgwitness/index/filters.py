"""What a reader asks for: the filters that every listing of sessions and statements takes.

The fields of ``Filters`` are the one table of them: options of commands, parameters of queries and the
parsing of both are made of it. ``parse`` turns the texts of a command line or of a query string into
``Filters``; anything that does not make sense is an ``InvalidError`` that names the filter. Times are RFC
3339, or how long ago: ``90s``, ``15m``, ``1h30m``, ``3d``, ``1w``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pgwitness.errors import InvalidError
from pgwitness.index.passages import Needle

STATUSES = ("ok", "error", "cancelled", "skipped", "unfinished")
OUTCOMES = ("committed", "rolled_back", "open", "in_doubt")

KINDS = ("human", "service")

_SQLSTATE = re.compile(r"[0-9A-Z]{5}|[0-9A-Z]{2}")
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_PIECE = re.compile(r"([0-9]{1,9})\s*(us|ms|s|m|h)\s*")
_LASTING = re.compile(rf"(?:{_PIECE.pattern})+")
_SPAN = re.compile(r"(\d+)\s*([smhdw])\s*")
_AGO = re.compile(rf"(?:{_SPAN.pattern})+")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Parse = Callable[[str, str, datetime], Any]
"""From text, the filter's option, and now."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter, as it is offered. ``name`` is that of the field and of the query's parameter."""

    name: str
    metavar: str
    help: str
    example: str
    parse: Parse
    on_statements: bool

    @property
    def option(self) -> str:
        return self.name.replace("_", "-")


def parse_time(text: str, name: str, now: datetime) -> datetime:
    """An RFC 3339 time (UTC when it names no zone) or a span before ``now``. Raises InvalidError."""
    given = text.strip()
    try:
        if _AGO.fullmatch(given):
            return now - sum(
                (timedelta(**{_UNITS[unit]: int(count)}) for count, unit in _SPAN.findall(given)), timedelta()
            )
        moment = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        raise InvalidError(
            f"{name}: {text!r} is not a time",
            hint="Give RFC 3339, as 2026-11-22T06:45:31Z or 2026-11-22, or how long ago: 15m, 1h30m, 3d.",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _past(text: str, name: str, now: datetime) -> datetime:
    moment = parse_time(text, name, now)
    if moment > now:
        raise InvalidError(f"{name}: {text!r} is in the future, so nothing can be found")
    return moment


def _text(text: str, name: str, now: datetime) -> str:
    return text


def _command(text: str, name: str, now: datetime) -> str:
    return " ".join(text.upper().split())


def _one_of(allowed: tuple[str, ...]) -> Parse:
    def parse(text: str, name: str, now: datetime) -> str:
        normal = text.lower().replace("-", "_")
        if normal not in allowed:
            raise InvalidError(f"{name}: {text!r} is none of {', '.join(allowed)}")
        return normal

    return parse


def _count(text: str, name: str, now: datetime) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidError(f"{name}: {text!r} is not a number of rows")
    return int(text)


def _words(text: str, name: str, now: datetime) -> str:
    if not Needle.words(text):
        raise InvalidError(f"{name}: {text!r} has no word in it", hint="Letters, digits and _ make words.")
    return text


def _sqlstate(text: str, name: str, now: datetime) -> str:
    code = text.strip().upper()
    if not _SQLSTATE.fullmatch(code):
        raise InvalidError(f"{name}: {text!r} is no SQLSTATE", hint="Give five characters, or the first two.")
    return code


def _duration(text: str, name: str, now: datetime) -> int:
    given = text.strip()
    if given.isascii() and given.isdigit():
        given += "ms"
    if not _LASTING.fullmatch(given):
        raise InvalidError(
            f"{name}: {text!r} is not a duration", hint="Give for example 250ms, 2s, 1m30s or 2h."
        )
    return sum(int(count) * _MICROSECONDS[unit] for count, unit in _PIECE.findall(given))


def _about(
    metavar: str, help: str, example: str, parse: Parse = _text, *, on_statements: bool = False
) -> dict[str, Any]:
    return {"filter": (metavar, help, example, parse, on_statements)}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reader may see at all. No filter: nobody asks for it, it holds whatever is asked for."""

    identity: str | None = None
    """Sessions of this identity only; None: of all."""
    connections: tuple[str, ...] | None = None
    """Sessions through these connections only; None: through all."""


@dataclass(frozen=True, slots=True)
class Filters:
    """All that is given must hold."""

    session: str | None = field(
        default=None,
        metadata=_about("ID", "One session: its id, or a unique head or tail of it.", "8f3e21ab"),
    )
    identity: str | None = field(default=None, metadata=_about("NAME", "Of this identity.", "billing-agent"))
    run: str | None = field(
        default=None, metadata=_about("RUN", "Of this run, as the client claimed.", "run-81")
    )
    kind: str | None = field(
        default=None,
        metadata=_about("KIND", "Of identities of this kind: human or service.", "human", _one_of(KINDS)),
    )
    on_behalf_of: str | None = field(
        default=None, metadata=_about("NAME", "On behalf of this person or program.", "ann@example.org")
    )
    connection: str | None = field(
        default=None, metadata=_about("NAME", "Through this connection.", "orders")
    )
    since: datetime | None = field(
        default=None,
        metadata=_about(
            "TIME", "From this time on: RFC 3339, or how long ago, as in 15m, 1h30m, 3d.", "2h", _past
        ),
    )
    until: datetime | None = field(
        default=None, metadata=_about("TIME", "Up to this time.", "2026-11-22T06:45:31Z", parse_time)
    )
    command: str | None = field(
        default=None,
        metadata=_about(
            "COMMAND", "Of this command, such as UPDATE.", "UPDATE", _command, on_statements=True
        ),
    )
    table: str | None = field(
        default=None,
        metadata=_about(
            "TABLE",
            "Naming this table: public.orders, or orders in any schema.",
            "public.orders",
            on_statements=True,
        ),
    )
    match: str | None = field(
        default=None,
        metadata=_about(
            "TEXT",
            "With this text in the SQL or in a bound value; A to Z also in the other case.",
            "void",
            on_statements=True,
        ),
    )
    words: str | None = field(
        default=None,
        metadata=_about(
            "WORDS",
            "With each of these words in the SQL or in a bound value, whole and in any order.",
            "orders status",
            _words,
            on_statements=True,
        ),
    )
    status: str | None = field(
        default=None,
        metadata=_about(
            "STATUS",
            f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}.",
            "error",
            _one_of(STATUSES),
            on_statements=True,
        ),
    )
    outcome: str | None = field(
        default=None,
        metadata=_about(
            "OUTCOME",
            f"{', '.join(OUTCOMES[:-1])} or {OUTCOMES[-1]}.",
            "rolled_back",
            _one_of(OUTCOMES),
            on_statements=True,
        ),
    )
    min_rows: int | None = field(
        default=None, metadata=_about("N", "Of at least so many rows.", "1000", _count, on_statements=True)
    )
    sqlstate: str | None = field(
        default=None,
        metadata=_about(
            "SQLSTATE",
            "That failed with this code, such as 42501; 23 for all of class 23.",
            "42501",
            _sqlstate,
            on_statements=True,
        ),
    )
    min_duration: int | None = field(
        default=None,
        metadata=_about(
            "TIME",
            "That took at least so long: 250ms, 2s, 1m30s. A number alone is in milliseconds.",
            "250ms",
            _duration,
            on_statements=True,
        ),
    )
    """In microseconds."""

    scope: Scope | None = None
    """Set by who knows the reader; a session outside of it is one that does not exist."""

    def with_session(self, session: str | None) -> "Filters":
        return replace(self, session=session)

    @property
    def on_statements(self) -> bool:
        """Whether a property of single statements is asked for."""
        return any(each.on_statements and getattr(self, each.name) is not None for each in FILTERS)


FILTERS = tuple(
    Filter(each.name, *each.metadata["filter"]) for each in fields(Filters) if "filter" in each.metadata
)


def parse(given: Mapping[str, str | None], now: datetime | None = None) -> Filters:
    """Filters from texts by name; what is None is not asked for. Raises InvalidError."""
    moment = now or datetime.now(UTC)
    left = dict(given)
    values: dict[str, Any] = {}
    for each in FILTERS:
        text = left.pop(each.name, None)
        if text is None:
            continue
        if "\0" in text:
            raise InvalidError(f"{each.option} has a NUL character in it, which no text of PostgreSQL has")
        if not text.strip():
            raise InvalidError(f"{each.option} is empty", hint=f"for example: --{each.option} {each.example}")
        values[each.name] = each.parse(text, each.option, moment)
    if left:
        raise InvalidError(f"there is no filter {next(iter(left))!r}")
    filters = Filters(**values)
    if filters.since and filters.until and filters.since > filters.until:
        raise InvalidError("since is later than until, so nothing can be found")
    return filters
