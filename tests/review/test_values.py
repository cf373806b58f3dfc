"""Bound values in place of placeholders, by PostgreSQL's own scanner."""

import pytest

from pgwitness.review.values import literal, pieces, quote
from pgwitness.statements.model import Parameter


def _parameter(value: str | None, type: str | None = "text", **more: str) -> Parameter:
    return Parameter(type, value, "text", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sql", "values", "wanted"),
    [
        ("SELECT $1", ["a"], "SELECT 'a'"),
        ("SELECT $1, $2, $1", ["a", None], "SELECT 'a', NULL, 'a'"),
        ("SELECT '$1', $1 -- $1", ["it's"], "SELECT '$1', 'it''s' -- $1"),
        ("SELECT $$ $1 $$ || $1 /* $1 */", [""], "SELECT $$ $1 $$ || '' /* $1 */"),
        ("SELECT 'é☃' || $1", ["x"], "SELECT 'é☃' || 'x'"),
        ("SELECT $2", ["only one"], "SELECT $2"),
        ("SELECT $10", [str(n) for n in range(1, 11)], "SELECT '10'"),
        ("SELECT 'unfinished $1", ["a"], "SELECT 'unfinished $1"),
    ],
)
def test_placeholders(sql: str, values: list[str | None], wanted: str) -> None:
    made = pieces(sql, [_parameter(value) for value in values])
    assert "".join(text for text, _ in made) == wanted


def test_what_was_bound_is_told_from_what_was_written() -> None:
    assert pieces("SELECT $1 + 1", [_parameter("7", "int4")]) == [
        ("SELECT ", False),
        ("7", True),
        (" + 1", False),
    ]


@pytest.mark.parametrize(
    ("parameter", "wanted"),
    [
        (_parameter("7", "int4"), "7"),
        (_parameter("-7", "int8"), "(-7)"),
        (_parameter("1e10", "float8"), "1e10"),
        (_parameter("NaN", "float8"), "'NaN'"),
        (_parameter("7; DROP TABLE x", "int4"), "'7; DROP TABLE x'"),
        (_parameter("7", None), "'7'"),
        (_parameter("t", "bool"), "true"),
        (_parameter("{1,2}", "int4[]"), "'{1,2}'"),
        (_parameter(None, "bool"), "NULL"),
        (_parameter("00ff", "12345", encoding="hex"), r"E'\\x00ff'"),
    ],
)
def test_literals(parameter: Parameter, wanted: str) -> None:
    assert literal(parameter) == wanted


def test_a_backslash_never_depends_on_a_setting() -> None:
    assert quote(r"a\'b") == r"E'a\\''b'"
