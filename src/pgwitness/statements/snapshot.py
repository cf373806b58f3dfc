"""Plain data with shared references to bytes and back.

Two places that hold the same object before hold the same object after, which plain msgpack would lose.
Only the types named here exist in a snapshot, so a snapshot is data and never code. Cycles are not
supported.
"""

from collections import deque
from collections.abc import Iterable
from functools import cache
from typing import Any
from zlib import crc32

import msgspec

VERSION = 1
_LIST, _TUPLE, _DICT, _DEQUE, _STRUCT = range(5)


def freeze(roots: Iterable[Any], structs: tuple[type[msgspec.Struct], ...]) -> bytes:
    """``structs`` are the classes that may occur; their order is part of the format."""
    return msgspec.msgpack.encode((_layout(structs), *_Freezer(structs).run(roots)))


def thaw(data: bytes, structs: tuple[type[msgspec.Struct], ...]) -> list[Any]:
    """The roots. ValueError if ``data`` is of another version or no snapshot: read the frames again then."""
    try:
        layout, nodes, roots = msgspec.msgpack.decode(data)
        if layout != _layout(structs):
            raise ValueError("a snapshot of another version")
        thawed: list[Any] = []
        for kind, content in nodes:
            thawed.append(_build(kind, [_value(field, thawed) for field in content], structs))
        return [_value(root, thawed) for root in roots]
    except (msgspec.DecodeError, IndexError, TypeError) as error:
        raise ValueError(f"not a snapshot: {error}") from error


@cache
def _layout(structs: tuple[type[msgspec.Struct], ...]) -> int:
    """Changes with the format and with every field of every class, so that a newer program never misreads
    an old state."""
    return crc32(repr((VERSION, [(each.__name__, each.__struct_fields__) for each in structs])).encode())


def _value(field: Any, thawed: list[Any]) -> Any:
    return thawed[field[0]] if isinstance(field, list) else field


def _build(kind: int, content: list[Any], structs: tuple[type[msgspec.Struct], ...]) -> Any:
    if kind == _LIST:
        return content
    if kind == _TUPLE:
        return tuple(content)
    if kind == _DICT:
        return dict(zip(content[::2], content[1::2], strict=True))
    if kind == _DEQUE:
        return deque(content)
    return structs[kind - _STRUCT](*content)


class _Freezer:
    """Objects become nodes in the order in which they are complete; a reference is a list of one node
    number.
    """

    def __init__(self, structs: tuple[type[msgspec.Struct], ...]) -> None:
        self._kinds: dict[type, int] = {list: _LIST, tuple: _TUPLE, dict: _DICT, deque: _DEQUE}
        self._kinds |= {struct: _STRUCT + number for number, struct in enumerate(structs)}
        self._nodes: list[tuple[int, list[Any]]] = []
        self._seen: dict[int, int] = {}

    def run(self, roots: Iterable[Any]) -> tuple[list[tuple[int, list[Any]]], list[Any]]:
        return self._nodes, [self._field(root) for root in roots]

    def _field(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        known = self._seen.get(id(value))
        if known is None:
            kind = self._kinds[type(value)]
            known = self._append(kind, [self._field(part) for part in _parts(value)])
            self._seen[id(value)] = known
        return [known]

    def _append(self, kind: int, content: list[Any]) -> int:
        self._nodes.append((kind, content))
        return len(self._nodes) - 1


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [part for item in value.items() for part in item]
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    return value  # type: ignore[no-any-return]
