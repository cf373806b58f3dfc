"""What a session's reader has to remember between frames: the client's prepared statements and portals
as the server knows them, the requests that wait for answers, and the statements that run.

Everything here is plain data, so that ``snapshot`` can store it. Times are ns since the epoch,
positions are the tape's.
"""

from typing import Final

from msgspec import Struct

# A request's kind is the type byte of its message.
QUERY: Final = 0x51
PARSE: Final = 0x50
BIND: Final = 0x42
DESCRIBE: Final = 0x44
EXECUTE: Final = 0x45
CLOSE: Final = 0x43
SYNC: Final = 0x53
FUNCTION: Final = 0x46


Payloads = list[bytes]


class Prepared(Struct):
    """A prepared statement. ``columns`` is the payload of its RowDescription once a Describe brought it."""

    name: str
    sql: str
    oids: tuple[int, ...] = ()
    columns: bytes | None = None
    truncated: bool = False


class Portal(Struct):
    name: str
    source: str
    """The name of its prepared statement, which is looked up when the server takes the Bind."""
    prepared: Prepared | None
    formats: tuple[int, ...] = ()
    values: list[bytes | None] = []
    results: tuple[int, ...] = ()
    columns: bytes | None = None
    run: "Run | None" = None
    """The statement whose rows are fetched in pages."""
    truncated: bool = False


class CopyIn(Struct):
    """Data that the client sends for one COPY. ``first`` and ``end`` are ordinals of its messages, 0
    for not yet.
    """

    bytes: int = 0
    messages: int = 0
    first: int = 0
    end: int = 0
    failed: bool = False
    data: Payloads = []
    """CopyData payloads, for readers who asked for results."""
    truncated: bool = False
    """``data`` is not all of it."""


class Request(Struct):
    """A client's message that the server answers, or one that it swallows."""

    kind: int
    ordinal: int
    at: int
    position: int
    size: int = 0
    """Bytes of its payload that are held."""
    name: str = ""
    """The statement or portal that it is about."""
    of_portal: bool = False
    """Describe and Close: the name is a portal's."""
    prepared: Prepared | None = None
    portal: Portal | None = None
    sql: str = ""
    truncated: bool = False
    function: tuple[int, int] = (0, 0)
    """FunctionCall: OID of the function, format of its result."""
    parts: list[str] | None = None
    """Query: its statements, once the server began to answer."""
    index: int = 0
    """How many of its statements are over."""
    began: int = 0
    """When the current part began: the end of the one before."""
    run: "Run | None" = None
    copies: list[CopyIn] = []
    copies_begun: int = 0

    def answered(self) -> bool:
        """Nothing of it is left to run."""
        if self.kind == QUERY:
            return self.parts is not None and self.index >= len(self.parts)
        return self.index > 0


class Run(Struct):
    """A statement that runs, and what came back of it so far."""

    sql: str
    message: int
    at: int
    position: int
    seq: int
    number: int
    """Of its transaction."""
    portal: Portal | None = None
    whole: bool = False
    """``sql`` is a whole Query message that the parser did not understand: it may bring several tags."""
    truncated: bool = False
    fetches: int = 1
    until: int = 0
    """When its last page ended."""
    columns: bytes | None = None
    rows: int = 0
    rows_elided: int = 0
    row_bytes: int = 0
    data: list[bytes] = []
    """DataRow payloads, or CopyData that came out, for readers who asked for results."""
    copy: str = ""
    """Direction of its COPY, empty if there is none."""
    copy_index: int = 0
    copy_bytes: int = 0
    copy_messages: int = 0
    copy_elided: bool = False
    copy_binary: bool = False
    tags: list[str] = []


class Failure(Struct):
    """An error in the extended protocol, while the server skips to the next Sync.

    ``prepared`` and ``portals`` are what the skipped messages would have made, so that a skipped
    Execute still says what it would have run. ``culprit`` and ``culprit_portal`` are what the failing
    message was about: the Execute that would have run it gets the error; if none follows, the failing
    message itself becomes a statement.
    """

    sqlstate: str
    message: str
    detail: str | None
    request: Request
    at: int
    culprit: Prepared | None = None
    culprit_portal: Portal | None = None
    told: bool = False
    held: int = 0
    """Bytes of the requests in the two below."""
    prepared: dict[str, Prepared] = {}
    portals: dict[str, Portal] = {}


STRUCTS: Final = (Prepared, Portal, CopyIn, Request, Run, Failure)
