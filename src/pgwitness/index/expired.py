"""Which sessions are older than they are to be kept."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select

from pgwitness.index import tables
from pgwitness.index.store import IndexReader, Session, session_of
from pgwitness.index.times import of_datetime


def expired(
    index: IndexReader,
    rules: Mapping[str, timedelta | None],
    keep: timedelta | None,
    now: datetime,
    *,
    limit: int,
) -> list[Session]:
    """Sessions that ended longer ago than ``rules`` say for their connection, or ``keep`` for all others, and
    are not erased; the oldest first. None is for ever."""
    column = tables.sessions.c
    cases = [
        and_(column.connection == connection, column.ended < of_datetime(now - span))
        for connection, span in rules.items()
        if span is not None
    ]
    if keep is not None:
        other = or_(column.connection.is_(None), column.connection.not_in(list(rules)))
        cases.append(and_(other, column.ended < of_datetime(now - keep)))
    if not cases:
        return []
    query = select(tables.sessions).where(column.erased.is_(None), or_(*cases))
    with index.connection() as connection:
        if connection is None:
            return []
        rows = connection.execute(query.order_by(column.number).limit(limit)).all()
        return [session_of(row) for row in rows]
