"""FunctionCall: a function by its OID, without SQL. Only large objects of libpq still use it, so those
have names here.
"""

from struct import pack

from pgwitness.statements.sql import Meaning

MEANING = Meaning("FUNCTION")

_INT4, _INT8, _OID, _BYTEA = 23, 20, 26, 17

_KNOWN: dict[int, tuple[str, tuple[int, ...], int]] = {
    715: ("lo_create", (_OID,), _OID),
    764: ("lo_import", (25,), _OID),
    765: ("lo_export", (_OID, 25), _INT4),
    767: ("lo_import", (25, _OID), _OID),
    952: ("lo_open", (_OID, _INT4), _INT4),
    953: ("lo_close", (_INT4,), _INT4),
    954: ("loread", (_INT4, _INT4), _BYTEA),
    955: ("lowrite", (_INT4, _BYTEA), _INT4),
    956: ("lo_lseek", (_INT4, _INT4, _INT4), _INT4),
    957: ("lo_creat", (_INT4,), _OID),
    958: ("lo_tell", (_INT4,), _INT4),
    964: ("lo_unlink", (_OID,), _INT4),
    1004: ("lo_truncate", (_INT4, _INT4), _INT4),
    3170: ("lo_lseek64", (_INT4, _INT8, _INT4), _INT8),
    3171: ("lo_tell64", (_INT4,), _INT8),
    3172: ("lo_truncate64", (_INT4, _INT8), _INT4),
}


def text(oid: int) -> str:
    """What stands for the SQL that there is none of."""
    known = _KNOWN.get(oid)
    return f"function {oid} ({known[0]})" if known else f"function {oid}"


def arguments(oid: int) -> tuple[int, ...]:
    """The types of its arguments, () if it is not known."""
    return _KNOWN[oid][1] if oid in _KNOWN else ()


def description(oid: int, format: int) -> bytes:
    """A RowDescription of its one result."""
    name, _, result = _KNOWN.get(oid, ("function", (), 0))
    return b"\0\1" + name.encode() + b"\0" + pack("!IhIhih", 0, 0, result, -1, -1, format)
