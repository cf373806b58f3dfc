"""PostgreSQL's built-in types: names by OID, and values from their binary to their text form.

``decode`` never fails: a type that is not built in, or a value that does not have its type's form, becomes
hex, and says so.
"""

from struct import error

from pgwitness.statements.types import containers, moments, scalars, search, shapes
from pgwitness.statements.types.builtin import ARRAYS, MULTIRANGES, NAMES, RANGES, RECORD, VECTORS

_SIMPLE = scalars.DECODERS | moments.DECODERS | shapes.DECODERS | search.DECODERS
_DECODABLE = {*_SIMPLE, *ARRAYS, *RANGES, *MULTIRANGES, *VECTORS, RECORD}


def type_name(oid: int) -> str:
    """``int4``, ``text[]``; a type that is not built in is its OID, ``unknown`` if there is none."""
    return NAMES.get(oid) or (str(oid) if oid else "unknown")


def decodable(oid: int) -> bool:
    """Values of this type have a text form here, arrays of other types excepted."""
    return oid in _DECODABLE


def decode(oid: int, value: bytes, encoding: str = "utf-8") -> tuple[str, bool]:
    """(a binary value as text, whether that is hex). Text is as PostgreSQL prints it, with DateStyle ISO
    and UTC."""
    try:
        return _decode(oid, value, encoding), False
    except (ValueError, IndexError, KeyError, OverflowError, RecursionError, error):
        return value.hex(), True


def _decode(oid: int, value: bytes, encoding: str) -> str:
    simple = _SIMPLE.get(oid)
    if simple is not None:
        return simple(value, encoding)
    if oid in ARRAYS:
        return containers.array(value, encoding, _decode)
    if oid in RANGES:
        return containers.range_(value, encoding, _decode, RANGES[oid])
    if oid in MULTIRANGES:
        return containers.multirange(value, encoding, _decode, MULTIRANGES[oid])
    if oid in VECTORS:
        return containers.vector(value, encoding, _decode)
    if oid == RECORD:
        return containers.record(value, encoding, _decode)
    raise KeyError(oid)
