"""A session at a glance: what a time line of it is drawn from, however long the session is.

The statements are counted in SQL, into at most ``buckets`` spans of equally many statements. So an answer is
small, and a span that holds one statement is that statement. Rows are those of tags; nothing is estimated.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from pgwitness.index import queries, tables
from pgwitness.index.rows import COLUMNS, to_statement
from pgwitness.index.store import IndexReader
from pgwitness.statements.model import Outcome, Statement

CONTROL = (
    *("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "SET", "RESET", "SHOW"),
    *("PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED", "DISCARD", "DEALLOCATE", "PREPARE"),
)
SCHEMA_VERBS = ("CREATE", "ALTER", "DROP ", "GRANT", "REVOKE", "COMMENT", "REINDEX", "REFRESH")
_VERB = 5
"""Letters that tell these verbs from all others."""
LARGEST = 5
SAMPLES = 400
"""Of a longer session, only transactions of more than a share of this of its statements are told one by one:
others are too short to be seen, and too many."""
_PLAUSIBLE = 10**12
"""A server may say anything in a tag; sums must not overflow for it."""

Stop = Literal["write", "failure", "transaction"]
STOPS: tuple[Stop, ...] = ("write", "failure", "transaction")


class Span(msgspec.Struct):
    """Statements ``first`` to ``last``, begun from ``at`` to ``until``."""

    first: int
    last: int
    at: str
    until: str
    statements: int
    failed: int
    """Of any status but ok."""
    schema: int
    """Commands that change the schema or rights."""
    control: int
    """Of transactions and settings."""
    written: int
    """Rows written by statements whose work was committed."""
    undone: int
    """Rows written by statements whose work was not committed, or is not yet."""
    read: int
    """Rows of everything else."""


class Bracket(msgspec.Struct):
    """A transaction of more than one statement."""

    number: int
    first: int
    last: int
    at: str
    until: str
    outcome: Outcome
    partly: bool
    """Committed, and some of its statements were rolled back to a savepoint."""


class Standout(msgspec.Struct):
    seq: int
    command: str | None
    rows: int
    outcome: Outcome


class Outline(msgspec.Struct):
    session: str
    statements: int
    first: str | None
    last: str | None
    """When the first and the last statement began."""
    spans: list[Span]
    brackets: list[Bracket]
    shortest: int
    """Of so many statements are the shortest transactions that ``brackets`` is sure to tell."""
    largest: list[Standout]
    """The largest writes, the largest first."""
    failure: int | None
    """The first statement that did not end well."""


_S = tables.statements.c
_command = func.coalesce(_S.command, "")
_rows: ColumnElement[int] = case((_S.rows > _PLAUSIBLE, _PLAUSIBLE), else_=func.coalesce(_S.rows, 0))
_written: ColumnElement[int] = func.coalesce(_S.written, 0)
_wrote: ColumnElement[bool] = _written > 0
_schema: ColumnElement[bool] = func.substr(_command, 1, _VERB).in_([verb[:_VERB] for verb in SCHEMA_VERBS])
_failed: ColumnElement[bool] = _S.status != "ok"
_committed: ColumnElement[bool] = _S.outcome == "committed"


def _count(condition: ColumnElement[bool], what: ColumnElement[int] | int = 1) -> ColumnElement[int]:
    return func.sum(case((condition, what), else_=0))


def outline(index: IndexReader, session: str, *, buckets: int = 600) -> Outline:
    """Raises NotFoundError, ConflictError."""
    with index.connection() as connection:
        if connection is None:
            queries.unknown(session)
        number, id = queries.resolve(connection, session)
        mine = _S.session == number
        total = connection.scalar(select(func.max(_S.seq)).where(mine)) or 0
        spans = _spans(connection, mine, total, buckets)
        return Outline(
            session=id,
            statements=total,
            first=spans[0].at if spans else None,
            last=spans[-1].until if spans else None,
            spans=spans,
            brackets=_brackets(connection, mine, total),
            shortest=2 if total <= SAMPLES else 2 * (total // SAMPLES),
            largest=_largest(connection, mine),
            failure=connection.scalar(select(func.min(_S.seq)).where(mine, _failed)),
        )


def stop_after(
    index: IndexReader, session: str, seq: int, stop: Stop, *, backwards: bool = False
) -> int | None:
    """The next statement from ``seq`` on, without it, that wrote rows, did not end well, or is the first
    of another transaction. Raises NotFoundError, ConflictError."""
    with index.connection() as connection:
        if connection is None:
            queries.unknown(session)
        number, _ = queries.resolve(connection, session)
        mine = _S.session == number
        beyond = _S.seq < seq if backwards else _S.seq > seq
        if stop == "transaction":
            return _next_transaction(connection, mine, seq, backwards)
        wanted = _failed if stop == "failure" else _wrote
        order = _S.seq.desc() if backwards else _S.seq
        return connection.scalar(select(_S.seq).where(mine, beyond, wanted).order_by(order).limit(1))


def between(index: IndexReader, session: str, first: int, last: int) -> Iterator[Statement]:
    """The statements ``first`` to ``last`` of a session, one by one. Raises NotFoundError, ConflictError."""
    with index.connection() as connection:
        if connection is None:
            queries.unknown(session)
        number, _ = queries.resolve(connection, session)
        query = queries.statements_with_sessions().where(_S.session == number, _S.seq.between(first, last))
        for row in connection.execute(query.order_by(_S.seq)):
            yield to_statement(row[: len(COLUMNS)], dict(row._mapping))


def problems(index: IndexReader, session: str) -> list[dict[str, Any]]:
    """Where the tape of this session (its full id) could not be read, or made no sense."""
    found = tables.problems.c
    query = select(found.position, found.at, found.problem).where(found.session == session)
    with index.connection() as connection:
        rows = connection.execute(query.order_by(found.position)).all() if connection is not None else []
    return [dict(row._mapping) for row in rows]


def _spans(connection: Connection, mine: ColumnElement[bool], total: int, buckets: int) -> list[Span]:
    if not total:
        return []
    bucket = (_S.seq - 1) * min(buckets, total) // total
    read = and_(~_wrote, ~_schema, _command.not_in(CONTROL))
    query = (
        select(
            func.min(_S.seq),
            func.max(_S.seq),
            func.min(_S.started),
            func.max(_S.started),
            func.count(),
            _count(_failed),
            _count(_schema),
            _count(_command.in_(CONTROL)),
            _count(_committed, _written),
            _count(~_committed, _written),
            _count(read, _rows),
        )
        .where(mine)
        .group_by(bucket)
        .order_by(bucket)
    )
    return [Span(*row) for row in connection.execute(query)]


def _brackets(connection: Connection, mine: ColumnElement[bool], total: int) -> list[Bracket]:
    first, last = func.min(_S.seq), func.max(_S.seq)
    query = (
        select(
            _S.transaction,
            first.label("first"),
            last.label("last"),
            func.min(_S.started).label("at"),
            func.max(_S.started).label("until"),
            *(_count(_S.outcome == name).label(name) for name in _BY_WEIGHT),
        )
        .where(mine)
        .group_by(_S.transaction)
        .having(last > first)
        .order_by(first)
    )
    if total > SAMPLES:
        long = _long(connection, mine, total // SAMPLES, total)
        if not long:
            return []
        query = query.where(_S.transaction.in_(long))
    found = []
    for row in connection.execute(query):
        outcome = next(name for name in _BY_WEIGHT if getattr(row, name))
        partly = outcome == "committed" and bool(row.rolled_back)
        found.append(Bracket(row.transaction, row.first, row.last, row.at, row.until, outcome, partly))
    return found


def _long(connection: Connection, mine: ColumnElement[bool], step: int, total: int) -> list[int]:
    """Transactions that two of the samples are in, ``step`` statements apart."""
    samples = select(_S.transaction).where(mine, _S.seq.in_(range(1, total + 1, step))).order_by(_S.seq)
    numbers = connection.scalars(samples).all()
    return sorted({before for before, after in pairwise(numbers) if before == after})


_BY_WEIGHT: tuple[Outcome, ...] = ("in_doubt", "open", "committed", "rolled_back")
"""A transaction's outcome is the first of these that one of its statements has."""


def _largest(connection: Connection, mine: ColumnElement[bool]) -> list[Standout]:
    query = select(_S.seq, _S.command, _S.written, _S.outcome).where(mine, _wrote)
    rows = connection.execute(query.order_by(_S.written.desc(), _S.seq).limit(LARGEST))
    return [Standout(*row) for row in rows]


def _next_transaction(
    connection: Connection, mine: ColumnElement[bool], seq: int, backwards: bool
) -> int | None:
    """Backwards: the beginning of this transaction, or from there that of the one before."""
    now = select(_S.transaction).where(mine, _S.seq == seq).scalar_subquery()
    if not backwards:
        later = select(_S.seq).where(mine, _S.seq > seq, _S.transaction != now)
        return connection.scalar(later.order_by(_S.seq).limit(1))
    before = select(_S.transaction).where(mine, _S.seq == seq - 1).scalar_subquery()
    begun: int | None = connection.scalar(select(func.min(_S.seq)).where(mine, _S.transaction == before))
    return begun
