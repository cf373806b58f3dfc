"""Payloads of the messages that follow the log-in, parsed to values.

Every parser takes a payload that may have been cut at its end (see ``MessageSplitter``) and then gives what
is there; a whole payload that breaks its format raises MalformedPayloadError. Source: PostgreSQL manual,
"Message Formats".
"""

from struct import Struct, error, unpack_from

from pgwitness.wire.codec import Column, MalformedPayloadError

_INT16 = Struct("!H")
_INT32 = Struct("!i")
_UINT32 = Struct("!I")
_COLUMN = Struct("!IhIhih")

UNDECODABLE = "backslashreplace"
"""How bytes appear that are not text in the session's encoding: as ``\\xff``, so that nothing is lost."""


def text(payload: bytes, encoding: str = "utf-8") -> str:
    """A string that ends the payload, with or without its zero byte."""
    end = payload.find(b"\0")
    return (payload if end < 0 else payload[:end]).decode(encoding, UNDECODABLE)


def string(payload: bytes, at: int, encoding: str = "utf-8") -> tuple[str, int]:
    """The zero-terminated string at ``at``, and the offset behind it; what is left if its end was cut off."""
    end = payload.find(b"\0", at)
    if end < 0:
        return payload[at:].decode(encoding, UNDECODABLE), len(payload)
    return payload[at:end].decode(encoding, UNDECODABLE), end + 1


def parse_parse(payload: bytes, encoding: str = "utf-8") -> tuple[str, str, tuple[int, ...]]:
    """(statement name, SQL, parameter type OIDs; 0 is left to the server)"""
    end = payload.find(b"\0")
    stop = payload.find(b"\0", end + 1)
    if end < 0 or stop < 0:
        name, at = string(payload, 0, encoding)
        return name, text(payload[at:], encoding), ()
    oids: tuple[int, ...] = ()
    if payload[stop + 1 :] != b"\0\0":
        try:
            (count,) = _INT16.unpack_from(payload, stop + 1)
            oids = unpack_from(f"!{count}I", payload, stop + 3)
        except error:
            oids = ()
    name = payload[:end].decode(encoding, UNDECODABLE)
    return name, payload[end + 1 : stop].decode(encoding, UNDECODABLE), oids


Bind = tuple[str, str, tuple[int, ...], list[bytes | None], tuple[int, ...]]
"""(portal, statement, parameter formats, parameters with None for NULL, result formats)"""


def parse_bind(payload: bytes, encoding: str = "utf-8", whole: bool = True) -> Bind:
    portal, at = string(payload, 0, encoding)
    statement, at = string(payload, at, encoding)
    values: list[bytes | None] = []
    formats: tuple[int, ...] = ()
    results: tuple[int, ...] = ()
    try:
        formats, at = _int16s(payload, at)
        (count,) = _INT16.unpack_from(payload, at)
        at += 2
        for _ in range(count):
            (length,) = _INT32.unpack_from(payload, at)
            at += 4
            if length < 0:
                values.append(None)
                continue
            values.append(payload[at : at + length])
            at += length
        results, at = _int16s(payload, at)
    except error as exc:
        if whole:
            raise MalformedPayloadError("Bind too short") from exc
    return portal, statement, formats, values, results


def _int16s(payload: bytes, at: int) -> tuple[tuple[int, ...], int]:
    (count,) = _INT16.unpack_from(payload, at)
    if not count:
        return (), at + 2
    return unpack_from(f"!{count}H", payload, at + 2), at + 2 + 2 * count


def parse_target(payload: bytes, encoding: str = "utf-8") -> tuple[str, str]:
    """Describe and Close: (``S`` statement or ``P`` portal, its name)"""
    if not payload:
        raise MalformedPayloadError("Describe or Close without a target")
    return chr(payload[0]), text(payload[1:], encoding)


def parse_function_call(
    payload: bytes, whole: bool = True
) -> tuple[int, tuple[int, ...], list[bytes | None], int]:
    """(function OID, argument formats, arguments, result format)"""
    values: list[bytes | None] = []
    formats: tuple[int, ...] = ()
    oid = result = 0
    try:
        (oid,) = _UINT32.unpack_from(payload)
        formats, at = _int16s(payload, 4)
        (count,) = _INT16.unpack_from(payload, at)
        at += 2
        for _ in range(count):
            (length,) = _INT32.unpack_from(payload, at)
            at += 4
            values.append(None if length < 0 else payload[at : at + length])
            at += max(length, 0)
        (result,) = _INT16.unpack_from(payload, at)
    except error as exc:
        if whole:
            raise MalformedPayloadError("FunctionCall too short") from exc
    return oid, formats, values, result


def parse_data_row(payload: bytes, whole: bool = True) -> list[bytes | None]:
    values: list[bytes | None] = []
    try:
        (count,) = _INT16.unpack_from(payload)
        at = 2
        for _ in range(count):
            (length,) = _INT32.unpack_from(payload, at)
            at += 4
            if length < 0:
                values.append(None)
                continue
            values.append(payload[at : at + length])
            at += length
    except error as exc:
        if whole:
            raise MalformedPayloadError("DataRow too short") from exc
    return values


def parse_columns(payload: bytes, encoding: str = "utf-8") -> list[Column]:
    """RowDescription; the columns there are, if the payload was cut."""
    columns: list[Column] = []
    try:
        (count,) = _INT16.unpack_from(payload)
        at = 2
        for _ in range(count):
            name, at = string(payload, at, encoding)
            table, attribute, oid, _, modifier, format = _COLUMN.unpack_from(payload, at)
            columns.append(Column(name, oid, modifier, format, table, attribute))
            at += 18
    except error:
        pass
    return columns


def parse_parameter_description(payload: bytes) -> tuple[int, ...]:
    try:
        (count,) = _INT16.unpack_from(payload)
        return unpack_from(f"!{count}I", payload, 2)
    except error as exc:
        raise MalformedPayloadError("ParameterDescription too short") from exc


def parse_notification(payload: bytes, encoding: str = "utf-8") -> tuple[int, str, str]:
    """(process id, channel, payload)"""
    if len(payload) < 4:
        raise MalformedPayloadError("NotificationResponse too short")
    channel, at = string(payload, 4, encoding)
    return _UINT32.unpack_from(payload)[0], channel, text(payload[at:], encoding)


_PYTHON_ENCODINGS = {
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    "SQL_ASCII": "utf-8",
    "LATIN1": "iso8859-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "WIN866": "cp866",
    "WIN874": "cp874",
    "EUC_JP": "euc_jp",
    "EUC_JIS_2004": "euc_jis_2004",
    "SHIFT_JIS_2004": "shift_jis_2004",
    "SJIS": "cp932",
    "EUC_KR": "euc_kr",
    "UHC": "cp949",
    "JOHAB": "johab",
    "EUC_CN": "gb2312",
    "GBK": "gbk",
    "GB18030": "gb18030",
    "BIG5": "big5",
}


def python_encoding(name: str) -> str:
    """Python's name of a ``client_encoding``; an encoding that Python lacks is read as UTF-8."""
    name = name.upper().replace("-", "").replace("UTF_8", "UTF8")
    if name.startswith("WIN125"):
        return f"cp{name[3:]}"
    return _PYTHON_ENCODINGS.get(name, "utf-8")
