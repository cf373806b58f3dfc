"""What a client sends, as requests that wait for the server's answers."""

from pgwitness.statements import functions
from pgwitness.statements.redact import redact
from pgwitness.statements.state import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    FUNCTION,
    PARSE,
    QUERY,
    SYNC,
    CopyIn,
    Portal,
    Prepared,
    Request,
)
from pgwitness.wire.codec import MalformedPayloadError
from pgwitness.wire.messages import parse_bind, parse_function_call, parse_parse, parse_target, text

COPY_DATA, COPY_DONE, COPY_FAIL = 0x64, 0x63, 0x66


def request_of(
    kind: int, payload: bytes, whole: bool, ordinal: int, at: int, position: int, encoding: str
) -> Request | None:
    """None for messages that the server does not answer. A malformed one waits for its error like any
    other.
    """
    if kind == SYNC:
        return Request(SYNC, ordinal, at, position)
    size = len(payload)
    if kind == BIND:
        portal = _bind(payload, whole, encoding)
        return Request(BIND, ordinal, at, position, size, portal.name, portal=portal)
    if kind == EXECUTE:
        return Request(EXECUTE, ordinal, at, position, size, text(payload, encoding))
    if kind == QUERY:
        body = redact(text(payload, encoding))
        return Request(QUERY, ordinal, at, position, size, sql=body, truncated=not whole, began=at)
    if kind == PARSE:
        name, body, oids = parse_parse(payload, encoding)
        prepared = Prepared(name, redact(body), oids, None, not whole)
        return Request(PARSE, ordinal, at, position, size, name, prepared=prepared)
    if kind in (DESCRIBE, CLOSE):
        try:
            target, name = parse_target(payload, encoding)
        except MalformedPayloadError:
            target, name = "", ""
        return Request(kind, ordinal, at, position, size, name, target == "P")
    if kind == FUNCTION:
        return _function_call(payload, whole, ordinal, at, position)
    return None


def _bind(payload: bytes, whole: bool, encoding: str) -> Portal:
    try:
        name, source, formats, values, results = parse_bind(payload, encoding, whole)
    except MalformedPayloadError:
        return Portal("", "", None)
    return Portal(name, source, None, formats, values, results, truncated=not whole)


def _function_call(payload: bytes, whole: bool, ordinal: int, at: int, position: int) -> Request:
    try:
        oid, formats, values, result = parse_function_call(payload, whole)
    except MalformedPayloadError:
        oid, formats, values, result = 0, (), [], 0
    portal = Portal("", "", Prepared("", "", functions.arguments(oid)), formats, values)
    return Request(
        FUNCTION,
        ordinal,
        at,
        position,
        len(payload),
        portal=portal,
        function=(oid, result),
        truncated=not whole,
    )


def copy_in(copies: list[CopyIn], kind: int, length: int, ordinal: int, payload: bytes, most: int) -> None:
    """CopyData, CopyDone or CopyFail of the Query or Execute that ``copies`` belong to. ``most`` bytes of its
    data are held."""
    if not copies or copies[-1].end:
        copies.append(CopyIn(first=ordinal))
    copy = copies[-1]
    if kind == COPY_DATA:
        copy.bytes += length
        copy.messages += 1
        if copy.bytes > most or copy.truncated or len(payload) < length:
            copy.truncated = True
        else:
            copy.data.append(payload)
    else:
        copy.end = ordinal
        copy.failed = kind == COPY_FAIL
