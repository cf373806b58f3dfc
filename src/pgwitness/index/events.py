"""What the recorder itself said: starts and stops, refused log-ins, what administrators did."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from pgwitness.index import queries, tables, times
from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, Page

_EVENT = tables.events.c


def list_events(
    index: IndexReader, filters: Filters, event: str | None, *, limit: int = 100, cursor: str | None = None
) -> Page[dict[str, Any]]:
    """Events of this name (all of them with None), the newest first: ``at`` and ``event``, then the other
    fields. Of ``filters``, ``since`` and ``until`` count."""
    query = select(tables.events).order_by(_EVENT.position.desc()).limit(limit + 1)
    if event is not None:
        query = query.where(_EVENT.event == event)
    if filters.since is not None:
        query = query.where(_EVENT.at >= times.of_datetime(filters.since))
    if filters.until is not None:
        query = query.where(_EVENT.at <= times.of_datetime(filters.until))
    if cursor is not None:
        query = query.where(_EVENT.position < queries.integer(cursor))
    with index.connection() as connection:
        rows = connection.execute(query).all() if connection is not None else []
    more = str(rows[limit - 1].position) if len(rows) > limit else None
    return Page([_document(row) for row in rows[:limit]], more)


def _document(row: Any) -> dict[str, Any]:
    return {"at": row.at, "event": row.event} | msgspec.json.decode(row.document, type=dict[str, Any])
