"""What happened, in numbers: statements over time, the largest writes, the errors by SQLSTATE."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from pgwitness.index import tables, times
from pgwitness.index.blocks import Kind, place, term, unpack
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.search import Hits, Search, among

_ACTIVITY = tables.activity.c
_MARK = tables.marks.c
_STATEMENT = tables.statements.c

Found = tuple[int, int]
"""(rows written, place)"""


class Errors(msgspec.Struct):
    """Statements that ended with one SQLSTATE."""

    sqlstate: str
    statements: int
    session: str
    seq: int
    at: str
    """One of the latest."""


def activity(
    connection: Connection, since: datetime, until: datetime, buckets: int, scope: Scope | None
) -> list[dict[str, Any]]:
    """Statements that started from the minute of ``since`` to that of ``until``, in at most so many equal
    spans of whole minutes: ``at`` (a span's beginning), ``identity``, ``statements``, ``errors``,
    ``rows_written``. Spans in which nothing happened are left out."""
    first, last = times.minute_of(since), times.minute_of(until)
    width = -(-(last - first + 1) // max(1, buckets))
    bucket = (_ACTIVITY.minute - first) // width
    sums = [func.sum(column) for column in (_ACTIVITY.statements, _ACTIVITY.errors, _ACTIVITY.rows_written)]
    query = select(bucket, _ACTIVITY.identity, *sums).where(_ACTIVITY.minute.between(first, last))
    if scope is not None and scope.identity is not None:
        query = query.where(_ACTIVITY.identity == scope.identity)
    if scope is not None and scope.connections is not None:
        query = query.where(_ACTIVITY.connection.in_(scope.connections))
    query = query.group_by(bucket, _ACTIVITY.identity).order_by(bucket, _ACTIVITY.identity)
    begin = datetime.fromtimestamp(first * 60, UTC)
    return [
        {
            "at": times.of_datetime(begin + timedelta(minutes=width * number)),
            "identity": identity or None,
            "statements": statements,
            "errors": errors,
            "rows_written": written,
        }
        for number, identity, statements, errors, written in connection.execute(query)
        if statements
    ]


def largest_writes(connection: Connection, filters: Filters, limit: int) -> list[int]:
    """Places of the statements that wrote most rows, the largest first."""
    search = Search(connection, filters)
    marked: dict[int, list[tuple[Hits, int]]] = {}
    for hits, value, bits in _marked(connection, search, Kind.WRITTEN):
        marked.setdefault(value, []).append((hits, bits))
    found: list[Found] = []
    for value in sorted(marked, reverse=True):
        for hits, bits in marked[value]:
            found = nlargest(limit, [*found, *_written(connection, hits, bits, limit)])
        if len(found) == limit:
            break
    return [number for _, number in found]


def errors(connection: Connection, filters: Filters, limit: int) -> list[Errors]:
    """The most frequent ones first."""
    search = Search(connection, filters)
    counts: dict[int, int] = {}
    last: dict[int, int] = {}
    for hits, value, bits in _marked(connection, search, Kind.SQLSTATE):
        counts[value] = counts.get(value, 0) + bits.bit_count()
        last[value] = place(hits.block, bits.bit_length() - 1)
    found = []
    session = tables.sessions.c
    query = select(_STATEMENT.sqlstate, session.id, _STATEMENT.seq, _STATEMENT.started).join(
        tables.sessions, session.number == _STATEMENT.session
    )
    for value, count in counts.items():
        row = connection.execute(query.where(_STATEMENT.place == last[value])).one()
        if term(row.sqlstate) == value:
            found.append(Errors(row.sqlstate, count, row.id, row.seq, row.started))
    return sorted(found, key=lambda each: -each.statements)[:limit]


def _marked(connection: Connection, search: Search, kind: Kind) -> Iterator[tuple[Hits, int, int]]:
    """(what was found in a block, value, its bits among them)"""
    for hits in search.hits():
        exact = search.exact(hits)
        query = select(_MARK.value, _MARK.bits).where(_MARK.block == hits.block, _MARK.kind == int(kind))
        for value, packed in connection.execute(query):
            if bits := unpack(packed) & exact:
                yield hits, value, bits


def _written(connection: Connection, hits: Hits, bits: int, limit: int) -> list[Found]:
    query = select(_STATEMENT.written, _STATEMENT.place)
    query = query.order_by(_STATEMENT.written.desc(), _STATEMENT.place.desc()).limit(limit)
    found: list[Found] = []
    for chosen in among(hits.block, bits):
        rows = connection.execute(query.where(chosen))
        found = nlargest(limit, [*found, *((row[0], row[1]) for row in rows)])
    return found
