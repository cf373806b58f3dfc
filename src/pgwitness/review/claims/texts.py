"""The texts of a testimony taken apart into claims, one statement each.

A text may hold several statements, which PostgreSQL's parser splits; commands of psql among them;
placeholders of a driver with their values beside them, also those of many rows at once; a fence of Markdown
around it. Passwords in role statements are taken out here, as they are in what the record shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pgwitness.errors import InvalidError
from pgwitness.index.rows import LARGEST
from pgwitness.review.claims import placeholders
from pgwitness.review.claims.model import Claim, Problem, Result, Said, Testimony
from pgwitness.statements.redact import redact
from pgwitness.statements.sql import split

MAX_CLAIMS: Final = 100_000

_FENCE = re.compile(r"\s*```[a-zA-Z]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_META = re.compile(r"(?m)^[ \t]*\\([A-Za-z!?]+)([^\n]*)$")
_SEND = re.compile(r"\\(?:gx|gset|gexec|gdesc|crosstabview|g)\b[^\n]*|\\;")
_COPY_FILE = re.compile(
    r"\b(from|to)\s+(?:program\s+)?('(?:[^']|'')*'|[^\s'(;]+)(?=\s*(?:$|\(|with\b|;|where\b|csv\b|delimiter\b))",
    re.IGNORECASE,
)


def claims_of(testimony: Testimony) -> tuple[list[Claim], list[Problem]]:
    """All claims, numbered from 1, and what in the texts is no SQL that PostgreSQL would get. Raises
    InvalidError for more than ``MAX_CLAIMS``."""
    claims: list[Claim] = []
    beside: list[Problem] = []
    for text, said in enumerate(testimony.said):
        parts = list(_statements(said, beside))
        for at, (sql, values, alone) in enumerate(parts):
            if len(claims) >= MAX_CLAIMS:
                raise InvalidError(f"the testimony holds more than {MAX_CLAIMS:,} statements")
            result = _result(said.result, at, len(parts), alone)
            if result.rows is not None:
                result.rows = min(result.rows, LARGEST)
            claims.append(Claim(len(claims) + 1, said.place, sql, values, result, said.outcome, text))
    return claims, beside


def _statements(said: Said, beside: list[Problem]) -> Iterator[tuple[str, list[Any], bool]]:
    """SQL with ``$n``, its values, and whether the text holds nothing else."""
    sql = redact(_plain(said, beside))
    if not sql.strip("; \t\r\n"):
        return
    for given in _rows(sql, said.parameters):
        bound, values = placeholders.bind(sql, given)
        parts = split(bound)
        for part in parts:
            yield part.strip(), values, len(parts) == 1


def _rows(sql: str, parameters: Any) -> list[Any]:
    """The parameters of each execution: of one, or of as many as ``executemany`` was given."""
    if not isinstance(parameters, list) or not parameters:
        return [parameters]
    if all(isinstance(each, dict) for each in parameters):
        return parameters if placeholders.count(sql) != len(parameters) else [parameters]
    if all(isinstance(each, list) for each in parameters):
        wanted = placeholders.count(sql)
        if wanted and wanted != len(parameters) and all(len(each) == wanted for each in parameters):
            return parameters
    return [parameters]


def _result(result: Result, at: int, of: int, alone: bool) -> Result:
    """Of several statements in one text, the last is what a result tells of; of an error nobody knows."""
    if of == 1 or (at == of - 1 and not alone and result.status == "error"):
        return result
    if not alone or result.status == "error":
        return Result()
    return Result(status=result.status)  # of executemany: its rows are those of all together


def _plain(said: Said, beside: list[Problem]) -> str:
    """Without what only psql reads."""
    sql = said.sql
    fenced = _FENCE.match(sql)
    if fenced:
        sql = fenced[1]
    if "\\" not in sql:
        return sql

    def meta(found: re.Match[str]) -> str:
        if not _outside(sql[: found.start()]):
            return found[0]
        command, rest = found[1], found[2].strip()
        if command == "copy":
            return _COPY_FILE.sub(_stream, f"COPY {rest.rstrip(';')}", count=1) + ";"
        beside.append(Problem(said.place, f"a command of psql, not SQL: \\{command} {rest}".rstrip()[:200]))
        return ""

    sql = _META.sub(meta, sql)
    return _SEND.sub(lambda found: ";" if _outside(sql[: found.start()]) else found[0], sql)


def _stream(found: re.Match[str]) -> str:
    return f"{found[1]} {'STDIN' if found[1].lower() == 'from' else 'STDOUT'}"


def _outside(before: str) -> bool:
    """Whether what follows this text is in no string, quoted name or comment."""
    return placeholders.scans(before)
