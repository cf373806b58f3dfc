"""A long text without its comments and with its constants shortened, so that the parser can be asked what it
names.

PostgreSQL's own scanner and normaliser take up to eight kilobytes of memory for each token, so a message
of some megabytes could take all there is. This one pass takes time and memory in proportion to the text. It
keeps names, keywords and operators as they are; lists of constants, and rows of nothing else, become one.
"""

import re
from collections.abc import Iterator

# Repetitions of groups are bounded, as each takes memory; what is left over is short.
_NUMBER = r"(?:\d[\w.]*+|\.\d[\w.]*+|\$\d++)"
_STRING = r"(?:[eE]'(?:[^'\\]++|\\.|'')*+(?:'|\\?\Z)|(?:[bBxXnN]|[uU]&)?'[^']*+(?:'|\Z))"
_MORE = rf"(?:\s*+,\s*+(?:-?{_NUMBER}|(?:{_STRING}){{1,999}}+|(?i:null|default|true|false)\b)){{0,999}}+"
_CODE = (
    r"""(?:"[^"]*+(?:"|\Z)|(?!(?:[eEbBxXnN]|[uU]&)')[^\W\d][\w$]*+|[^\w"'$/.-]++|[-/.](?![-*\d])){1,999}+"""
)
_TOKEN = re.compile(
    rf"(?P<code>{_CODE})|(?P<string>(?:{_STRING}){{1,999}}+{_MORE})|(?P<number>{_NUMBER}{_MORE})"
    r"|(?P<line>--[^\n\r]*+)|(?P<block>/\*)|(?P<dollar>\$(?:[^\W\d]\w*+)?\$)|.",
    re.DOTALL,
)
_ENDS = re.compile(r"/\*|\*/")
_ROWS = re.compile(r"(\((?:0|'')\))(?:\s*+,\s*+\((?:0|'')\)){1,999}+")


def condense(sql: str) -> str:
    return _ROWS.sub(r"\1", "".join(_pieces(sql)))


def _pieces(sql: str) -> Iterator[str]:
    at = 0
    while token := _TOKEN.match(sql, at):
        at = token.end()
        kind = token.lastgroup
        if kind == "string":
            yield "''"
        elif kind == "number":
            yield "0"
        elif kind == "line":
            yield " "
        elif kind == "block":
            yield " "
            at = _behind_comment(sql, at)
        elif kind == "dollar":
            yield "''"
            end = sql.find(token[0], at)
            at = end + len(token[0]) if end >= 0 else len(sql)
        else:
            yield token[0]


def _behind_comment(sql: str, at: int) -> int:
    """Where the comment that was opened before ``at`` ends; comments nest."""
    depth = 1
    while depth:
        mark = _ENDS.search(sql, at)
        if mark is None:
            return len(sql)
        depth += 1 if mark[0] == "/*" else -1
        at = mark.end()
    return at
