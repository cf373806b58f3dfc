"""Placeholders of drivers (``%s``, ``%(name)s``, ``?``, ``:name``, ``@name``, ``$1``) become ``$1``, ``$2`` …
with the values beside them.

They are found by PostgreSQL's own scanner, so one in a string or in a comment stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from pglast import parser

from pgwitness.review.claims.model import UNSAID

SCANNED: Final = 1 << 18
"""Characters. The scanner takes memory for each token; a longer text is taken as it is."""
_FORMATS: Final = ("s", "b", "t")
_JSON_OPERATORS: Final = ("@?",)

Bound = tuple[str, list[Any]]


class _Place(NamedTuple):
    start: int
    end: int
    style: str
    """``$``, ``%``, ``?``, or one of the named: ``%(``, ``:``, ``@``."""
    name: str
    glued: bool
    """The scanner takes it for a part of an operator, as in ``=?``."""
    listed: bool
    """After IN."""


def bind(sql: str, given: Any) -> Bound:
    """The text with ``$n``, and the value of each; ``UNSAID`` where none is given."""
    tokens = _scan(sql)
    if tokens is None:
        return sql, []
    places = list(_places(sql, tokens))
    if isinstance(given, dict):
        return _named(sql, tokens, places, given)
    if isinstance(given, list | tuple):
        return _in_order(sql, tokens, places, list(given))
    return _without_values(sql, tokens, places)


def fill(sql: str, texts: Sequence[str]) -> str:
    """The text with each ``$n`` replaced by its text; where that is empty it stays."""
    pieces, at = [], 0
    for token in _scan(sql) or () if texts else ():
        if token.name == "PARAM":
            number = int(sql[token.start + 1 : token.end + 1])
            if 1 <= number <= len(texts) and texts[number - 1]:
                pieces += [sql[at : token.start], texts[number - 1]]
                at = token.end + 1
    return "".join([*pieces, sql[at:]])


def count(sql: str) -> int:
    """How many values the text wants, by position; for ``$n`` the highest of them."""
    places = list(_places(sql, _scan(sql) or []))
    style = _positional(places)
    if style == "$":
        return max(int(place.name) for place in places if place.style == "$")
    return sum(place.style == style for place in places)


def scans(sql: str) -> bool:
    """Whether no string, quoted name or comment is left open at its end."""
    return _scan(sql) is not None


def _scan(sql: str) -> Sequence[parser.Token] | None:
    if len(sql) > SCANNED:
        return None
    try:
        tokens: Sequence[parser.Token] = parser.scan(sql)
    except (parser.ParseError, UnicodeError, ValueError):
        return None
    return tokens


def _places(sql: str, tokens: Sequence[parser.Token]) -> Iterator[_Place]:
    def text(at: int) -> str:
        return sql[tokens[at].start : tokens[at].end + 1] if at < len(tokens) else ""

    def adjacent(at: int) -> bool:
        return at < len(tokens) and tokens[at].start == tokens[at - 1].end + 1

    for at, token in enumerate(tokens):
        if token.name in ("SCONST", "USCONST", "SQL_COMMENT", "C_COMMENT", "IDENT"):
            continue
        own, end = text(at), token.end + 1
        listed = at > 0 and tokens[at - 1].name == "IN_P"
        glued = len(own) > 1
        if token.name == "PARAM":
            yield _Place(token.start, end, "$", own[1:], False, listed)
        elif own.endswith("%") and adjacent(at + 1) and text(at + 1) in _FORMATS:
            yield _Place(end - 1, tokens[at + 1].end + 1, "%", "", glued, listed)
        elif own.endswith("%") and adjacent(at + 1) and text(at + 1) == "(" and text(at + 3) == ")":
            if text(at + 4) in _FORMATS and adjacent(at + 4):
                yield _Place(end - 1, tokens[at + 4].end + 1, "%(", text(at + 2), glued, listed)
        elif own.endswith("?") and own not in _JSON_OPERATORS:
            yield _Place(end - 1, end, "?", "", glued, listed)
        elif own == ":" and adjacent(at + 1) and text(at + 1)[:1].isalnum() | (text(at + 1)[:1] == "_"):
            yield _Place(token.start, tokens[at + 1].end + 1, ":", text(at + 1), False, listed)
        elif own.endswith("@") and adjacent(at + 1) and text(at + 1).isidentifier():
            yield _Place(end - 1, tokens[at + 1].end + 1, "@", text(at + 1), glued, listed)


def _positional(places: Sequence[_Place]) -> str:
    styles = {place.style for place in places}
    for style in ("$", "%", "?"):
        if style in styles:
            return style
    return ":" if any(place.style == ":" and place.name.isdigit() for place in places) else ""


def _named(
    sql: str, tokens: Sequence[parser.Token], places: Sequence[_Place], given: dict[str, Any]
) -> Bound:
    chosen = [place for place in places if place.style in ("%(", ":", "@", "$") and place.name in given]
    if not chosen:
        return _in_order(sql, tokens, places, list(given.values()))
    percent = any(place.style == "%(" for place in chosen)
    return _replace(sql, tokens, [(place, given[place.name]) for place in chosen], percent)


def _in_order(sql: str, tokens: Sequence[parser.Token], places: Sequence[_Place], given: list[Any]) -> Bound:
    style = _positional(places)
    chosen = [place for place in places if place.style == style]
    if style == "$" or style == ":":
        numbers = [int(place.name) - 1 for place in chosen if place.name.isdigit()]
        chosen = [place for place in chosen if place.name.isdigit()]
    else:
        numbers = list(range(len(chosen)))
    values = [given[number] if 0 <= number < len(given) else UNSAID for number in numbers]
    return _replace(sql, tokens, list(zip(chosen, values, strict=True)), style == "%")


def _without_values(sql: str, tokens: Sequence[parser.Token], places: Sequence[_Place]) -> Bound:
    """As it is, if PostgreSQL would take it so; else with the first kind of placeholder that makes it SQL."""
    numbered = [place for place in places if place.style == "$"]
    as_it_is = _replace(sql, tokens, [(place, UNSAID) for place in numbered], False)
    others = [place for place in places if place.style != "$"]
    if not others or (not any(place.glued for place in others) and parses(sql)):
        return as_it_is
    for style in ("%(", "%", "?", ":", "@"):
        chosen = [place for place in others if place.style == style]
        if chosen:
            bound = _replace(sql, tokens, [(place, UNSAID) for place in chosen], False)
            if parses(bound[0]):
                return bound
    return as_it_is


def parses(sql: str) -> bool:
    try:
        parser.parse_sql_json(sql)
    except (parser.ParseError, UnicodeError, ValueError):
        return False
    return True


def _replace(
    sql: str, tokens: Sequence[parser.Token], chosen: list[tuple[_Place, Any]], percent: bool
) -> Bound:
    """``percent``: the driver takes ``%%`` for a percent sign, also within strings."""
    edits: list[tuple[int, int, str]] = []
    values: list[Any] = []
    for place, value in chosen:
        if place.listed and isinstance(value, list | tuple) and value:
            edits.append((place.start, place.end, _list_of(len(values), len(value))))
            values.extend(value)
        else:
            values.append(value)
            before = " " if place.glued else ""
            edits.append((place.start, place.end, f"{before}${len(values)}"))
    if percent:
        taken = {place.start for place, _ in chosen}
        edits += [
            (token.start, token.end + 1, sql[token.start : token.end + 1].replace("%%", "%"))
            for token in tokens
            if "%%" in sql[token.start : token.end + 1] and token.start not in taken
        ]
    pieces, at = [], 0
    for start, end, text in sorted(edits):
        pieces += [sql[at:start], text]
        at = end
    return "".join([*pieces, sql[at:]]), values


def _list_of(first: int, number: int) -> str:
    return "(" + ", ".join(f"${first + n + 1}" for n in range(number)) + ")"
