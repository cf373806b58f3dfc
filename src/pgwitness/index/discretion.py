"""How much of a statement's text the index may keep: all of it, its shape without literals, or nothing.

Commands, tables, tags, counts, times and outcomes are kept whatever the setting; the tape and the sealed
record have everything. What was withheld shows: a parameter has encoding ``withheld``, a statement is
``truncated``.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal, get_args

from pglast import parser

from pgwitness.statements.condense import condense
from pgwitness.statements.model import Parameter, Statement

Text = Literal["all", "normalised", "none"]
TEXTS: Final[tuple[Text, ...]] = get_args(Text)

PLACEHOLDER: Final = "?"
_SCANNED = 16 << 10
"""Characters that the scanner is asked about. It may take kilobytes of memory for each token."""
_CACHE_ENTRIES = 4096
_CONSTANTS = frozenset({"SCONST", "USCONST", "ICONST", "FCONST", "BCONST", "XCONST"})
_COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
_TOLD = ("message", "detail", "payload")
"""Fields of a session's events that may quote values."""


def withhold(statement: Statement, text: Text) -> Statement:
    """The statement as the index may keep it. Changes it in place."""
    if text == "all":
        return statement
    kept = "" if text == "none" else normalised(statement.sql)
    whole = kept == statement.sql and not statement.parameters and not statement.error
    statement.truncated = statement.truncated or not whole
    statement.sql = kept
    statement.error = statement.error_detail = None
    if text == "none":
        statement.prepared = statement.portal = ""
        statement.parameters = []
        if statement.result:
            statement.result.columns = []
    else:
        statement.parameters = [
            Parameter(each.type, None, each.format, "withheld") for each in statement.parameters
        ]
    return statement


def withhold_event(event: dict[str, Any], text: Text) -> dict[str, Any]:
    if text == "all":
        return event
    return {name: value for name, value in event.items() if name not in _TOLD}


def normalised(sql: str) -> str:
    """The text with ``?`` for every constant, without comments; empty if that is not certain to work."""
    return _cached(sql) if len(sql) <= _SCANNED else condense(sql)


def _normalise(sql: str) -> str:
    try:
        tokens = parser.scan(sql)
    except (parser.ParseError, UnicodeError, ValueError):
        return ""
    pieces, at = [], 0
    for token in tokens:
        found = sql[token.start : token.end + 1]
        if token.name == "SCONST" and found[0] == "'" and "\\" in found:
            return ""  # with standard_conforming_strings off, the string ends elsewhere
        replaced = PLACEHOLDER if token.name in _CONSTANTS else " " if token.name in _COMMENTS else None
        if replaced is not None:
            pieces += [sql[at : token.start], replaced]
            at = token.end + 1
    return "".join([*pieces, sql[at:]]).strip() if pieces else sql


_cached: Callable[[str], str] = lru_cache(_CACHE_ENTRIES)(_normalise)
