"""Arrays, ranges, multiranges and records from their binary to their text form, with PostgreSQL's quoting.

Source: arrayfuncs.c, rangetypes.c, multirangetypes.c, rowtypes.c. ``decode`` is how they decode what they
contain.
"""

import re
from collections.abc import Callable, Iterator
from struct import Struct, unpack_from

_INT = Struct("!i")
_HEAD = Struct("!iiI")
_FIELD = Struct("!Ii")
_MAX_DIMENSIONS = 6

Decode = Callable[[int, bytes, str], str]

_ARRAY_QUOTED = re.compile(r'[\s"\\{},]|\A\Z|\Anull\Z', re.IGNORECASE | re.ASCII)
_BOX_ARRAY_QUOTED = re.compile(r'[\s"\\{};]|\A\Z|\Anull\Z', re.IGNORECASE | re.ASCII)
_RECORD_QUOTED = re.compile(r'[\s"\\(),]|\A\Z', re.ASCII)
_RANGE_QUOTED = re.compile(r'[\s"\\()\[\],]|\A\Z', re.ASCII)
_BOX = 603

_EMPTY, _LOWER_INCLUDED, _UPPER_INCLUDED, _NO_LOWER, _NO_UPPER = 1, 2, 4, 8, 16


def _doubled(shown: str, quoted: re.Pattern[str]) -> str:
    if not quoted.search(shown):
        return shown
    return '"' + shown.replace("\\", "\\\\").replace('"', '""') + '"'


def _sized(value: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _INT.unpack_from(value, at)
    at += 4
    if length < 0:
        return None, at
    if at + length > len(value):
        raise ValueError("a part reaches beyond its value")
    return value[at : at + length], at + length


def array(value: bytes, encoding: str, decode: Decode) -> str:
    dimensions, _, oid = _HEAD.unpack_from(value)
    if not 0 <= dimensions <= _MAX_DIMENSIONS:
        raise ValueError("too many dimensions")
    if dimensions == 0:
        return "{}"
    bounds = unpack_from(f"!{2 * dimensions}i", value, 12)
    sizes, lowers = list(bounds[::2]), bounds[1::2]
    elements = _elements(value, 12 + 8 * dimensions, oid, encoding, decode)
    shown = _nested(sizes, elements, ";" if oid == _BOX else ",")
    if next(elements, None) is not None:
        raise ValueError("more elements than dimensions")
    if any(lower != 1 for lower in lowers):
        extents = (f"[{lower}:{lower + size - 1}]" for size, lower in zip(sizes, lowers, strict=True))
        return f"{''.join(extents)}={shown}"
    return shown


def _elements(value: bytes, at: int, oid: int, encoding: str, decode: Decode) -> Iterator[str]:
    quoted = _BOX_ARRAY_QUOTED if oid == _BOX else _ARRAY_QUOTED
    while at < len(value):
        element, at = _sized(value, at)
        if element is None:
            yield "NULL"
            continue
        shown = decode(oid, element, encoding)
        if quoted.search(shown):
            shown = '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
        yield shown


def _nested(sizes: list[int], elements: Iterator[str], delimiter: str) -> str:
    size, inner = sizes[0], sizes[1:]
    if inner:
        parts = [_nested(inner, elements, delimiter) for _ in range(size)]
    else:
        parts = [element for _, element in zip(range(size), elements, strict=False)]
        if len(parts) != size:
            raise ValueError("fewer elements than dimensions")
    return "{" + delimiter.join(parts) + "}"


def vector(value: bytes, encoding: str, decode: Decode) -> str:
    """int2vector and oidvector: arrays that print as words."""
    return array(value, encoding, decode).rpartition("{")[2].rstrip("}").replace(",", " ")


def range_(value: bytes, encoding: str, decode: Decode, element: int) -> str:
    flags, at = value[0], 1
    if flags & _EMPTY:
        return "empty"
    bounds = []
    for missing in (_NO_LOWER, _NO_UPPER):
        if flags & missing:
            bounds.append("")
            continue
        part, at = _sized(value, at)
        if part is None:
            raise ValueError("a bound is NULL")
        bounds.append(_doubled(decode(element, part, encoding), _RANGE_QUOTED))
    left = "[" if flags & _LOWER_INCLUDED else "("
    right = "]" if flags & _UPPER_INCLUDED else ")"
    return f"{left}{bounds[0]},{bounds[1]}{right}"


def multirange(value: bytes, encoding: str, decode: Decode, element: int) -> str:
    (count,) = _INT.unpack_from(value)
    at, shown = 4, []
    for _ in range(count):
        part, at = _sized(value, at)
        shown.append(range_(part or b"", encoding, decode, element))
    return "{" + ",".join(shown) + "}"


def record(value: bytes, encoding: str, decode: Decode) -> str:
    (count,) = _INT.unpack_from(value)
    at, shown = 4, []
    for _ in range(count):
        oid, _ = _FIELD.unpack_from(value, at)
        part, at = _sized(value, at + 4)
        shown.append("" if part is None else _doubled(decode(oid, part, encoding), _RECORD_QUOTED))
    return "(" + ",".join(shown) + ")"
