"""The packets with which a client begins, before messages have types: parsed to values, and what they claim.

Source: PostgreSQL manual, "Message Flow: Start-up" and "Message Formats"; backend_startup.c for what a server
refuses. A start-up packet is a length of four bytes (counting itself) and a body. ``packet_length`` and
``parse_packet`` raise ``StartupError``; nothing else, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from pgwitness.wire.codec import CANCEL_REQUEST_CODE, GSSENC_REQUEST_CODE, SSL_REQUEST_CODE

TLS_HANDSHAKE: Final = 0x16
"""First byte of a client that speaks TLS at once (``sslnegotiation=direct``)."""
ALPN: Final = "postgresql"

MIN_PACKET: Final = 8
MAX_PACKET: Final = 10000
MAX_CANCEL_KEY: Final = 256
LATEST_MINOR: Final = 2
"""The gateway speaks protocol 3.0 to 3.2."""

_UINT32 = Struct("!I")
_INT32_PAIR = Struct("!II")


class StartupError(ValueError):
    """A packet that no client would send. With an SQLSTATE, the client may be told; without, it is not
    PostgreSQL.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class SslRequest:
    """May we speak TLS?"""


@dataclass(frozen=True, slots=True)
class GssRequest:
    """May we speak GSSAPI encryption?"""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Stop what the session with this process id and key is doing."""

    pid: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """A session, please. Parameters are in the client's order; bytes that are not UTF-8 are surrogates."""

    minor: int
    parameters: dict[str, str]

    @property
    def user(self) -> str:
        return self.parameters["user"]

    @property
    def database(self) -> str:
        """Named, or by PostgreSQL's rule the user's name."""
        return self.parameters.get("database") or self.user

    @property
    def protocol_options(self) -> list[str]:
        """Names of ``_pq_.`` options; the gateway knows none of them."""
        return [name for name in self.parameters if name.startswith("_pq_.")]

    @property
    def agreed_minor(self) -> int:
        return min(self.minor, LATEST_MINOR)

    @property
    def needs_negotiation(self) -> bool:
        """The client must hear NegotiateProtocolVersion before it is asked to authenticate."""
        return self.minor > LATEST_MINOR or bool(self.protocol_options)


Packet = SslRequest | GssRequest | CancelRequest | StartupMessage


def packet_length(head: bytes) -> int:
    """Bytes that follow the four of ``head``."""
    (length,) = _UINT32.unpack(head)
    if not MIN_PACKET <= length <= MAX_PACKET:
        raise StartupError("invalid length of startup packet")
    return int(length) - 4


def parse_packet(body: bytes) -> Packet:
    """What a packet, without its length, asks for."""
    if len(body) < 4:
        raise StartupError("invalid length of startup packet")
    (code,) = _UINT32.unpack_from(body)
    if code == SSL_REQUEST_CODE and len(body) == 4:
        return SslRequest()
    if code == GSSENC_REQUEST_CODE and len(body) == 4:
        return GssRequest()
    if code == CANCEL_REQUEST_CODE:
        return _cancel_request(body)
    major, minor = code >> 16, code & 0xFFFF
    if major != 3:
        raise StartupError(
            f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{LATEST_MINOR}", "0A000"
        )
    return StartupMessage(minor, _parameters(body))


def _cancel_request(body: bytes) -> CancelRequest:
    if not 0 < len(body) - 8 <= MAX_CANCEL_KEY:
        raise StartupError("invalid length of cancel request")
    _, pid = _INT32_PAIR.unpack_from(body)
    return CancelRequest(pid, body[8:])


def _parameters(body: bytes) -> dict[str, str]:
    """Pairs of strings, each ended by a zero byte, then one more zero byte; the last of a name counts."""
    if len(body) < 5 or body[-1] != 0 or (body[4:-1] and body[-2] != 0):
        raise StartupError("invalid startup packet layout: expected terminator as last byte", "08P01")
    strings = body[4:-1].split(b"\0")[:-1]
    names = strings[::2]
    if len(strings) % 2 or b"" in names:
        raise StartupError("invalid startup packet layout: expected terminator as last byte", "08P01")
    parameters = {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in zip(names, strings[1::2], strict=True)
    }
    if not parameters.get("user"):
        raise StartupError("no PostgreSQL user name specified in startup packet", "28000")
    return parameters


# --- what start-up parameters claim ---

_CLAIM_PREFIX: Final = "pgwitness."
_SWITCHES_WITH_VALUE: Final = frozenset("BbCcDfhkNprStvW-")  # postgres.c, process_postgres_switches
_SPACE: Final = frozenset(" \t\n\v\f\r")


def split_options(text: str) -> list[str]:
    """``options`` to arguments as PostgreSQL does it: white space separates, a backslash keeps what
    follows it.
    """
    arguments: list[str] = []
    current: list[str] | None = None
    escaped = False
    for character in text:
        if not escaped and character in _SPACE:
            if current is not None:
                arguments.append("".join(current))
                current = None
            continue
        current = [] if current is None else current
        escaped = not escaped and character == "\\"
        if not escaped:
            current.append(character)
    if current is not None:
        arguments.append("".join(current))
    return arguments


def option_settings(text: str) -> Iterator[tuple[str, str]]:
    """The settings in ``options``, in order: from ``-c name=value``, ``-cname=value`` and ``--name=value``.

    Dashes in a name are underscores, as PostgreSQL has it. What the server will refuse is left out, not an
    error.
    """
    arguments = iter(split_options(text))
    for argument in arguments:
        if not argument.startswith("-") or argument in ("-", "--"):
            return  # getopt stops here
        for at, switch in enumerate(argument[1:], 2):
            if switch not in _SWITCHES_WITH_VALUE:
                continue
            value = argument[at:] or next(arguments, "")
            name, equals, setting = value.partition("=")
            if switch in "c-" and equals:
                yield name.replace("-", "_"), setting
            break


def claims(parameters: Mapping[str, str]) -> dict[str, str]:
    """What the client says about itself: ``application_name`` and ``pgwitness.*``, the prefix taken off.

    It may say so in ``options`` or as start-up parameters; these come last and win, as in the server.
    """
    settings = [*option_settings(parameters.get("options", "")), *parameters.items()]
    found: dict[str, str] = {}
    for name, value in settings:
        lowered = name.lower()
        if lowered == "application_name":
            found[lowered] = printable(value)
        elif lowered.startswith(_CLAIM_PREFIX) and len(lowered) > len(_CLAIM_PREFIX):
            found[printable(lowered.removeprefix(_CLAIM_PREFIX))] = printable(value)
    return found


def printable(text: str) -> str:
    """Text that any encoder takes: bytes that were not UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def wants_replication(parameters: Mapping[str, str]) -> bool:
    """Whether the server would start a WAL sender: ``database`` or anything that is not plainly false."""
    value = parameters.get("replication")
    if value is None:
        return False
    word = value.lower()
    false = word in ("0", "of", "off") or (bool(word) and ("false".startswith(word) or "no".startswith(word)))
    return not false
