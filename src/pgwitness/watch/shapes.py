"""What two texts of one statement have in common: the server's normalised text and the recorded one.

Mostly that is PostgreSQL's own fingerprint (pglast). Where the server's normalised text is none that the
parser takes (``SAVEPOINT $1``), it is the family of the command, or the text's tokens without constants.
Coarser never means a false alarm: it only tells fewer statements apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from pglast import parser

LIMIT: Final = 1 << 16
"""Characters that are looked at; longer texts are told apart by their first tokens only."""
_CACHED: Final = 16_384
_CONSTANTS: Final = {"ICONST", "FCONST", "SCONST", "USCONST", "XCONST", "BCONST", "PARAM"}
_STRINGS: Final = {"SCONST", "USCONST"}
_COMMENTS: Final = {"C_COMMENT", "SQL_COMMENT"}
_TRANSACTION: Final = {"BEGIN_P", "START", "COMMIT", "END_P", "ROLLBACK", "ABORT_P", "SAVEPOINT", "RELEASE"}
_CURSOR: Final = {"FETCH", "MOVE", "CLOSE"}

TRANSACTION: Final = "transaction control"
CURSOR: Final = "cursor"
DECLARE: Final = "declare"
EXECUTE: Final = "execute"
DEALLOCATE: Final = "deallocate"


@lru_cache(_CACHED)
def shape(sql: str) -> str:
    """The statement's shape: a family's name, ``fp:`` and a fingerprint, or ``text:`` and its tokens."""
    try:
        tokens = parser.scan(sql[:LIMIT])
    except (parser.ParseError, UnicodeError, ValueError):
        return f"text:{' '.join(sql[:LIMIT].split())}"
    words = [token for token in tokens if token.name not in _COMMENTS]
    family = _family([token.name for token in words[:2]])
    if family is not None:
        return family
    if len(sql) <= LIMIT:
        for text in (sql, _with_parameters(sql, words)):
            try:
                return f"fp:{parser.fingerprint(text)}"
            except (parser.ParseError, UnicodeError, ValueError):
                continue
    return _loose(sql, words)


@lru_cache(_CACHED)
def loose(sql: str) -> str:
    """The tokens without constants: what is compared where one of two texts cannot be parsed."""
    try:
        tokens = parser.scan(sql[:LIMIT])
    except (parser.ParseError, UnicodeError, ValueError):
        return f"text:{' '.join(sql[:LIMIT].split())}"
    return _loose(sql, [token for token in tokens if token.name not in _COMMENTS])


def masked(sql: str, length: int = 300) -> str:
    """For a person: in one line, without string constants, since one of them may be a password."""
    try:
        tokens = parser.scan(sql[:LIMIT])
    except (parser.ParseError, UnicodeError, ValueError):
        return "a text that cannot be read"
    head = sql[:LIMIT]
    parts: list[str] = []
    at = 0
    for token in tokens:
        if token.name in _STRINGS:
            parts += [head[at : token.start], "'…'"]
            at = token.end + 1
    text = " ".join("".join([*parts, head[at:]]).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def server_check(sql: str) -> bool:
    """The server's own look at a foreign key (ri_triggers.c). At commit it counts as if somebody sent it."""
    words = sql.split()
    return (
        words[:1] == ["SELECT"]
        and words[2:3] == ["FROM"]
        and words[-5:] == ["FOR", "KEY", "SHARE", "OF", "x"]
    )


def _family(first: Sequence[str]) -> str | None:
    if not first:
        return None
    word = first[0]
    if word in _TRANSACTION or list(first[:2]) == ["PREPARE", "TRANSACTION"]:
        return TRANSACTION
    if word in _CURSOR:
        return CURSOR
    if word in ("PREPARE", "EXECUTE"):
        # The server counts what EXECUTE runs under the text that PREPARE had.
        return EXECUTE
    return {"DECLARE": DECLARE, "DEALLOCATE": DEALLOCATE}.get(word)


def _with_parameters(sql: str, tokens: Sequence[parser.Token]) -> str:
    """An index that keeps no literals has ``?`` in their place, which is no SQL."""
    for token in reversed(tokens):
        if sql[token.start : token.end + 1] == "?":
            sql = f"{sql[: token.start]}$1{sql[token.end + 1 :]}"
    return sql


def _loose(sql: str, tokens: Sequence[parser.Token]) -> str:
    parts: list[str] = []
    for token in tokens:
        text = sql[token.start : token.end + 1]
        if token.name in _CONSTANTS or text == "?":
            if parts[-1:] != ["?"]:
                parts.append("?")
        else:
            parts.append(text if text.startswith('"') else text.lower())
    return f"text:{' '.join(parts)}"
