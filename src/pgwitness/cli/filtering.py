"""The options that every listing of sessions and statements takes, made of the table of filters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from pgwitness.cli.options import with_parameters
from pgwitness.index.filters import FILTERS, Filter

if TYPE_CHECKING:
    from pgwitness.api.client import Client

Given = dict[str, str | None]
"""Filters as they were typed, by name: the API parses them."""

_WHICH = "Which"
_BY_NAME = {each.name: each for each in FILTERS}


def _option(filter: Filter) -> Any:
    return typer.Option(
        f"--{filter.option}", help=filter.help, metavar=filter.metavar, rich_help_panel=_WHICH
    )


Since = Annotated[str | None, _option(_BY_NAME["since"])]
Until = Annotated[str | None, _option(_BY_NAME["until"])]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", help="At most so many, the newest ones.", min=1, metavar="N", rich_help_panel=_WHICH
    ),
]


def nothing(what: str, api: Client, filters: Given) -> str:
    """That nothing was found; also of what is not on record at all, as most likely it was mistyped."""
    for name in ("identity", "run", "connection"):
        value = filters[name]
        if value is not None and not api.get("/sessions", limit=1, **{name: value})["items"]:
            return f"No such {what}: no session of {name} {value!a} is on record."
    return f"No such {what}."


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter, ``filters``, stands for one option a filter."""

    def run(**given: Any) -> None:
        command({each.name: given.pop(each.name) for each in FILTERS}, **given)

    hints = get_type_hints(command, include_extras=True)
    _, *others = inspect.signature(command).parameters.values()
    options = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, _option(each)],
        )
        for each in FILTERS
    ]
    rest = [each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY) for each in others]
    return with_parameters(run, command, [*options, *rest])
