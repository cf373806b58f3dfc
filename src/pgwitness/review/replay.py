"""One session, statement by statement, as it happened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, SessionDetail
from pgwitness.review.contents import with_contents


def replay(
    index: IndexReader, tape: Path, session: str, *, results: bool = False
) -> Iterator[dict[str, Any]]:
    """The session's header, its statements and events in the order of the tape, its end. Each has its
    ``kind``: ``session``, ``statement``, ``event``, ``end`` (of a session that has ended). Memory holds one
    page of it.

    ``results`` reads the tape again: a statement's ``result`` then has the recorded rows as ``data``, and its
    ``copy`` what was copied.
    Raises NotFoundError, ConflictError before the first of them.
    """
    return _replay(index, tape, index.session(session), results)


def _replay(index: IndexReader, tape: Path, found: SessionDetail, results: bool) -> Iterator[dict[str, Any]]:
    session = found.session
    # The identity's kind is in the header.
    yield {**msgspec.to_builtins(session), "kind": "session", "header": found.header}
    statements = index.iterate(Filters(session=session.session))
    if results:
        statements = with_contents(statements, tape, found)
    events = list(found.events)
    for statement in statements:
        while events and events[0]["position"] <= statement.position:
            yield {"kind": "event", **events.pop(0)}
        yield {"kind": "statement", **msgspec.to_builtins(statement)}
    for event in events:
        yield {"kind": "event", **event}
    if session.ended_at is not None:
        yield {
            "kind": "end",
            "at": session.ended_at,
            "reason": session.end_reason,
            "detail": session.end_detail,
        }
