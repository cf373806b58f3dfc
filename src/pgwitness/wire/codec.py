"""Messages of the PostgreSQL protocol, version 3, built from values and parsed to values.

Source: PostgreSQL manual, "Message Formats". Builders return whole messages; parsers take a payload: a
message without its type byte and length. ``MalformedPayloadError`` is the only error a parser raises.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import Struct, error

from pgwitness.wire.splitter import MalformedMessageError as MalformedMessageError
from pgwitness.wire.splitter import MessageSplitter as MessageSplitter

_INT16 = Struct("!h")
_INT32 = Struct("!i")
_UINT32 = Struct("!I")
_COLUMN = Struct("!IhIhih")  # table, attribute, type, type length, type modifier, format

CANCEL_REQUEST_CODE = (1234 << 16) | 5678
SSL_REQUEST_CODE = (1234 << 16) | 5679
GSSENC_REQUEST_CODE = (1234 << 16) | 5680
PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = (3 << 16) | 2


class MalformedPayloadError(ValueError):
    """A payload that does not have its message's format."""


# --- builders, either side ---


def message(type: bytes, payload: bytes = b"") -> bytes:
    return type + _UINT32.pack(len(payload) + 4) + payload


_message = message  # for builders that have a parameter of that name


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise ValueError("a protocol string cannot hold a zero byte")
    return encoded + b"\0"


# --- builders, server side ---


def _fields(severity: str, sqlstate: str, text: str, detail: str | None, hint: str | None) -> bytes:
    parts = [("S", severity), ("V", severity), ("C", sqlstate), ("M", text), ("D", detail), ("H", hint)]
    return b"".join(code.encode() + _text(value) for code, value in parts if value is not None) + b"\0"


def error_response(
    severity: str, sqlstate: str, message: str, detail: str | None = None, hint: str | None = None
) -> bytes:
    """``severity`` is ``ERROR``, ``FATAL`` or ``PANIC``."""
    return _message(b"E", _fields(severity, sqlstate, message, detail, hint))


def notice_response(
    severity: str, sqlstate: str, message: str, detail: str | None = None, hint: str | None = None
) -> bytes:
    """``severity`` is ``WARNING``, ``NOTICE``, ``DEBUG``, ``INFO`` or ``LOG``."""
    return _message(b"N", _fields(severity, sqlstate, message, detail, hint))


def parameter_status(name: str, value: str) -> bytes:
    return message(b"S", _text(name) + _text(value))


def authentication_ok() -> bytes:
    return message(b"R", _INT32.pack(0))


def authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    return message(b"R", _INT32.pack(10) + b"".join(map(_text, mechanisms)) + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    return message(b"R", _INT32.pack(11) + data)


def authentication_sasl_final(data: bytes) -> bytes:
    return message(b"R", _INT32.pack(12) + data)


def backend_key_data(pid: int, key: bytes) -> bytes:
    """``key`` is 4 bytes in protocol 3.0, up to 256 since 3.2."""
    return message(b"K", _UINT32.pack(pid & 0xFFFFFFFF) + key)


def ready_for_query(status: bytes = b"I") -> bytes:
    """``status`` is ``I`` idle, ``T`` in a transaction, ``E`` in a failed one."""
    return message(b"Z", status)


def negotiate_protocol_version(minor: int, unrecognised: Iterable[str] = ()) -> bytes:
    """The manual says "newest minor version"; servers send, and libpq expects, the whole version: 3.minor."""
    options = list(unrecognised)
    return message(
        b"v", _UINT32.pack((3 << 16) | minor) + _INT32.pack(len(options)) + b"".join(map(_text, options))
    )


# --- builders, client side ---


def _startup(code: int, payload: bytes = b"") -> bytes:
    return _UINT32.pack(len(payload) + 8) + _UINT32.pack(code) + payload


def startup_message(protocol: int, parameters: Mapping[str, str]) -> bytes:
    return _startup(protocol, b"".join(_text(k) + _text(v) for k, v in parameters.items()) + b"\0")


def ssl_request() -> bytes:
    return _startup(SSL_REQUEST_CODE)


def gssenc_request() -> bytes:
    return _startup(GSSENC_REQUEST_CODE)


def cancel_request(pid: int, key: bytes) -> bytes:
    return _startup(CANCEL_REQUEST_CODE, _UINT32.pack(pid & 0xFFFFFFFF) + key)


def password_message(password: bytes) -> bytes:
    return message(b"p", password + b"\0")


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    return message(b"p", _text(mechanism) + _INT32.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    return message(b"p", data)


def query(sql: str) -> bytes:
    return message(b"Q", _text(sql))


def terminate() -> bytes:
    return message(b"X")


# --- parsers ---


@dataclass(frozen=True, slots=True)
class ErrorFields:
    """An ErrorResponse or NoticeResponse. ``severity`` is the one that is never translated."""

    severity: str
    sqlstate: str
    message: str
    detail: str | None = None
    hint: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    """All fields by their code letter."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a RowDescription. ``format`` 0 is text, 1 is binary."""

    name: str
    type: int
    type_modifier: int
    format: int
    table: int = 0
    attribute: int = 0


def cstring(payload: bytes, at: int, encoding: str = "utf-8") -> tuple[str, int]:
    """The zero-terminated string at ``at``, and the offset behind it."""
    end = payload.find(b"\0", at)
    if end < 0:
        raise MalformedPayloadError("string without its final zero byte")
    return payload[at:end].decode(encoding, "replace"), end + 1


def parse_error(payload: bytes, encoding: str = "utf-8") -> ErrorFields:
    """Tolerant: a cut or malformed payload gives the fields there are."""
    fields: dict[str, str] = {}
    for part in payload.split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode(encoding, "replace")
    return ErrorFields(
        severity=fields.get("V") or fields.get("S", ""),
        sqlstate=fields.get("C", ""),
        message=fields.get("M", ""),
        detail=fields.get("D"),
        hint=fields.get("H"),
        fields=fields,
    )


def parse_parameter_status(payload: bytes, encoding: str = "utf-8") -> tuple[str, str]:
    name, at = cstring(payload, 0, encoding)
    value, _ = cstring(payload, at, encoding)
    return name, value


def parse_backend_key_data(payload: bytes) -> tuple[int, bytes]:
    """(process id, secret key)"""
    if len(payload) < 5:
        raise MalformedPayloadError("BackendKeyData too short")
    return _UINT32.unpack_from(payload)[0], payload[4:]


def parse_authentication(payload: bytes) -> tuple[int, bytes]:
    """(method code, its data): 0 ok, 3 cleartext, 5 md5 (4 bytes of salt), 10, 11 and 12 SASL."""
    if len(payload) < 4:
        raise MalformedPayloadError("Authentication too short")
    return _UINT32.unpack_from(payload)[0], payload[4:]


def parse_sasl_mechanisms(data: bytes) -> list[str]:
    """From the data of authentication method 10."""
    return [name.decode("ascii", "replace") for name in data.split(b"\0") if name]


def parse_sasl_initial_response(payload: bytes) -> tuple[str, bytes]:
    """(mechanism, initial data; empty when the client sent none)"""
    mechanism, at = cstring(payload, 0)
    if len(payload) < at + 4:
        raise MalformedPayloadError("SASLInitialResponse too short")
    (length,) = _INT32.unpack_from(payload, at)
    data = payload[at + 4 :]
    if length == -1 and not data:
        return mechanism, b""
    if length != len(data):
        raise MalformedPayloadError("SASLInitialResponse of a wrong length")
    return mechanism, data


def parse_negotiate_protocol_version(payload: bytes) -> tuple[int, list[str]]:
    """(newest protocol version that the server speaks, the options it does not know)"""
    if len(payload) < 8:
        raise MalformedPayloadError("NegotiateProtocolVersion too short")
    (version,) = _UINT32.unpack_from(payload)
    (count,) = _INT32.unpack_from(payload, 4)
    options, at = [], 8
    for _ in range(count):
        option, at = cstring(payload, at)
        options.append(option)
    return version, options


def parse_row_description(payload: bytes, encoding: str = "utf-8") -> list[Column]:
    try:
        (count,) = _INT16.unpack_from(payload)
        columns, at = [], 2
        for _ in range(count & 0xFFFF):
            name, at = cstring(payload, at, encoding)
            table, attribute, oid, _, modifier, format = _COLUMN.unpack_from(payload, at)
            columns.append(Column(name, oid, modifier, format, table, attribute))
            at += 18
    except error as exc:
        raise MalformedPayloadError("RowDescription too short") from exc
    return columns
