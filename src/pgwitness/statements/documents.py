"""From what a run left behind to its document."""

from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET, Struct

from pgwitness.statements import types
from pgwitness.statements.model import (
    Column,
    Copy,
    Parameter,
    Protocol,
    Result,
    Statement,
    Status,
    Transaction,
)
from pgwitness.statements.redact import redact_error
from pgwitness.statements.state import CopyIn, Portal, Run
from pgwitness.wire.messages import UNDECODABLE, parse_columns, parse_data_row

_CACHE_ENTRIES = 1024


class Origin(Struct, gc=False):
    """Who speaks in a session, from its header."""

    session: str
    identity: str | None = None
    on_behalf_of: str | None = None
    run: str | None = None
    connection: str | None = None
    database: str | None = None

    @classmethod
    def of(cls, session: str, header: dict[str, Any]) -> "Origin":
        claims = header.get("claims") or {}
        return cls(
            session,
            header.get("identity"),
            header.get("on_behalf_of"),
            claims.get("run"),
            header.get("connection"),
            header.get("database"),
        )


class Failed(Struct, gc=False):
    """What an ErrorResponse says."""

    sqlstate: str
    message: str
    detail: str | None


_seconds: tuple[int, str] = (-1, "")


def rfc3339(at: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 with six digits."""
    global _seconds
    second, rest = divmod(at, 1_000_000_000)
    known, prefix = _seconds
    if known != second:
        prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _seconds = (second, prefix)
    return f"{prefix}.{rest // 1000:06d}Z"


def rows_of(tag: str) -> int | None:
    """The count at a command tag's end."""
    count = tag.rpartition(" ")[2]
    return int(count) if count.isdecimal() else None


def _command_of(tag: str) -> str:
    return tag.rstrip("0123456789 ")


_Shape = tuple[list[Column], list[tuple[int, int]]]
"""The columns, and for each its type and format."""
_shapes: dict[tuple[bytes, tuple[int, ...] | None, str], _Shape] = {}


def _shape(payload: bytes, formats: tuple[int, ...] | None, encoding: str) -> _Shape:
    """``formats`` are those of the Bind, None where RowDescription itself has them."""
    key = (payload, formats, encoding)
    known = _shapes.get(key)
    if known is not None:
        return known
    columns, cells = [], []
    for at, column in enumerate(parse_columns(payload, encoding)):
        format = column.format if formats is None else format_of(formats, at)
        cells.append((column.type, format))
        hexed = format == 1 and not types.decodable(column.type)
        columns.append(Column(column.name, types.type_name(column.type), "hex" if hexed else UNSET))
    if len(_shapes) >= _CACHE_ENTRIES:
        _shapes.clear()
    _shapes[key] = columns, cells
    return columns, cells


def format_of(formats: tuple[int, ...], at: int) -> int:
    """The format code of the value at ``at``: none given is text, one given is for all."""
    if len(formats) == 1:
        return formats[0]
    return formats[at] if at < len(formats) else 0


def parameters(portal: Portal, encoding: str) -> list[Parameter]:
    formats = portal.formats
    oids = portal.prepared.oids if portal.prepared else ()
    made = []
    for at, value in enumerate(portal.values):
        oid = oids[at] if at < len(oids) else 0
        made.append(parameter(oid, value, format_of(formats, at) if formats else 0, encoding))
    return made


def parameter(oid: int, value: bytes | None, format: int, encoding: str) -> Parameter:
    name = types.type_name(oid) if oid else None
    if format == 0:
        return Parameter(name, None if value is None else value.decode(encoding, UNDECODABLE), "text")
    if value is None:
        return Parameter(name, None, "binary")
    decoded, hexed = types.decode(oid, value, encoding)
    return Parameter(name, decoded, "binary", "hex") if hexed else Parameter(name, decoded, "binary")


def result(run: Run, keep: bool, encoding: str) -> Result | None:
    """What came back as rows; ``keep`` gives the rows too. None for a statement without a result."""
    portal = run.portal
    payload, formats = run.columns, None
    if payload is None and portal is not None:
        payload = portal.columns
        if payload is None and portal.prepared is not None:
            payload, formats = portal.prepared.columns, portal.results
    if not payload and not run.rows and not run.rows_elided:
        return None
    columns, cells = _shape(payload or b"", formats, encoding)
    made = Result(columns, run.rows, run.row_bytes, not run.rows_elided)
    if keep:
        made.data = [_row(row, cells, encoding) for row in run.data]
    return made


def _row(payload: bytes, cells: list[tuple[int, int]], encoding: str) -> list[str | None]:
    made: list[str | None] = []
    for at, value in enumerate(parse_data_row(payload, whole=False)):
        oid, format = cells[at] if at < len(cells) else (0, 0)
        if value is None:
            made.append(None)
        elif format == 0:
            made.append(value.decode(encoding, UNDECODABLE))
        else:
            made.append(types.decode(oid, value, encoding)[0])
    return made


def _copy(run: Run, received: CopyIn | None, ok: bool, rows: int | None) -> Copy | None:
    if not run.copy:
        return None
    if run.copy == "in":
        received = received or CopyIn()
        complete = ok and received.end > 0 and not received.failed
        messages = received.messages
        return Copy("in", received.bytes, messages if rows is None else rows, complete)
    bytes_, messages = run.copy_bytes, run.copy_messages
    if run.copy == "both":
        bytes_ += received.bytes if received else 0
        messages += received.messages if received else 0
        return Copy("both", bytes_, messages, ok and not run.copy_elided)
    return Copy("out", bytes_, messages if rows is None else rows, ok and not run.copy_elided)


def copied(copy: Copy, run: Run, received: CopyIn | None, encoding: str) -> None:
    """Give ``copy`` its data, for readers who asked. Text that is not of its encoding is hex, as binary data
    are: nothing may be lost."""
    if copy.direction == "both":
        return
    data = b"".join(run.data if copy.direction == "out" else received.data if received else [])
    try:
        copy.data = data.hex() if run.copy_binary else data.decode(encoding)
    except UnicodeDecodeError:
        copy.data = data.hex()
        copy.encoding = "hex"
    if run.copy_binary:
        copy.encoding = "hex"


def _tag_and_count(tags: list[str]) -> tuple[str | None, int | None]:
    if not tags:
        return None, None
    if len(tags) == 1:
        return tags[0], rows_of(tags[0])
    counts = [count for count in map(rows_of, tags) if count is not None]
    return "; ".join(tags), sum(counts) if counts else None


def statement(
    origin: Origin,
    run: Run,
    protocol: Protocol,
    command: str | None,
    tables: list[str],
    status: Status,
    at: int | None,
    failed: Failed | None,
    given: list[Parameter],
    rows_back: Result | None,
    received: CopyIn | None,
) -> Statement:
    """``at`` is when it ended, None if it never ran."""
    portal = run.portal
    prepared = portal.prepared if portal is not None else None
    tag, counted = _tag_and_count(run.tags)
    rows = counted
    if run.fetches > 1 or (rows is None and (run.rows or run.rows_elided)):
        rows = run.rows + run.rows_elided
    return Statement(
        origin.session,
        run.seq,
        run.message,
        origin.identity,
        origin.on_behalf_of,
        origin.run,
        origin.connection,
        origin.database,
        protocol,
        run.sql,
        prepared.name if prepared is not None else "",
        portal.name if portal is not None else "",
        given,
        command or (_command_of(run.tags[-1]) if run.tags else None),
        tag,
        rows,
        tables,
        status,
        failed.sqlstate if failed is not None else None,
        redact_error(run.sql, failed.sqlstate, failed.message) if failed is not None else None,
        Transaction(run.number, "open"),
        rfc3339(run.at),
        None if at is None else (at - run.at) // 1000,
        rows_back,
        _copy(run, received, status == "ok", counted),
        run.position,
        run.fetches,
        run.truncated,
        failed.detail if failed is not None else None,
    )
