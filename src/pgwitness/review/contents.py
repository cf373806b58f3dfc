"""Statements of the index with what passed, which only the tape has: the recorded rows, the data of COPY."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import UNSET

from pgwitness._core import TapeCorrupt
from pgwitness.index.store import SessionDetail
from pgwitness.review.frames import session_frames
from pgwitness.statements.assembler import Frame, assemble
from pgwitness.statements.model import Statement, StatementRecorded

HELD_CHARACTERS = 64_000_000
"""Held until it is their statement's turn. Beyond that, a portal that is still open is shown without its
rows."""
_EACH = 100


def with_contents(
    statements: Iterator[Statement], tape: Path, found: SessionDetail, *, rows: bool = True
) -> Iterator[Statement]:
    """``result`` gets ``data`` if ``rows``, ``copy`` gets ``data``. A statement of which more passed than is
    held is flagged as truncated.

    The index knows what became of each statement, the tape has what passed. From the tape a statement comes
    when it is complete, and a portal that is fetched in pages is complete late: what comes before its turn is
    held. The tape is read as far as there is something to get, and as far as it can be read.
    """
    assembled = assemble(_readable(session_frames(tape, found)), keep_results=True)
    arriving = (event.statement for event in assembled if isinstance(event, StatementRecorded))
    held: dict[int, Statement] = {}
    size = 0
    for statement in statements:
        wanted = statement.copy or (rows and statement.result)
        while wanted and statement.seq not in held and size < HELD_CHARACTERS:
            arrived = next(arriving, None)
            if arrived is None:
                break
            if arrived.seq >= statement.seq and (arrived.copy or (rows and arrived.result)):
                held[arrived.seq] = arrived
                size += _size(arrived)
        passed = held.pop(statement.seq, None)
        if passed is not None:
            size -= _size(passed)
            _give(statement, passed, rows)
        yield statement


def _readable(frames: Iterator[Frame]) -> Iterator[Frame]:
    """What lies behind damage gets no data; that there is damage, the index says."""
    with suppress(TapeCorrupt):
        yield from frames


def _give(statement: Statement, passed: Statement, rows: bool) -> None:
    if rows and statement.result and passed.result:
        statement.result.data = passed.result.data
    if statement.copy and passed.copy:
        statement.copy.data, statement.copy.encoding = passed.copy.data, passed.copy.encoding
    statement.truncated |= passed.truncated


def _size(statement: Statement) -> int:
    size = _EACH
    if statement.result and statement.result.data is not UNSET:
        size += sum(len(cell) for row in statement.result.data for cell in row if cell is not None)
    if statement.copy and statement.copy.data is not UNSET:
        size += len(statement.copy.data)
    return size
