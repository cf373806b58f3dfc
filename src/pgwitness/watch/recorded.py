"""Sessions in the record that a backend may belong to, though this process did not open it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select

from pgwitness.index import tables
from pgwitness.index.store import IndexReader

BEFORE: Final = timedelta(seconds=5)
AFTER: Final = timedelta(seconds=60)
"""A session begins on the record when its backend is there, and at the end of its client's log-in at the
latest."""


def has_session(index: IndexReader, pid: int, began: float, position: int) -> bool | None:
    """Whether a session is on record whose backend had this process id and began at about this moment, in
    seconds since the epoch by this machine's clock. None: the index has not read the tape up to ``position``.
    """
    session = tables.sessions.c
    moment = datetime.fromtimestamp(began, UTC)
    query = (
        select(session.number)
        .where(
            session.started >= _text(moment - BEFORE),
            session.started <= _text(moment + AFTER),
            func.json_extract(session.header, "$.upstream.pid") == pid,
        )
        .limit(1)
    )
    with index.connection() as connection:
        if connection is None:
            return None
        if connection.scalar(query) is not None:
            return True
        read = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "position"))
        return False if int(read or 0) >= position else None


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
