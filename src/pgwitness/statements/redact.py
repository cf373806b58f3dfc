"""Passwords in the text of statements: taken out before a text is kept anywhere but on the tape.

PostgreSQL's own scanner finds them, so a comment, another way of quoting or a word in a string misleads
nobody. What is taken out is a literal, and never more: no text can hide a statement behind a password.
Covered are

- ``CREATE`` and ``ALTER ROLE``, ``USER`` and ``GROUP``, with a password quoted in any way or in none;
- ``OPTIONS (password '…')`` of ``CREATE`` and ``ALTER SERVER`` and ``USER MAPPING``;
- ``CONNECTION '…'`` of ``CREATE`` and ``ALTER SUBSCRIPTION``, whole;
- the same in the text of ``DO``, ``CREATE FUNCTION`` and ``CREATE PROCEDURE``, also within the strings there.

Not covered, because the text does not say that it is a password: one put together at run time (``format()``,
``||``), one given to a function, a bound value; a role statement longer than ``LONGEST``; and a plain string
that has both a backslash and a semicolon, which ``standard_conforming_strings`` might make two statements.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from pglast import parser

MARK: Final = "'***'"
LONGEST: Final = 16 << 10
"""Characters of one statement. The scanner may take kilobytes of memory for each token."""

_SECRET_WORDS = re.compile(r"password|connection", re.IGNORECASE)
_HEAD = re.compile(
    r"\b(?:(?:create|alter)\s+(?:role|user|group|server|subscription)|do"
    r"|create\s+(?:or\s+replace\s+)?(?:function|procedure))\b",
    re.IGNORECASE,
)
_UNCLOSED = re.compile(
    r"\s*(?:create|alter)\s+(?:role|user|group)\b[^']*?\bpassword\s*=?\s*(?:e|u&)?('[^';]*)'?\s*\Z",
    re.IGNORECASE,
)
_COMMENTS = ("SQL_COMMENT", "C_COMMENT")
_STRINGS = ("SCONST", "USCONST")
_WORDS = (*_STRINGS, "IDENT", "UIDENT", "ICONST", "FCONST", "BCONST", "XCONST", "PARAM")
_OBJECTS = {"ROLE", "USER", "GROUP_P", "SERVER", "SUBSCRIPTION"}
_CACHED, _CACHE_ENTRIES = 4096, 2048
_DEPTH = 3
_NEAR = re.compile(r'(at or near )".*"', re.DOTALL)

Place = tuple[int, int, str]
"""(start, end, what stands there instead)"""


def redact(sql: str) -> str:
    """The text, with ``'***'`` where there was a password."""
    if "password" not in (lowered := sql.lower()) and "subscription" not in lowered:
        return sql
    return _redact_cached(sql) if len(sql) <= _CACHED else _redact(sql)


def redact_error(sql: str, sqlstate: str, message: str) -> str:
    """An error's message. A syntax error quotes the word at which it is, and that may be the password."""
    if sqlstate == "42601" and MARK in sql:
        return _NEAR.sub(rf'\1"{MARK}"', message)
    return message


def _redact(sql: str, depth: int = 0) -> str:
    if not _HEAD.search(sql) and not depth:
        return sql
    if len(sql) <= LONGEST:
        return _replace(sql, _places(sql, depth))
    try:
        statements = parser.split(sql, with_parser=False, only_slices=True)
    except (parser.ParseError, UnicodeError, ValueError):
        return sql
    found = []
    for part in statements:
        if part.stop - part.start <= LONGEST:
            places = _places(sql[part], depth)
            found += [(part.start + start, part.start + end, text) for start, end, text in places]
    return _replace(sql, found)


_redact_cached = lru_cache(_CACHE_ENTRIES)(_redact)


def _replace(sql: str, places: list[Place]) -> str:
    pieces, at = [], 0
    for start, end, text in places:
        pieces += [sql[at:start], text]
        at = end
    return "".join([*pieces, sql[at:]]) if pieces else sql


def _places(sql: str, depth: int) -> list[Place]:
    try:
        tokens = [token for token in parser.scan(sql) if token.name not in _COMMENTS]
    except (parser.ParseError, UnicodeError, ValueError):
        unclosed = _UNCLOSED.match(sql)
        return [(*unclosed.span(1), MARK)] if unclosed else []
    # With standard_conforming_strings off, the server would read such a text otherwise.
    unclear = any(
        token.name == "SCONST" and sql[token.start] == "'" and "\\" in _of(sql, token) for token in tokens
    )
    places = [place for part in _statements(tokens) for place in _in_statement(sql, part, depth)]
    return [place for place in places if not (unclear and ";" in sql[place[0] : place[1]])]


def _statements(tokens: list[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    for token in tokens:
        part.append(token)
        if token.name == "ASCII_59":
            yield part
            part = []
    yield part


def _in_statement(sql: str, tokens: list[Any], depth: int) -> Iterator[Place]:
    names = [token.name for token in tokens]
    about = names[:1] in (["CREATE"], ["ALTER"]) and names[1:2] and names[1] in _OBJECTS
    routine = names[:1] == ["DO"] or (names[:1] == ["CREATE"] and {"FUNCTION", "PROCEDURE"} & {*names[1:4]})
    for at, token in enumerate(tokens):
        secret = None
        if token.name == "PASSWORD" and (about or depth):
            secret = _after(tokens, at, _WORDS if about else _STRINGS)
        elif token.name == "CONNECTION" and names[1:2] == ["SUBSCRIPTION"] and about:
            secret = _after(tokens, at, _STRINGS)
        elif (routine or depth) and token.name == "SCONST" and depth < _DEPTH:
            yield from _in_string(sql, token, depth + 1)
        if secret is not None:
            yield secret.start, secret.end + 1, f"U&{MARK}" if secret.name == "USCONST" else MARK


def _after(tokens: list[Any], at: int, names: tuple[str, ...]) -> Any:
    """The token that is the value, past an equals sign that some think belongs there."""
    following = tokens[at + 1 : at + 3]
    if following and following[0].name == "ASCII_61":
        following = following[1:]
    return following[0] if following and following[0].name in names else None


def _in_string(sql: str, token: Any, depth: int) -> Iterator[Place]:
    """Within a string that is a program."""
    text = _of(sql, token)
    if not _SECRET_WORDS.search(text):
        return
    if text[0] == "$":
        quote = text[: text.index("$", 1) + 1]
        body = text[len(quote) : -len(quote)]
        after = f"{quote}{_redact(body, depth)}{quote}"
    elif text[0] == "'" or "\\" not in text.replace("\\'", ""):
        prefix = text[: text.index("'")]
        body = text[len(prefix) + 1 : -1].replace("''", "'")
        if prefix:
            body = body.replace("\\'", "'")
        redacted = _redact(body, depth)
        if redacted == body:
            return
        doubled = redacted.replace("'", "''")
        after = f"{prefix}'{doubled}'"
    else:
        return
    if after != text:
        yield token.start, token.end + 1, after


def _of(sql: str, token: Any) -> str:
    return sql[token.start : token.end + 1]
