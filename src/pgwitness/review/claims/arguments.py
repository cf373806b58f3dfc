"""SQL in the arguments of a tool call, with the parameters that stand beside it: under a name for SQL at any
depth, also in JSON within a string, and in ``psql -c`` of a shell command.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

SURE: Final[tuple[str, ...]] = (
    "sql",
    "query",
    "statement",
    "sql_query",
    "sqlQuery",
    "sql_statement",
    "sql_text",
    "raw_sql",
    "db.query.text",
    "db.statement",
    "statements",
    "queries",
    "sqls",
    "sql_statements",
)
"""Names under which SQL stands: what is there is SQL if it looks so, or if the tool's name says SQL."""
PARAMETERS: Final = (
    "params",
    "parameters",
    "bindings",
    "binds",
    "bind",
    "args",
    "arguments",
    "values",
    "query_params",
    "vars",
)
_ALWAYS_SQL: Final = {
    "sql",
    "sql_query",
    "sqlQuery",
    "sql_statement",
    "raw_sql",
    "sqls",
    "sql_statements",
    "sql_text",
}
_WORDS: Final = frozenset(
    word
    for line in (
        "abort alter analyze analyse begin call checkpoint close cluster comment commit copy create",
        "deallocate declare delete discard do drop end execute explain fetch grant import insert listen",
        "load lock merge move notify prepare reassign refresh reindex release reset revoke rollback",
        "savepoint security select set show start table truncate unlisten update vacuum values with",
    )
    for word in line.split()
)
_HEAD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\(|```\w*\n|;)*(?:(\\)|([A-Za-z]+))", re.DOTALL)
_DATABASE_TOOL = re.compile(r"sql|postgres|psql|database|\bdb\b|_db|db_|query", re.IGNORECASE)
_DEPTH: Final = 12

Found = tuple[str, Any]
"""SQL, and its parameters or None."""


def looks_like_sql(text: str) -> bool:
    """It begins with a word that begins a statement of PostgreSQL, and goes on, or with a command of psql."""
    found = _HEAD.match(text[:4096])
    if found is None:
        return False
    if found[1]:
        return True
    word = found[2].lower()
    if word not in _WORDS:
        return False
    # One word alone may be anything but these.
    return len(text.split(None, 1)) > 1 or word.rstrip(";") in ("begin", "commit", "rollback", "abort", "end")


def find_sql(arguments: Any, tool: str = "") -> list[Found]:
    """What SQL a call of the tool was given, in order."""
    return list(_find(arguments, bool(_DATABASE_TOOL.search(tool)), 0))


def _find(arguments: Any, database: bool, depth: int) -> Iterator[Found]:
    if depth > _DEPTH:
        return
    if isinstance(arguments, str):
        yield from _of_text(arguments, database, depth)
    elif isinstance(arguments, list):
        for each in arguments:
            yield from _find(each, database, depth + 1)
    elif isinstance(arguments, dict):
        yield from _of_record(arguments, database, depth)


def _of_text(text: str, database: bool, depth: int) -> Iterator[Found]:
    inner = from_json(text)
    if inner is not None:
        yield from _find(inner, database, depth + 1)
    elif looks_like_sql(text):
        yield text, None
    else:
        for command in shell_sql(text):
            yield command, None


def _of_record(arguments: dict[str, Any], database: bool, depth: int) -> Iterator[Found]:
    given = parameters_of(arguments)
    named = [name for name in SURE if name in arguments]
    for name in named:
        sure = database or name in _ALWAYS_SQL
        yield from _under(arguments[name], given, sure, depth)
    for name, value in arguments.items():
        if name in named or (named and name in PARAMETERS):
            continue
        if isinstance(value, dict | list) or (isinstance(value, str) and not named):
            yield from _find(value, database, depth + 1)


def _under(value: Any, given: Any, sure: bool, depth: int) -> Iterator[Found]:
    """What stands under a name for SQL."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        for each in value:
            yield from _under(each, None, sure, depth)
    elif isinstance(value, str):
        inner = from_json(value)
        if inner is not None:
            yield from _find(inner, sure, depth + 1)
        elif value.strip() and (sure or looks_like_sql(value)):
            yield value, given
    elif isinstance(value, dict | list):
        yield from _find(value, sure, depth + 1)


def parameters_of(record: Mapping[str, Any]) -> Any:
    """What stands beside SQL as its parameters: a list or a dictionary, None if nothing does."""
    for name in PARAMETERS:
        value = record.get(name)
        if isinstance(value, str):
            value = from_json(value)
        if isinstance(value, list) and value and all(_of_ours(each) for each in value):
            return [each["value"] for each in value]
        if isinstance(value, list | dict):
            return value
    return None


def _of_ours(value: Any) -> bool:
    """A parameter as our own documents of statements have it."""
    return (
        isinstance(value, dict)
        and "value" in value
        and value.keys() <= {"type", "value", "format", "encoding"}
    )


def from_json(text: str) -> Any:
    """An object or an array that the text is; None if it is neither."""
    stripped = text.strip()
    if stripped[:1] not in ("{", "["):
        return None
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return None


def shell_sql(command: str) -> list[str]:
    """What ``psql -c`` in a shell command runs."""
    if "psql" not in command or len(command) > 1 << 16:
        return []
    try:
        words = shlex.split(command, comments=False)
    except ValueError:
        return []
    found, inside = [], False
    for at, word in enumerate(words):
        if word.rpartition("/")[2] == "psql":
            inside = True
        elif word in ("|", "&&", "||", ";"):
            inside = False
        elif inside and word in ("-c", "--command") and at + 1 < len(words):
            found.append(words[at + 1])
        elif inside and word.startswith("--command="):
            found.append(word.partition("=")[2])
        elif inside and re.fullmatch(r"-[A-Za-z]*c", word) and at + 1 < len(words):
            found.append(words[at + 1])
    return found
