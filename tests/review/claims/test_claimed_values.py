"""When a claimed value is the recorded one."""

from typing import Any

import pytest

from pgwitness.review.claims.model import UNSAID
from pgwitness.review.claims.values import Value, of_json, rough, same


def bound(value: Any, type: str | None = None, cast: str | None = None) -> Value:
    return Value(value, type, True, cast)


SAME = [
    (7, bound("7", "int4")),
    (7.0, bound("7", "numeric")),
    ("7", bound("7.00", "numeric")),
    (7, bound("7", "text")),
    (True, bound("t", "bool")),
    ("true", bound("t", "bool")),
    (None, bound(None, "text")),
    ("2026-11-22T06:45:31Z", bound("2026-11-22 06:45:31+00", "timestamptz")),
    ("2026-11-22T07:45:31+01:00", bound("2026-11-22 06:45:31+00", "timestamptz")),
    ([1, None, 3], bound("{1,NULL,3}", "int4[]")),
    (["a b", 'q"', ""], bound('{"a b","q\\"",""}', "text[]")),
    ([[1, 2], [3, 4]], bound("{{1,2},{3,4}}", "int4[]")),
    ([], bound("{}", "int4[]")),
    ({"a": [1, None]}, bound('{"a": [1,null]}', "jsonb")),
    ([1, "x"], bound('[1, "x"]', "jsonb")),
    ("0000-00000000000000000000000000ff", bound("00000000-0000-0000-0000-0000000000ff", "uuid")),
    ("\\x00FF", bound("\\x00ff", "bytea")),
    ("void", bound("void", "text", "varchar")),
    ("2026-11-22", Value("2026-11-22", "string", False, "date")),  # as psycopg2 writes a date
]
OTHER = [
    (8, bound("7", "int4")),
    ("007", bound("7", "text")),
    ("Void", bound("void", "text")),
    ("", bound(None, "text")),
    (False, bound("t", "bool")),
    ("2026-11-22T06:45:31", bound("2026-11-22 06:45:32", "timestamp")),
    ([1, 2], bound("{1,2,3}", "int4[]")),
    ([2, 1], bound("{1,2}", "int4[]")),
    ({"a": 1}, bound('{"a": 2}', "jsonb")),
    ("Abc", Value("Abc", "string", False, "bpchar(1)")),  # the cast cuts it
    (5.7, Value("5.7", "number", False, "int4")),  # the cast rounds it
    ("2026-11-22 10:00", Value("2026-11-22 10:00", "string", False, "date")),
]


@pytest.mark.parametrize(("claimed", "recorded"), SAME)
def test_the_same(claimed: Any, recorded: Value) -> None:
    assert same(of_json(claimed), recorded) is True


@pytest.mark.parametrize(("claimed", "recorded"), OTHER)
def test_another(claimed: Any, recorded: Value) -> None:
    assert same(of_json(claimed), recorded) is False


def test_what_is_not_said_is_neither() -> None:
    assert same(Value(UNSAID), bound("7")) is None
    assert same(of_json(7), Value(UNSAID)) is None


@pytest.mark.parametrize(("claimed", "recorded"), [pair for pair in SAME if pair[1].type != "uuid"])
def test_what_may_be_the_same_is_aligned(claimed: Any, recorded: Value) -> None:
    if recorded.type != "bytea":
        assert rough(of_json(claimed)) == rough(recorded)


def test_an_array_of_any_depth_is_compared() -> None:
    deep = bound("{" * 1500 + "}" * 1500, "int4[]")
    assert rough(deep) == rough(deep)
    assert same(deep, deep) is True
    assert same(of_json([1]), deep) is False


def test_numbers_are_compared_whole() -> None:
    one, other = "1." + "0" * 39 + "1", "1." + "0" * 39 + "2"
    assert same(bound(one, "numeric"), bound(other, "numeric")) is False
    assert rough(bound(one)) != rough(bound(other))


def test_numbers_within_json_are_compared_whole() -> None:
    one, other = (bound(f'{{"a": 0.100000000000000000{last}}}', "jsonb") for last in (1, 2))
    assert same(one, other) is False
    assert same(of_json({"a": 0.1}), bound('{"a": 0.1}', "jsonb")) is True
    assert rough(of_json({"a": 0.1})) == rough(bound('{"a": 0.1}', "jsonb"))
