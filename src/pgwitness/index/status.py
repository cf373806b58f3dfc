"""How far the index is, and whether anything on the tape could not be read."""

import time
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import func, select

from pgwitness.errors import UnavailableError
from pgwitness.index import tables
from pgwitness.index.location import Location
from pgwitness.index.store import IndexReader
from pgwitness.index.tape import bytes_after, first_time, last_segment, segments

PROBLEMS_SHOWN = 20


class IndexStatus(msgspec.Struct):
    schema: int
    pid: int | None
    """The indexer that follows the tape now."""
    position: int
    lag_bytes: int
    """Tape that is not indexed yet."""
    lag_seconds: float
    """Age of the first frame that is not indexed yet."""
    sessions: int
    statements: int
    problems: list[dict[str, Any]]
    """The latest places where the tape could not be read or made no sense; empty when all is well."""


def index_status(state: Path) -> dict[str, Any]:
    """``IndexStatus`` as a dictionary. Cheap enough to be asked every few seconds."""
    location = Location(state)
    reader = IndexReader(state)
    try:
        position, sessions, statements, problems = _contents(reader)
    except UnavailableError as error:
        position, sessions, statements, problems = 0, 0, 0, [{"problem": str(error)}]
    finally:
        reader.close()
    tape = state / "tape"
    behind = bytes_after(tape, position)
    waiting = first_time(tape, position) if behind else None
    if (number := last_segment(position)) > max(segments(tape), default=0):
        gone = {"position": position, "problem": f"the tape is gone: segment {number} was the last one read"}
        problems = [gone, *problems]
    status = IndexStatus(
        schema=tables.SCHEMA,
        pid=location.indexer(),
        position=position,
        lag_bytes=behind,
        lag_seconds=max(0.0, round((time.time_ns() - waiting) / 1e9, 3)) if waiting else 0.0,
        sessions=sessions,
        statements=statements,
        problems=problems,
    )
    document: dict[str, Any] = msgspec.to_builtins(status)
    return document


def _contents(reader: IndexReader) -> tuple[int, int, int, list[dict[str, Any]]]:
    with reader.connection() as connection:
        if connection is None:
            return 0, 0, 0, []
        position = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "position"))
        sessions = connection.scalar(select(func.max(tables.sessions.c.number)))
        statements = connection.scalar(select(func.sum(tables.blocks.c.statements)))
        found = connection.execute(
            select(tables.problems).order_by(tables.problems.c.position.desc()).limit(PROBLEMS_SHOWN)
        )
        return int(position or 0), sessions or 0, int(statements or 0), [dict(row._mapping) for row in found]
