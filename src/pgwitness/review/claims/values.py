"""Whether a value that was claimed is the value on record, however driver and testimony write it.

A value has its text, and what is known of its type: from the literal, from the Bind message, from JSON. Where
either side is known to be a number, a time, a truth value, JSON, bytes or an array, that is what is compared;
two texts of unknown type are compared letter by letter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from pgwitness.review.claims.model import UNSAID

_NUMBERS: Final = {"int2", "int4", "int8", "numeric", "float4", "float8", "oid", "money"}
_TIMES: Final = {"date", "timestamp", "timestamptz", "time", "timetz"}
_JSON: Final = {"json", "jsonb"}
_TEXTS: Final = {"text", "varchar", "bpchar", "name", "char"}
DIMENSIONS: Final = 6
"""Of an array, as many as PostgreSQL allows."""
_TRUE: Final = {"t": True, "true": True, "f": False, "false": False}
_NUMBER = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,4})?|[+-]?(NaN|Infinity)")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d(:?\d\d)?)?)?")
_ALIASES: Final = {
    "integer": "int4",
    "int": "int4",
    "smallint": "int2",
    "bigint": "int8",
    "boolean": "bool",
    "decimal": "numeric",
    "real": "float4",
    "character varying": "varchar",
}


class Value(Struct, frozen=True):
    """One constant or bound value."""

    value: Any
    """Text, None for NULL, a list, a dictionary, or ``UNSAID``."""
    type: str | None = None
    """The short name of PostgreSQL's type, ``number`` or ``bool`` for what JSON or a literal is known to be,
    ``string`` for a literal in quotes, None if nothing is known."""
    bound: bool = False
    """Not a part of the text."""
    cast: str | None = None
    """The type that the text casts it to; with a modifier, as in ``numeric(8,2)``."""


def of_json(value: Any) -> Value:
    """As a testimony has it beside its text."""
    if isinstance(value, bool):
        return Value("true" if value else "false", "bool", True)
    if isinstance(value, int | float | Decimal):
        return Value(str(value), "number", True)
    if isinstance(value, list):
        return Value([of_json(each) for each in value], None, True)
    return Value(value, None, True)


def is_plain(value: Value) -> bool:
    """Whether it stands in SQL without quotes."""
    return value.type in ("number", "bool") or (
        value.type in _NUMBERS and isinstance(value.value, str) and bool(_NUMBER.fullmatch(value.value))
    )


def same(claimed: Value, recorded: Value) -> bool | None:
    """None if one of the two is not said. What is nested too deeply is compared as text."""
    try:
        return _same(claimed, recorded)
    except RecursionError:
        return bool(claimed.value == recorded.value) if isinstance(claimed.value, str) else False


def _same(claimed: Value, recorded: Value) -> bool | None:
    if claimed.value is UNSAID or recorded.value is UNSAID:
        return None
    if not _same_cast(claimed, recorded):
        return False
    left, right = claimed.value, recorded.value
    if left is None or right is None:
        return left is None and right is None
    types = {_known(claimed), _known(recorded)} - {None}
    if isinstance(left, list) or isinstance(right, list):
        return _same_lists(left, right, types)
    if isinstance(left, dict) or isinstance(right, dict):
        return bool(_whole(_as_json(left)) == _whole(_as_json(right)))
    if left == right:
        return True
    return any(_equal(convert, left, right) for convert in _conversions(types))


def rough(value: Value) -> str:
    """The same for values that may be the same: what alignment goes by."""
    try:
        return _rough(value, 0)
    except RecursionError:
        return value.value if isinstance(value.value, str) else "deep"


def _rough(value: Value, depth: int) -> str:
    held = value.value
    if held is None:
        return "null"
    if isinstance(held, list):
        return "[" + ",".join(_rough(each, depth + 1) for each in held) + "]"
    if isinstance(held, dict):
        return json.dumps(_whole(held), sort_keys=True, default=str)
    text = str(held)
    return _rough_text(text, depth) if len(text) <= 4096 else str(hash(text))


def _rough_text(text: str, depth: int) -> str:
    if text.lower() in _TRUE:
        return str(_TRUE[text.lower()]).lower()
    if _NUMBER.fullmatch(text):
        return _plainly(_number(text))
    if _TIME.fullmatch(text):
        moment = _moment(text)
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
        return str(moment) if moment is not None else text
    if text[:1] in "{[":
        items = _items(text) if depth < DIMENSIONS else None
        if items is not None:
            return (
                "["
                + ",".join("null" if each is None else _rough(Value(each), depth + 1) for each in items)
                + "]"
            )
        parsed = _as_json(text)
        if isinstance(parsed, list):
            return _rough(of_json(parsed), depth + 1)
        return json.dumps(_whole(parsed), sort_keys=True, default=str) if parsed is not None else text
    return text


# --- types ---


def _known(value: Value) -> str | None:
    """What it is, as far as that is known; a string literal takes its type from where it stands."""
    name = value.cast or value.type
    if name is None or (name == "string" and not value.cast):
        return None
    name = name.partition("(")[0]
    return _ALIASES.get(name, name)


def _conversions(types: set[str | None]) -> list[Callable[[str], Any]]:
    found: list[Callable[[str], Any]] = []
    if types & _TEXTS:
        return found
    if types & _NUMBERS or "number" in types:
        found.append(_number)
    if "bool" in types:
        found.append(lambda text: _TRUE.get(text.lower()))
    if types & _TIMES:
        found.append(_moment)
    if types & _JSON:
        found.append(_as_json)
    if "uuid" in types:
        found.append(_uuid)
    if "bytea" in types:
        found.append(_bytes)
    return found


def _equal(convert: Callable[[str], Any], left: str, right: str) -> bool:
    one, other = convert(left), convert(right)
    return one is not None and other is not None and bool(one == other)


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text) if _NUMBER.fullmatch(text) else None
    except InvalidOperation:
        return None


def _plainly(number: Decimal | None) -> str:
    """The same for equal numbers, whole."""
    if number is None or not number.is_finite():
        return str(number)
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    return f"{'-' if sign else ''}{kept}e{int(exponent) + len(text) - len(kept)}" if kept else "0"


def _moment(text: str) -> datetime | date | time | None:
    for read in (date.fromisoformat, datetime.fromisoformat, time.fromisoformat):
        try:
            moment: datetime | date | time = read(text.strip())
        except ValueError:
            continue
        return moment
    return None


def _as_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


def _whole(value: Any) -> Any:
    """JSON with its numbers by all their digits."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, float):
        return Decimal(repr(value))
    return value


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _bytes(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text.removeprefix("\\x"))
    except ValueError:
        return None


# --- arrays ---

_ELEMENT = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|(\{)|([^,{}"\\]*))\s*', re.DOTALL)


def _same_lists(left: Any, right: Any, types: set[str | None]) -> bool:
    if types & _JSON:
        return bool(_whole(_plain(left)) == _whole(_plain(right)))
    inner = next((name[:-2] for name in types if name and name.endswith("[]")), None)
    one, other = (_elements(each, inner) for each in (left, right))
    if one is None or other is None or len(one) != len(other):
        return False
    return all(same(a, b) is True for a, b in zip(one, other, strict=True))


def _elements(held: Any, inner: str | None) -> list[Value] | None:
    if isinstance(held, list):
        return [Value(each.value, each.type or inner) for each in held]
    items = _items(held) if isinstance(held, str) else None
    return None if items is None else [Value(each, inner) for each in items]


def _items(text: str) -> list[str | None] | None:
    """Of an array as PostgreSQL writes it, ``{1,NULL,"a b"}``; inner arrays as their text."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    body, at = text[1:-1], 0
    items: list[str | None] = []
    if not body.strip():
        return []
    while True:
        found = _ELEMENT.match(body, at)
        assert found is not None
        if found[2]:
            end = _closing(body, found.start(2))
            if end < 0:
                return None
            items.append(body[found.start(2) : end])
            at = end
        else:
            plain = found[3]
            items.append(re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else _null(plain))
            at = found.end()
        if at >= len(body):
            return items
        if body[at] != ",":
            return None
        at += 1


def _null(text: str) -> str | None:
    return None if text.upper() == "NULL" else text.strip()


def _closing(text: str, at: int) -> int:
    depth = 0
    for place in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return -1


def _plain(held: Any) -> Any:
    """A list of values as JSON has it."""
    if isinstance(held, list):
        return [_plain(each) for each in held]
    if isinstance(held, Value):
        if held.type == "number":
            return json.loads(held.value, parse_float=Decimal)
        return held.value == "true" if held.type == "bool" else _plain(held.value)
    return _as_json(held) if isinstance(held, str) and held[:1] in "[{" else held


# --- casts ---

_PURE: Final = {
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "timestamp": re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+"),
    "timestamptz": re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+\s*(Z|[+-][\d:]+)"),
    "time": re.compile(r"[\d:.]+"),
    "uuid": re.compile(r"[0-9a-fA-F-]{32,36}"),
    "bytea": re.compile(r"\\x[0-9a-fA-F]*"),
    "interval": re.compile(r"[^']*"),
    "json": re.compile(r".*", re.DOTALL),
    "jsonb": re.compile(r".*", re.DOTALL),
    "text": re.compile(r".*", re.DOTALL),
    "varchar": re.compile(r".*", re.DOTALL),
}
"""Casts that drivers write around a literal of that very form, which they leave as it is."""


def _same_cast(claimed: Value, recorded: Value) -> bool:
    """A cast that stands on one side only is none where it is to the very type that the other side's value
    has, or is what a driver writes around its literals. Anything else may change the value."""
    one, other = claimed.cast, recorded.cast
    if one == other:
        return True
    if one is not None and other is not None:
        return _ALIASES.get(one, one) == _ALIASES.get(other, other)
    cast = one or other or ""
    if "(" in cast:
        return False
    cast = _ALIASES.get(cast, cast)
    if recorded.bound and recorded.type in (None, cast):
        return True
    side = recorded if other else claimed
    if isinstance(side.value, list):
        return all(
            each.value is None or each.type == "string" or "." not in str(each.value) for each in side.value
        )
    pure = _PURE.get(cast)
    literal = isinstance(side.value, str) and side.type not in ("number", "bool")
    return cast.endswith("[]") or bool(pure and literal and pure.fullmatch(side.value))
