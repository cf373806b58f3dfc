"""Statements with their bound values in place, for people and for scripts.

Placeholders are found by PostgreSQL's own scanner, so a ``$1`` in a string or in a comment stays what it is.
"""

import re
from collections.abc import Callable, Sequence

from pglast import parser

from pgwitness.statements.model import Parameter, Statement

_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_UNQUOTED = frozenset({"int2", "int4", "int8", "numeric", "float4", "float8", "oid"})


def literal(parameter: Parameter) -> str:
    """The value as SQL, as ``quote_literal`` writes it; numbers without quotes."""
    value = parameter.value
    if value is None:
        return "NULL"
    if parameter.encoding == "hex":
        return f"E'\\\\x{value}'"
    if parameter.type in _UNQUOTED and _PLAIN.fullmatch(value):
        return f"({value})" if value.startswith("-") else value
    if parameter.type == "bool":
        return {"t": "true", "f": "false"}.get(value, quote(value))
    return quote(value)


def quote(value: str) -> str:
    """A string literal that means the same whatever ``standard_conforming_strings`` is."""
    doubled = value.replace("'", "''")
    if "\\" not in value:
        return f"'{doubled}'"
    escaped = doubled.replace("\\", "\\\\")
    return f"E'{escaped}'"


def inline(statement: Statement, render: Callable[[Parameter], str] = literal) -> str:
    """The SQL with each ``$n`` replaced by its value. A ``$n`` that has no value stays."""
    return "".join(text for text, _ in pieces(statement.sql, statement.parameters, render))


def pieces(
    sql: str, parameters: Sequence[Parameter], render: Callable[[Parameter], str] = literal
) -> list[tuple[str, bool]]:
    """The SQL in pieces, each with whether it is a value that was bound."""
    return [(text, number > 0) for text, number in numbered_pieces(sql, parameters, render)]


def numbered_pieces(
    sql: str, parameters: Sequence[Parameter], render: Callable[[Parameter], str] = literal
) -> list[tuple[str, int]]:
    """The SQL in pieces, each with the number of the value that was bound there, 0 for none."""
    if not parameters:
        return [(sql, 0)]
    found: list[tuple[str, int]] = []
    at = 0
    for start, end in _placeholders(sql):
        number = int(sql[start + 1 : end])
        if 1 <= number <= len(parameters) and parameters[number - 1].encoding != "withheld":
            found += [(sql[at:start], 0), (render(parameters[number - 1]), number)]
            at = end
    return [*found, (sql[at:], 0)]


def _placeholders(sql: str) -> list[tuple[int, int]]:
    try:
        tokens = parser.scan(sql)
    except (parser.ParseError, UnicodeError, ValueError):
        return []
    return [(token.start, token.end + 1) for token in tokens if token.name == "PARAM"]
