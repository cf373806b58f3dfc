"""What stood around a statement: before and after it, in its session and in all that its connection saw."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pgwitness.index import queries
from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader
from pgwitness.statements.model import Statement

NEAR: Final = timedelta(minutes=10)
"""What happened on the connection at another time is not around a statement."""


@dataclass(frozen=True, slots=True)
class Around:
    """Both in the order in which they reached the server."""

    before: list[Statement]
    after: list[Statement]


def in_session(index: IndexReader, statement: Statement, count: int) -> Around:
    """Its neighbours in its session."""
    return _around(index, statement, Filters(session=statement.session), count)


def on_connection(
    index: IndexReader, statement: Statement, count: int, reach: Filters | None = None
) -> Around:
    """Its neighbours among the statements of all sessions of its connection, at most ``NEAR`` away. ``reach``
    is what the reader may see."""
    moment = datetime.fromisoformat(statement.started_at)
    wanted = replace(
        reach or Filters(), connection=statement.connection, since=moment - NEAR, until=moment + NEAR
    )
    return _around(index, statement, wanted, count)


def _around(index: IndexReader, statement: Statement, wanted: Filters, count: int) -> Around:
    cursor = queries.cursor_of(statement)
    before = index.statements(wanted, limit=count, cursor=cursor, newest=True).items
    return Around(before, index.statements(wanted, limit=count, cursor=cursor).items)
