"""Filters in addresses and forms: each page that filters can be linked to, and every filter of the index is
there without being named here.

An empty field of a form asks for nothing; in the API it is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from fastapi import Request

from pgwitness.api.access import Reader
from pgwitness.api.services import Services
from pgwitness.index.filters import FILTERS, OUTCOMES, STATUSES, Filter, Filters, parse

_CHOICES: Final = {"status": STATUSES, "outcome": OUTCOMES}
_LABELS: Final = {"match": "Text", "min_rows": "Rows, at least", "sqlstate": "SQLSTATE"}
_EXAMPLES: Final = {"until": "15m"}
_FIRST: Final = ("identity", "connection", "since", "until", "match")
"""Always in sight; the others unfold."""


@dataclass(frozen=True, slots=True)
class Field:
    """One filter, as a form shows it."""

    name: str
    label: str
    help: str
    example: str
    value: str
    choices: tuple[str, ...]
    known: tuple[str, ...]
    """Values to pick from; others may be typed."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is asked for, and the address without it."""

    label: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Form:
    """``path`` is where it leads."""

    path: str
    given: dict[str, str]
    first: list[Field]
    more: list[Field]

    @property
    def unfolded(self) -> bool:
        return any(field.value for field in self.more)

    @property
    def chips(self) -> list[Chip]:
        return [
            Chip(_label(name), value, address(self.path, self.given, **{name: None}))
            for name, value in self.given.items()
        ]


def given(request: Request) -> dict[str, str]:
    """What the address asks for."""
    query = request.query_params
    return {each.name: query[each.name].strip() for each in FILTERS if query.get(each.name, "").strip()}


def filters(request: Request) -> Filters:
    """Raises InvalidError."""
    return parse(given(request))


def form(request: Request, reader: Reader, *, leave_out: Iterable[str] = ()) -> Form:
    """For this page, with what its address asks for."""
    asked = given(request)
    known = _known(request.app.state.services, reader)
    fields = [_field(each, asked, known) for each in FILTERS if each.name not in set(leave_out)]
    return Form(
        request.url.path,
        asked,
        sorted(
            (field for field in fields if field.name in _FIRST), key=lambda field: _FIRST.index(field.name)
        ),
        [field for field in fields if field.name not in _FIRST],
    )


def address(path: str, asked: Mapping[str, str], **change: str | None) -> str:
    """``path`` with these filters, some of them changed or, by None, left out."""
    left = {name: value for name, value in {**asked, **change}.items() if value is not None}
    return f"{path}?{urlencode(left)}" if left else path


def _field(each: Filter, asked: Mapping[str, str], known: Mapping[str, tuple[str, ...]]) -> Field:
    choices = tuple(getattr(each, "choices", None) or _CHOICES.get(each.name, ()))
    return Field(
        each.name,
        _label(each.name),
        each.help,
        _EXAMPLES.get(each.name, each.example),
        asked.get(each.name, ""),
        choices,
        known.get(each.name, ()),
    )


def _label(name: str) -> str:
    return _LABELS.get(name) or name.replace("_", " ").capitalize()


def _known(services: Services, reader: Reader) -> dict[str, tuple[str, ...]]:
    """Names that this reader may list."""
    if not reader.may("auditor"):
        return {}
    connections = [each.name for each in services.catalog.connections.list() if reader.reaches(each.name)]
    identities = [each.name for each in services.catalog.identities.list()] if reader.sees_all else []
    return {"connection": tuple(connections), "identity": tuple(identities)}
