"""A statement as a row, and back. Nothing of the document is lost in between, save ``result.data``."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pgwitness.index.passages import bound
from pgwitness.index.tracked import rows_written
from pgwitness.statements.model import (
    Copy,
    Parameter,
    Protocol,
    Result,
    Statement,
    Transaction,
    TransactionSettled,
)

COLUMNS = (
    "session",
    "seq",
    "position",
    "started",
    "duration",
    "command",
    "status",
    "rows",
    "transaction",
    "outcome",
    "reason",
    "text",
    "rest",
)
"""Of ``tables.statements``: what a statement is made of again, with the SQL as ``text``."""

WRITTEN_COLUMNS = (*COLUMNS, "written", "sqlstate", "place", "number")
"""In the order of ``to_row``. ``text`` is the SQL itself until the writer numbers it, who gives ``place`` and
``number`` too. After them a row has what is only marked and searched: tables, bound values, the SQL.
"""

POSITION, SEQ, STARTED = (COLUMNS.index(name) for name in ("position", "seq", "started"))
DURATION, COMMAND, STATUS, ROWS = (COLUMNS.index(name) for name in ("duration", "command", "status", "rows"))
WRITTEN, SQLSTATE, PLACE, NUMBER = (
    WRITTEN_COLUMNS.index(name) for name in ("written", "sqlstate", "place", "number")
)
TABLES, BOUND, SQL = (len(WRITTEN_COLUMNS) + more for more in range(3))

TRANSACTION = COLUMNS.index("transaction")
OUTCOME = COLUMNS.index("outcome")
REASON = COLUMNS.index("reason")
TEXT = COLUMNS.index("text")

LARGEST = 2**63 - 1
"""What an integer column holds. A server may say anything in a tag."""

Row = list[Any]


class Rest(msgspec.Struct, array_like=True, gc=False):
    """What no listing filters on. An array in JSON: field names in five million rows are only weight."""

    message: int
    protocol: Protocol
    prepared: str
    portal: str
    parameters: list[Parameter]
    tag: str | None
    tables: list[str]
    sqlstate: str | None
    error: str | None
    error_detail: str | None
    result: Result | None
    copy: Copy | None
    fetches: int
    truncated: bool


PARAMETERS = Rest.__struct_fields__.index("parameters")
"""Its place in a document of ``Rest``."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Rest).decode


def to_row(number: int, statement: Statement) -> Row:
    """A row of session ``number``, mutable, because its outcome may become known before it is written."""
    transaction = statement.transaction
    return [
        number,
        statement.seq,
        statement.position,
        statement.started_at,
        statement.duration_us,
        statement.command,
        statement.status,
        None if statement.rows is None else min(statement.rows, LARGEST),
        transaction.number,
        transaction.outcome,
        transaction.reason,
        statement.sql,
        _encode(
            Rest(
                statement.message,
                statement.protocol,
                statement.prepared,
                statement.portal,
                statement.parameters,
                statement.tag,
                statement.tables,
                statement.sqlstate,
                statement.error,
                statement.error_detail,
                statement.result,
                statement.copy,
                statement.fetches,
                statement.truncated,
            )
        ),
        rows_written(statement),
        statement.sqlstate,
        0,
        0,
        tuple(statement.tables),
        bound(statement.parameters) if statement.parameters else b"",
        statement.sql,
    ]


def to_statement(row: Sequence[Any], session: Mapping[str, Any]) -> Statement:
    """The statement of a row in the order of ``COLUMNS``, with the SQL as ``text``. ``session`` has the
    columns of ``tables.sessions``.
    """
    _, seq, position, started, duration, command, status, rows, number, outcome, reason, sql, rest = row
    more = _decode(rest)
    return Statement(
        session=session["id"],
        seq=seq,
        message=more.message,
        identity=session["identity"],
        on_behalf_of=session["on_behalf_of"],
        run=session["run"],
        connection=session["connection"],
        database=session["database"],
        protocol=more.protocol,
        sql=sql,
        prepared=more.prepared,
        portal=more.portal,
        parameters=more.parameters,
        command=command,
        tag=more.tag,
        rows=rows,
        tables=more.tables,
        status=status,
        sqlstate=more.sqlstate,
        error=more.error,
        transaction=Transaction(number, outcome, reason),
        started_at=started,
        duration_us=duration,
        result=more.result,
        copy=more.copy,
        position=position,
        fetches=more.fetches,
        truncated=more.truncated,
        error_detail=more.error_detail,
    )


def settle(row: Row, event: TransactionSettled) -> None:
    """What became of a statement that was given out as open; an outcome once settled never changes."""
    if row[OUTCOME] == "open" and row[TRANSACTION] == event.number:
        row[OUTCOME] = event.outcome
        row[REASON] = event.reason
