"""The content of an erased session taken out of the index. What stays is what its entries in the log say,
too: that it was, whose, through which connection, when, and its counts.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from pgwitness.index import tables
from pgwitness.index.marking import REMOVED, Marker
from pgwitness.index.store import IndexReader

ERASED: Final = "session_erased"
"""The recorder's event."""

_GONE = ("on_behalf_of", "run", "user", "client", "end_detail")


def erased_row(document: dict[str, Any], position: int, at: str, number: int | None) -> dict[str, Any]:
    """Of the event's document: what is needed where the session itself cannot be read any more. ``number`` is
    for a session that the index does not have yet.
    """
    first, last = document.get("position") or (position, position)
    started = str(document.get("started_at") or at)
    return {
        "number": number,
        "id": str(document.get("session")),
        "identity": document.get("identity"),
        "connection": document.get("connection"),
        "started": started,
        "ended": document.get("ended_at") or at,
        "last_activity": document.get("ended_at") or started,
        "first_position": int(first),
        "last_position": int(last),
        "erased": at,
        "header": "{}",
        "end_reason": "unknown",
        "statements": 0,
        "errors": 0,
        "rows_written": 0,
    }


def erase(connection: Connection, erased: list[dict[str, Any]], marker: Marker) -> list[int]:
    """In the same transaction as everything else of the batch. Returns the numbers of the sessions."""
    sessions, statements = tables.sessions, tables.statements
    unknown = [row for row in erased if row["number"] is not None]
    if unknown:
        connection.execute(insert(sessions).on_conflict_do_nothing(), unknown)
    ids = [row["id"] for row in erased]
    numbers = list(connection.scalars(select(sessions.c.number).where(sessions.c.id.in_(ids))))
    gone = connection.execute(select(*REMOVED).where(statements.c.session.in_(numbers))).all()
    _blank_texts(connection, numbers)
    marker.remove(connection, gone)
    for table in (statements, tables.session_events):
        connection.execute(delete(table).where(table.c.session.in_(numbers)))
    connection.execute(
        update(sessions)
        .where(sessions.c.id == bindparam("of"))
        .values(erased=bindparam("at"), header="{}", **dict.fromkeys(_GONE)),
        [{"of": row["id"], "at": row["erased"]} for row in erased],
    )
    return numbers


def erased_from(index: IndexReader, position: int) -> set[str]:
    """Sessions that an event at this position of the tape, or behind it, erased."""
    events = tables.events.c
    query = select(events.document).where(events.event == ERASED, events.position >= position)
    with index.connection() as connection:
        found = connection.scalars(query).all() if connection is not None else []
    return {str(msgspec.json.decode(document).get("session")) for document in found}


def _blank_texts(connection: Connection, numbers: list[int]) -> None:
    """Those that no other session has. They stay, empty: whoever remembers their numbers must forget them."""
    statements, texts = tables.statements, tables.texts
    theirs = select(statements.c.text).where(statements.c.session.in_(numbers))
    others = select(statements.c.text).where(
        statements.c.text.in_(theirs), statements.c.session.not_in(numbers)
    )
    alone = texts.c.number.in_(theirs), texts.c.number.not_in(others)
    connection.execute(update(texts).where(*alone).values(sql="", length=0))
