"""What the record says was sent to the server between two moments, by database and shape of the statement.

Counts are upper bounds: of how often the server may have counted a statement, were nothing sent but what is
recorded. Read from the index, which has to have read the tape that far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, func, select

from pgwitness.index import tables
from pgwitness.index.rows import Rest
from pgwitness.index.search import between
from pgwitness.watch import shapes

_STATEMENT = tables.statements.c
_SESSION = tables.sessions.c
_TEXT = tables.texts.c
_decode = msgspec.json.Decoder(Rest).decode

TEXTS_AT_A_TIME: Final = 500
REMEMBERED: Final = 1000
"""Statements of one open session that may count late."""
_MAY_COUNT: Final = {"23", "40", "57", "08", "P0", "55", "53", "58", "XX", "25"}
"""Classes of errors that may come after the server has counted the statement: at its transaction's end."""
_SLACK: Final = timedelta(milliseconds=250)
"""The server may count a moment after it has answered."""

Bucket = tuple[str, str]
"""(database, shape)"""


@dataclass(frozen=True, slots=True)
class Route:
    """Sessions of this role through these registered connections."""

    user: str
    connections: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    calls: Counter[Bucket] = field(default_factory=Counter)
    """How often the server may have counted it at most."""
    sure: Counter[Bucket] = field(default_factory=Counter)
    """How often it said that it had carried it out."""
    rows: Counter[Bucket] = field(default_factory=Counter)
    rows_unknown: set[Bucket] = field(default_factory=set)
    untold: Counter[str] = field(default_factory=Counter)
    """By database: statements whose text the index does not keep."""
    loose: dict[str, str] = field(default_factory=dict)
    """Loose text to shape, of everything recorded."""

    def add(self, database: str, sql: str, calls: int, sure: int, rows: int | None) -> None:
        if not sql:
            self.untold[database] += calls
            return
        shape = shapes.shape(sql)
        bucket = (database, shape)
        # A cursor's query is counted by itself when the cursor is closed, under the text that declared it.
        self.calls[bucket] += 2 * calls if shape == shapes.DECLARE else calls
        self.sure[bucket] += sure
        self.loose.setdefault(shapes.loose(sql), shape)
        if rows is None:
            self.rows_unknown.add(bucket)
        else:
            self.rows[bucket] += rows


def tally(connection: Connection, route: Route, first: int, last: int, since: datetime) -> Tally:
    """Statements sent at positions from ``first`` to ``last``, and those
    before that the server may have counted only after ``since``, the moment of ``first``.
    """
    found = Tally()
    span = between(connection, first, last)
    grouped = (
        _of(route)
        .with_only_columns(
            _STATEMENT.text,
            _SESSION.database,
            _STATEMENT.command,
            _STATEMENT.status,
            func.count().label("calls"),
            func.sum(_STATEMENT.rows).label("rows"),
            func.count(_STATEMENT.rows).label("with_rows"),
        )
        .where(span, _STATEMENT.status.not_in(("skipped", "error")))
        .group_by(_STATEMENT.text, _SESSION.database, _STATEMENT.command, _STATEMENT.status)
    )
    rows = connection.execute(grouped).all()
    failed = connection.execute(
        _of(route)
        .with_only_columns(_STATEMENT.text, _SESSION.database, _STATEMENT.command, _STATEMENT.rest)
        .where(span, _STATEMENT.status == "error")
    ).all()
    late = list(_late(connection, route, first, since))
    texts = _texts(connection, {row.text for row in (*rows, *failed, *late)})
    for row in rows:
        if row.command == "FUNCTION":
            continue
        known = row.rows or 0 if row.status == "ok" and row.with_rows == row.calls else None
        sure = row.calls if row.status == "ok" else 0
        found.add(row.database or "", texts[row.text], row.calls, sure, known)
    for row in failed:
        if row.command != "FUNCTION" and (_decode(row.rest).sqlstate or "")[:2] in _MAY_COUNT:
            found.add(row.database or "", texts[row.text], 1, 0, None)
    for row in late:
        found.add(row.database or "", texts[row.text], 1, 0, None)
    return found


def _of(route: Route) -> Select[Any]:
    joined = tables.statements.join(tables.sessions, _SESSION.number == _STATEMENT.session)
    return (
        select()
        .select_from(joined)
        .where(_SESSION.user == route.user, _SESSION.connection.in_(route.connections))
    )


def _late(connection: Connection, route: Route, first: int, since: datetime) -> Iterator[Any]:
    """What was sent before and still ran then, or was held by a portal or a cursor of an open transaction."""
    moment = _text(since - _SLACK)
    open_then = connection.execute(
        select(_SESSION.number).where(
            _SESSION.user == route.user,
            _SESSION.connection.in_(route.connections),
            _SESSION.last_activity >= moment,
            _SESSION.first_position < first,
        )
    ).scalars()
    for number in open_then.all():
        rows = connection.execute(
            _of(route)
            .with_only_columns(
                _STATEMENT.text,
                _SESSION.database,
                _STATEMENT.command,
                _STATEMENT.status,
                _STATEMENT.started,
                _STATEMENT.duration,
                _STATEMENT.transaction,
                _STATEMENT.rest,
            )
            .where(_STATEMENT.session == number, _STATEMENT.position < first)
            .order_by(_STATEMENT.seq.desc())
            .limit(REMEMBERED)
        ).all()
        for place, row in enumerate(rows):
            if row.status not in ("skipped", "error") and row.command != "FUNCTION":
                held = row.transaction == rows[0].transaction and (
                    place == 0 or row.command == "DECLARE CURSOR" or _decode(row.rest).portal
                )
                if held or _ended(row.started, row.duration) >= moment:
                    yield row


def _ended(started: str, duration: int | None) -> str:
    if duration is None:
        return "9999"
    return _text(datetime.fromisoformat(started) + timedelta(microseconds=duration))


def _text(moment: datetime) -> str:
    """As the index writes it: UTC, six digits."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _texts(connection: Connection, numbers: set[int]) -> dict[int, str]:
    wanted = sorted(numbers)
    texts: dict[int, str] = {}
    for at in range(0, len(wanted), TEXTS_AT_A_TIME):
        query = select(_TEXT.number, func.substr(_TEXT.sql, 1, shapes.LIMIT + 1)).where(
            _TEXT.number.in_(wanted[at : at + TEXTS_AT_A_TIME])
        )
        texts.update((number, sql) for number, sql in connection.execute(query))
    return texts
