"""One session, statement by statement, as it happened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, SessionDetail
from pgwitness.review.frames import session_frames
from pgwitness.statements.assembler import assemble
from pgwitness.statements.model import Statement, StatementRecorded

Rows = list[list[str | None]]

HELD_CHARACTERS = 64_000_000
"""Rows held until it is their statement's turn. Beyond that, a portal that is still open is shown without
its rows."""
_EACH = 100


def replay(
    index: IndexReader, tape: Path, session: str, *, results: bool = False
) -> Iterator[dict[str, Any]]:
    """The session's header, its statements and events in the order of the tape, its end. Each has its
    ``kind``: ``session``, ``statement``, ``event``, ``end`` (of a session that has ended). Memory holds one
    page of it.

    ``results`` reads the tape again, and a statement's ``result`` then has the recorded rows as ``data``.
    Raises NotFoundError, ConflictError before the first of them.
    """
    return _replay(index, tape, index.session(session), results)


def _replay(index: IndexReader, tape: Path, found: SessionDetail, results: bool) -> Iterator[dict[str, Any]]:
    session = found.session
    # The identity's kind is in the header.
    yield {**msgspec.to_builtins(session), "kind": "session", "header": found.header}
    statements = index.iterate(Filters(session=session.session))
    if results:
        statements = _with_results(statements, tape, found)
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


def _with_results(statements: Iterator[Statement], tape: Path, found: SessionDetail) -> Iterator[Statement]:
    """The index knows what became of each statement, the tape has its rows. From the tape a statement comes
    when it is complete, and a portal that is fetched in pages is complete late: what comes before its turn is
    held."""
    assembled = assemble(session_frames(tape, found), keep_results=True)
    arriving = (event.statement for event in assembled if isinstance(event, StatementRecorded))
    held: dict[int, Rows] = {}
    size = 0
    for statement in statements:
        while statement.result and statement.seq not in held and size < HELD_CHARACTERS:
            arrived = next(arriving, None)
            if arrived is None:
                break
            if arrived.seq >= statement.seq:
                held[arrived.seq] = rows = _rows_of(arrived)
                size += _size(rows)
        if statement.seq in held:
            rows = held.pop(statement.seq)
            size -= _size(rows)
            if statement.result:
                statement.result.data = rows
        yield statement


def _rows_of(statement: Statement) -> Rows:
    data = statement.result.data if statement.result else UNSET
    return [] if isinstance(data, UnsetType) else data


def _size(rows: Rows) -> int:
    return _EACH + sum(len(cell) for row in rows for cell in row if cell is not None)
