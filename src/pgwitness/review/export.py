"""A session as a file, in the formats described in docs/reading-the-record.md.

``jsonl`` is one statement's document a line. ``csv`` has the columns of ``CSV_COLUMNS``. ``sql`` is a script
to read and, on a restored copy, to run: see ``script``. ``pcapng`` is the wire itself: see ``capture``.
``bundle`` proves itself: see docs/record-format.md.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from pgwitness.errors import ConflictError, InvalidError
from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, SessionDetail
from pgwitness.review.bundling import bundle
from pgwitness.review.capture import capture
from pgwitness.review.contents import with_contents
from pgwitness.review.frames import session_frames
from pgwitness.review.script import script
from pgwitness.statements.assembler import Frame
from pgwitness.statements.model import Statement

FORMATS = ("jsonl", "csv", "sql", "pcapng", "bundle")

CSV_COLUMNS = (
    "session",
    "seq",
    "started_at",
    "identity",
    "on_behalf_of",
    "run",
    "connection",
    "database",
    "transaction",
    "outcome",
    "status",
    "command",
    "tables",
    "rows",
    "duration_us",
    "sqlstate",
    "error",
    "sql",
    "parameters",
)


def export_session(index: IndexReader, tape: Path, session: str, format: str) -> Iterator[bytes]:
    """The file in pieces. Raises NotFoundError, ConflictError, InvalidError before the first of them."""
    if format not in FORMATS:
        raise InvalidError(f"format: {format!r} is none of {', '.join(FORMATS)}")
    found = index.session(session)
    if format == "bundle":
        return bundle(tape.parent, found)
    if format == "pcapng":
        return capture(found, _some(session_frames(tape, found), found))
    statements = index.iterate(Filters(session=found.session.session))
    if format != "csv":
        statements = with_contents(statements, tape, found, rows=False)
    if format == "sql":
        text = script(found.session, found.header, statements)
    else:
        text = as_csv(statements) if format == "csv" else as_jsonl(statements)
    return (piece.encode() for piece in text)


def _some(frames: Iterator[Frame], found: SessionDetail) -> Iterator[Frame]:
    """Raises ConflictError if there are none: what is empty must not pass for what happened."""
    first = next(frames, None)
    if first is None:
        raise ConflictError(
            f"the wire of session {found.session.session} cannot be read here: it was erased, or only "
            "auditors have its key",
            hint="--format bundle exports what can be proved, and auditors can open it",
        )
    return chain([first], frames)


def as_jsonl(statements: Iterable[Statement]) -> Iterator[str]:
    for statement in statements:
        yield msgspec.json.encode(statement).decode() + "\n"


def as_csv(statements: Iterable[Statement]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for statement in statements:
        writer.writerow(csv_row(statement))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def csv_row(statement: Statement) -> list[Any]:
    """``tables`` are joined by spaces; ``parameters`` is a JSON array of values, null for NULL."""
    return [
        statement.session,
        statement.seq,
        statement.started_at,
        statement.identity,
        statement.on_behalf_of,
        statement.run,
        statement.connection,
        statement.database,
        statement.transaction.number,
        statement.transaction.outcome,
        statement.status,
        statement.command,
        " ".join(statement.tables),
        statement.rows,
        statement.duration_us,
        statement.sqlstate,
        statement.error,
        statement.sql,
        msgspec.json.encode([parameter.value for parameter in statement.parameters]).decode(),
    ]
