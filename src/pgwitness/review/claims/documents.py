"""A file as JSON values with their places: one document, JSON Lines, or documents one after another.

A line of JSON Lines that is none is a problem with its number; nothing is passed over in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from pgwitness.errors import InvalidError
from pgwitness.review.claims.model import Problem

MAX_PROBLEMS: Final = 1000
"""That many are listed. A file with more is no testimony."""
_DEEP = "nested too deeply to be read"
_HALF = "\\ud"
"""How an escape of half a character begins; one without its other half is no text."""


class Document(Struct):
    line: int
    """Where it begins."""
    value: Any


class Documents(Struct):
    items: list[Document]
    problems: list[Problem]
    lines: bool
    """One document a line, and not one for all."""


def read_documents(text: str) -> Documents | None:
    """None if it does not look like JSON at all. Raises InvalidError for JSON that breaks off or is none."""
    found = _read(text)
    if found is not None and _HALF in text.lower():
        for document in found.items:
            document.value = _whole(document.value)
    return found


def _read(text: str) -> Documents | None:
    head = text.lstrip("\ufeff \t\r\n")
    if not head or head[0] not in "{[":
        return None
    try:
        return Documents([Document(1, json.loads(text.lstrip("\ufeff")))], [], False)
    except RecursionError:
        raise InvalidError(f"the testimony is {_DEEP}") from None
    except ValueError as error:
        whole = error
    found = _by_lines(text) or _in_sequence(text)
    if found is None:
        raise InvalidError(f"the testimony is no JSON: {whole}")
    return found


def _by_lines(text: str) -> Documents | None:
    """JSON Lines: None if its first line is no document."""
    items: list[Document] = []
    problems: list[Problem] = []
    for number, line in _lines(text):
        try:
            items.append(Document(number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            if not items:
                return None
            _add(problems, number, error)
    return Documents(items, problems, True) if items else None


def _in_sequence(text: str) -> Documents | None:
    """Documents of several lines one after another, as exporters to a console write them. After one that
    cannot be read it goes on at the next line that begins with a brace."""
    decoder = json.JSONDecoder()
    items: list[Document] = []
    problems: list[Problem] = []
    at = text.find("{")
    counted, line = 0, 1
    while 0 <= at < len(text):
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, at = decoder.raw_decode(text, at)
            items.append(Document(line, value))
        except (ValueError, RecursionError) as error:
            if not items:
                return None
            _add(problems, line, error)
            at = text.find("\n{", at) + 1 or len(text)
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
    return Documents(items, problems, True)


def _whole(value: Any) -> Any:
    """The value with a question mark for each half of a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_whole(each) for each in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(each) for name, each in value.items()}
    return value


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip("\ufeff \t\r")
        if stripped:
            yield number, stripped


def _add(problems: list[Problem], line: int, error: Exception) -> None:
    if len(problems) >= MAX_PROBLEMS:
        raise InvalidError(f"more than {MAX_PROBLEMS} lines of the testimony are no JSON")
    why = _DEEP if isinstance(error, RecursionError) else f"no JSON: {error}"
    problems.append(Problem(f"line {line}", why))
