"""Messages of the tunnel between gateway and connector, as values and as bytes (docs/tunnel.md).

``encode`` gives a whole message; ``body_length`` and ``decode`` take one apart and raise nothing but
MalformedTunnelMessageError, whatever the bytes. Nothing secret of a message shows in its repr.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final, Literal, TypeVar

import msgspec

VERSION: Final = 1
"""Minor version: of what a connector may say beyond what the ALPN protocol's name promises."""
ENROL: Final = "pgwitness-enrol/1"
TUNNEL: Final = "pgwitness-tunnel/1"
SERVER_NAME: Final = "pgwitness-gateway"
"""What the gateway's certificate must name."""
MAX_BODY: Final = 2 << 20
HEAD_BYTES: Final = 4

_LENGTH = Struct("!I")


class MalformedTunnelMessageError(ValueError):
    """Bytes that are no message of the tunnel."""


class Message(msgspec.Struct, frozen=True, tag=str.lower):
    """What all messages have: ``type``, which is the class's name in lower case."""


# joining


class Authority(Message, frozen=True):
    """The gateway's authority, to be compared with the join token's pin before anything is said."""

    certificate: str


class Join(Message, frozen=True):
    """Take me in: by the token ``token`` and its secret, for a certificate of the key in ``csr``."""

    token: str
    secret: str
    csr: str
    software: str
    name: str = ""
    """Of the connector, where its operator gave one; the token knows it."""

    def __repr__(self) -> str:
        return f"Join(token={self.token!r}, name={self.name!r}, …)"


class Joined(Message, frozen=True):
    """You are ``name``, and this is the certificate that says so."""

    name: str
    certificate: str


# control connection

RefusedCode = Literal["version", "certificate", "ticket", "message", "token", "renewal", "internal"]


class Refused(Message, frozen=True):
    """No, and why. Ends the connection, except for ``renewal``."""

    code: RefusedCode
    text: str


class Hello(Message, frozen=True):
    """A connector is here. ``allow``: what it would dial, as it was told."""

    version: int
    software: str
    allow: list[str]


class Welcome(Message, frozen=True):
    """The connector ``name`` is online; both sides say Heartbeat every ``heartbeat`` seconds."""

    name: str
    heartbeat: float


class Heartbeat(Message, frozen=True):
    """I am alive."""


class Supply(Message, frozen=True):
    """Dial a data connection for each ticket."""

    tickets: list[str]

    def __repr__(self) -> str:
        return f"Supply({len(self.tickets)} tickets)"


class Cancel(Message, frozen=True):
    """Ask the server of this dial's session to stop its statement."""

    request: int
    dial: str


class Done(Message, frozen=True):
    """The server took notice of Cancel ``request``, or could not be told."""

    request: int
    error: str | None = None


class Renew(Message, frozen=True):
    """Another certificate, please."""

    csr: str


class Renewed(Message, frozen=True):
    """Your next certificate."""

    certificate: str


class Bye(Message, frozen=True):
    """I am about to stop: no new sessions, but open ones may finish."""


# data connection

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class Head(Message, frozen=True):
    """The record's latest checkpoint, and the proof that it contains the ``old`` entries that you saw."""

    note: bytes
    verifier: str
    old: int
    proof: list[bytes]


class Prove(Message, frozen=True):
    """I keep a head of ``old`` entries: prove the next from there."""

    old: int


class Disputed(Message, frozen=True):
    """What you showed me does not contain what I have seen."""

    verdict: str
    text: str
    kept: bytes
    offered: bytes


class Data(Message, frozen=True):
    """The first word on a data connection."""

    ticket: str

    def __repr__(self) -> str:
        return "Data(…)"


class Dial(Message, frozen=True):
    """Open a session on the database. Hosts are tried in order, as in libpq."""

    dial: str
    connection: str
    hosts: list[tuple[str, int]]
    database: str
    user: str
    sslmode: SslMode
    parameters: list[tuple[bytes, bytes]]
    """Of the client's start-up packet, without user and database."""
    minor: int
    timeout: float | None
    """Seconds a host."""
    password: bytes | None = None
    """None: the connector uses its own."""
    sslrootcert: bytes | None = None
    sslcert: bytes | None = None
    sslkey: bytes | None = None

    def __repr__(self) -> str:
        return f"Dial(dial={self.dial!r}, connection={self.connection!r}, hosts={self.hosts!r}, …)"


class Encryption(msgspec.Struct, frozen=True):
    """How the connector reaches the server."""

    version: str
    cipher: str


class Opened(Message, frozen=True):
    """Logged in. What follows are the session's own bytes."""

    address: str
    tls: Encryption | None
    pid: int
    minor: int
    status: bytes
    passed_on: list[bytes]
    """ParameterStatus, notices and notifications, whole messages as they came."""


class Failed(Message, frozen=True):
    """Not logged in; the data connection ends."""

    kind: Literal["refused_host", "unreachable", "refused", "startup"]
    text: str
    sqlstate: str = ""
    """Of ``refused``: what the server said."""
    response: bytes = b""
    """Of ``startup``: the payload of the server's ErrorResponse."""


AnyMessage = (
    Authority
    | Join
    | Joined
    | Refused
    | Hello
    | Welcome
    | Heartbeat
    | Supply
    | Cancel
    | Done
    | Renew
    | Renewed
    | Bye
    | Head
    | Prove
    | Disputed
    | Data
    | Dial
    | Opened
    | Failed
)

M = TypeVar("M", bound=Message)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """Raises MalformedTunnelMessageError for one that is too large."""
    body = _encoder.encode(message)
    if len(body) > MAX_BODY:
        raise MalformedTunnelMessageError(f"a message of {len(body)} bytes, and {MAX_BODY} is the limit")
    return _LENGTH.pack(len(body)) + body


def body_length(head: bytes) -> int:
    """Bytes that follow the ``HEAD_BYTES`` of ``head``."""
    if len(head) != HEAD_BYTES:
        raise MalformedTunnelMessageError("a message's length has four bytes")
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BODY:
        raise MalformedTunnelMessageError(f"a message of {length} bytes, and {MAX_BODY} is the limit")
    return int(length)


def decode(body: bytes) -> Message:
    """The message of a body."""
    try:
        message: Message = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedTunnelMessageError(f"not a message of the tunnel: {error}") from None
    return message


def expect(message: Message, kind: type[M]) -> M:
    """The message if it is one of this kind; what a peer says out of turn is malformed."""
    if isinstance(message, kind):
        return message
    said = message.text if isinstance(message, Refused) else repr(message)
    raise MalformedTunnelMessageError(f"expected {kind.__name__}, got: {said}")
