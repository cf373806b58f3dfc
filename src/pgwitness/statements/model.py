"""What the record says, as values: statements and the events that carry them.

``Statement`` is the stable JSON document of docs/statements.md, its fields in the document's order:
``msgspec.json.encode(statement)`` is the document. Times are RFC 3339 in UTC with six digits, so they sort
as text.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

Protocol = Literal["simple", "extended", "function"]
Status = Literal["ok", "error", "cancelled", "skipped", "unfinished"]
Outcome = Literal["committed", "rolled_back", "open", "in_doubt"]


class Parameter(Struct, gc=False):
    """A bound value in its text form. NULL is None; an empty string is ``""``."""

    type: str | None
    """The type's name as PostgreSQL prints it in short (``int4``, ``text[]``), its OID if it is not built
    in, None if the client left it to the server and never asked."""
    value: str | None
    format: Literal["text", "binary"]
    encoding: Literal["hex", "withheld"] | UnsetType = UNSET
    """``withheld``: the setting ``index.text`` keeps values out of the index; ``value`` says nothing."""


class Transaction(Struct, gc=False):
    """The n-th transaction of the session, implicit ones included, and what became of this statement's work
    in it."""

    number: int
    outcome: Outcome
    reason: str | None = None
    """Why, where the outcome does not follow from the statement itself."""


class Column(Struct, gc=False):
    """A column of a result. ``encoding`` is there if its kept values are hex."""

    name: str
    type: str
    encoding: Literal["hex"] | UnsetType = UNSET


class Result(Struct):
    columns: list[Column]
    rows_recorded: int
    """Rows on the tape."""
    bytes: int
    """Bytes of rows that passed, with their message headers, on the tape or not."""
    complete: bool
    """Every row that passed is on the tape."""
    data: list[list[str | None]] | UnsetType = UNSET
    """The recorded rows, for readers who asked for them."""


class Copy(Struct, gc=False):
    direction: Literal["in", "out", "both"]
    bytes: int
    rows: int
    """From the tag; while there is none, or for COPY BOTH, the number of data messages."""
    complete: bool
    """Every byte that passed is on the tape and the copy came to its end."""
    data: str | UnsetType = UNSET
    """What was copied, as far as it is on the tape, for readers who asked for it."""
    encoding: Literal["hex"] | UnsetType = UNSET
    """Of ``data`` that are binary, or no text of the session's encoding."""


class Statement(Struct):
    """One SQL statement executed, one portal run, or one function call."""

    session: str
    seq: int
    """1, 2, 3 … in its session, in the order in which they were sent."""
    message: int
    """The ordinal of the client's message (Query, Execute or FunctionCall) among all messages of the
    session's client."""
    identity: str | None
    on_behalf_of: str | None
    run: str | None
    connection: str | None
    database: str | None
    protocol: Protocol
    sql: str
    prepared: str
    portal: str
    parameters: list[Parameter]
    command: str | None
    tag: str | None
    rows: int | None
    tables: list[str]
    status: Status
    sqlstate: str | None
    error: str | None
    transaction: Transaction
    started_at: str
    duration_us: int | None
    result: Result | None
    copy: Copy | None
    position: int
    """Where on the tape its message was complete: the order of everything in all sessions."""
    fetches: int = 1
    """How many Executes fetched this portal's rows."""
    truncated: bool = False
    """The document does not hold all of the text or parameters; the tape does."""
    error_detail: str | None = None


class Event(Struct, tag_field="type", tag=str):
    """Something that became known, at the tape position of the frame that told it."""

    session: str
    position: int


class SessionStarted(Event):
    at: str
    header: dict[str, Any]
    """The tape's "session started" document."""


class SessionEvent(Event):
    """``event["event"]`` names it: what the tape recorded, or ``sequence_gap`` and ``malformed`` found by
    the reader."""

    at: str
    event: dict[str, Any]


class SessionEnded(Event):
    at: str
    reason: str
    detail: str | None


class StatementRecorded(Event):
    statement: Statement


class TransactionSettled(Event):
    """What became of statements already given out as ``open``: those of transaction ``number`` whose seq is
    in ``first_seq`` … ``last_seq`` and whose outcome is still ``open``. An outcome once settled never
    changes."""

    number: int
    outcome: Outcome
    reason: str | None
    first_seq: int
    last_seq: int
