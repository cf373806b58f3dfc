"""A session as a file, in the formats described in docs/reading-the-record.md.

``jsonl`` is one statement's document a line. ``csv`` has the columns of ``CSV_COLUMNS``. ``sql`` is a script
to read and, on a restored copy, to run: see ``script``. ``pcapng`` is the wire itself: see ``capture``.
``bundle`` proves itself: see docs/record-format.md. ``ocsf`` and ``otlp`` are what sinks send: docs/sinks.md.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pgwitness.errors import InvalidError
from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader
from pgwitness.record.bundle import SUFFIX
from pgwitness.review.bundling import bundle
from pgwitness.review.capture import capture
from pgwitness.review.cells import harmless
from pgwitness.review.contents import with_contents
from pgwitness.review.frames import session_frames, some_frames
from pgwitness.review.script import script
from pgwitness.sinks.whole import as_ocsf, as_otlp, session_as_items
from pgwitness.statements.model import Statement

MEDIA_TYPES = {
    "jsonl": "application/jsonl",
    "csv": "text/csv",
    "sql": "application/sql",
    "pcapng": "application/vnd.tcpdump.pcap",
    "bundle": "application/zip",
    "ocsf": "application/jsonl",
    "otlp": "application/jsonl",
}
FORMATS = tuple(MEDIA_TYPES)
SUFFIXES = {"bundle": SUFFIX, "ocsf": ".ocsf.jsonl", "otlp": ".otlp.jsonl"}
"""Of files of that format, where it is not the format's name."""

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
        return capture(found, some_frames(session_frames(tape, found), found))
    if format in ("ocsf", "otlp"):
        items = session_as_items(index, found)
        return as_ocsf(items) if format == "ocsf" else as_otlp(items)
    statements = index.iterate(Filters(session=found.session.session))
    if format != "csv":
        statements = with_contents(statements, tape, found, rows=False)
    if format == "sql":
        text = script(found.session, found.header, statements)
    else:
        text = as_csv(statements) if format == "csv" else as_jsonl(statements)
    return (piece.encode() for piece in text)


def file_name(session: str, format: str) -> str:
    """Of an export."""
    return f"{session}{SUFFIXES.get(format, '.' + format)}"


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
    """``tables`` are joined by spaces; ``parameters`` is a JSON array of values, null for NULL. A text that a
    spreadsheet would take for a formula has a ' before it."""
    return [harmless(each) for each in _csv_cells(statement)]


def _csv_cells(statement: Statement) -> list[Any]:
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
