"""Why the record of a session cannot tell all, so that no testimony can be said to match it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import select

from pgwitness.index import tables
from pgwitness.index.store import IndexReader, Session
from pgwitness.statements.model import Statement

_DAMAGE = ("sequence_gap", "malformed")


def shortcomings(
    index: IndexReader, sessions: Sequence[Session], statements: Sequence[Statement]
) -> list[str]:
    """In sentences."""
    return [
        *_of_sessions(index, sessions),
        *_of_statements(statements),
        *_of_tape(index, {session.session for session in sessions}),
    ]


def _of_sessions(index: IndexReader, sessions: Sequence[Session]) -> Iterator[str]:
    for session in sessions:
        if session.erased_at is not None:
            yield f"session {session.session} was erased {session.erased_at}: what it ran is gone"
        elif session.ended_at is None:
            yield f"session {session.session} is still open: more may come"
    for id, event in _damaged(index, sessions):
        if event == "sequence_gap":
            yield f"session {id}: frames are missing from its record"
        else:
            yield f"session {id}: a part of its stream makes no sense, and is not read"


def _damaged(index: IndexReader, sessions: Sequence[Session]) -> list[tuple[str, str]]:
    wanted = {session.session for session in sessions}
    session, event = tables.sessions.c, tables.session_events.c
    query = (
        select(session.id, event.event)
        .join(tables.session_events, event.session == session.number)
        .where(event.event.in_(_DAMAGE))
        .distinct()
    )
    if len(wanted) <= 500:
        query = query.where(session.id.in_(wanted))
    with index.connection() as connection:
        rows = connection.execute(query).all() if connection is not None else []
    return [(str(row[0]), str(row[1])) for row in rows if row[0] in wanted]


def _of_statements(statements: Iterable[Statement]) -> Iterator[str]:
    withheld = truncated = 0
    for statement in statements:
        if not statement.truncated:
            continue
        gone = not statement.sql or any(each.encoding == "withheld" for each in statement.parameters)
        withheld += gone or "?" in statement.sql
        truncated += not (gone or "?" in statement.sql)
    if withheld:
        yield f"the text or values of {withheld:,} statements are kept out of the index (setting index.text)"
    if truncated:
        yield f"{truncated:,} statements are not whole in the index: they are too long, or kept out of it"


def _of_tape(index: IndexReader, sessions: set[str]) -> Iterator[str]:
    """What of the tape could not be read, of these sessions or of nobody knows which."""
    with index.connection() as connection:
        if connection is None:
            return
        for problem in connection.execute(select(tables.problems)):
            if not problem.session or problem.session in sessions:
                yield f"a part of the tape cannot be read (position {problem.position}): {problem.problem}"
