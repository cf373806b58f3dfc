"""SQL in colours: spans with classes, so that no style stands in the page.

Pygments only colours. What the statement means was found by PostgreSQL's own parser, and the text is shown as
it was recorded but for characters that would hide or turn its direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final

from markupsafe import Markup, escape
from pygments.lexers.sql import PostgresLexer
from pygments.token import Comment, Keyword, Literal, Name, Number, String, _TokenType

from pgwitness.review.text import visible
from pgwitness.review.values import numbered_pieces
from pgwitness.statements.model import Statement

LONGEST: Final = 50_000
"""Of a longer text the rest has no colours: a page must not take seconds to be made."""

_CLASSES: Final = (
    (Comment, "c"),
    (Keyword, "k"),
    (Name.Builtin, "k"),
    (Number, "n"),
    (String, "s"),
    (Literal, "s"),
    (Name.Variable, "p"),
)

_BREAK: Final = re.compile(r"\s*\n\s*")

_lexer = PostgresLexer(stripnl=False, ensurenl=False)


def highlight(sql: str, *, one_line: bool = False) -> Markup:
    """The text in colours."""
    return highlight_pieces([(sql, 0)], one_line=one_line)


def highlight_bound(statement: Statement, *, one_line: bool = False) -> Markup:
    """The statement with its bound values in place, marked as such."""
    return highlight_pieces(numbered_pieces(statement.sql, statement.parameters), one_line=one_line)


def highlight_pieces(parts: Iterable[tuple[str, int]], *, one_line: bool = False) -> Markup:
    """Pieces of a text, each with the number of the value bound there, 0 for none
    (``review.values.numbered_pieces``).

    ``one_line``: ends of lines are blanks, and marked where the text may hold a comment that ends with its
    line.
    """
    given = list(parts)
    text = "".join(part for part, _ in given)
    mark = None if not one_line else " ⏎ " if "--" in text else " "
    shown = []
    for (part, bound), tokens in zip(given, _split(_coloured(text), given), strict=True):
        if bound:
            shown.append(Markup('<mark class="bound" title="${}">{}</mark>').format(bound, _text(part, mark)))
        else:
            shown += [_span(name, _text(token, mark)) for name, token in tokens]
    return Markup("").join(shown)


def _coloured(text: str) -> Iterator[tuple[str, str]]:
    for _, kind, token in _lexer.get_tokens_unprocessed(text[:LONGEST]):
        yield _class(kind), token
    if len(text) > LONGEST:
        yield "", text[LONGEST:]


def _class(kind: _TokenType) -> str:
    return next((name for known, name in _CLASSES if kind in known), "")


def _split(tokens: Iterable[tuple[str, str]], parts: list[tuple[str, int]]) -> list[list[tuple[str, str]]]:
    """Tokens of the whole text, cut to its pieces."""
    found: list[list[tuple[str, str]]] = [[] for _ in parts]
    ends = list(accumulate(len(part) for part, _ in parts))
    at = piece = 0
    for name, token in tokens:
        while token:
            while ends[piece] <= at:
                piece += 1
            cut = min(len(token), ends[piece] - at)
            found[piece].append((name, token[:cut]))
            token, at = token[cut:], at + cut
    return found


def _text(text: str, mark: str | None) -> str:
    return visible(text if mark is None else _BREAK.sub(mark, text))


def _span(name: str, text: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(name, text) if name else escape(text)


FILTERS: Final[dict[str, Any]] = {"sql": highlight, "sql_bound": highlight_bound}
