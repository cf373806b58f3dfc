"""What stood around a statement: before and after it, in its session and in all that its connection saw."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from pgwitness.index import queries
from pgwitness.index.filters import Filters
from pgwitness.index.outline import between
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
    seq = statement.seq
    found = list(between(index, statement.session, seq - count, seq + count))
    return Around([each for each in found if each.seq < seq], [each for each in found if each.seq > seq])


def on_connection(
    index: IndexReader, statement: Statement, count: int, reach: Filters | None = None
) -> Around:
    """Its neighbours among the statements of all sessions of its connection, at most ``NEAR`` away. ``reach``
    is what the reader may see."""
    moment = datetime.fromisoformat(statement.started_at)
    wanted = replace(
        reach or Filters(), connection=statement.connection, since=moment - NEAR, until=moment + NEAR
    )
    cursor = queries.cursor(statement.position, statement.seq)
    before = index.statements(wanted, limit=count, cursor=cursor, newest=True).items
    return Around(before, index.statements(wanted, limit=count, cursor=cursor).items)
