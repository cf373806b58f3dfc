"""``pgwitness blast``: how bad is it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgwitness.cli import filtering
from pgwitness.cli.options import Config, State, listed
from pgwitness.cli.output import Document, Format, FormatOption, console, detail, listing
from pgwitness.errors import InvalidError

if TYPE_CHECKING:
    from rich.console import Console

_HELP = """Show the blast radius of a session, a run, an identity or a span of time.

By table, how many rows were written by which command and committed, with the statements behind each number;
what was not committed; what was read; changes of schema and roles; and what these numbers cannot see.

The document of --format json is described in docs/blast-radius.md; csv has the writes alone.

Example: pgwitness blast 8f3e21ab

Example: pgwitness blast --run run-81 --since 2h
"""

_STYLES = {"title": "bold", "heading": "bold cyan", "entry": "", "behind": "dim", "note": "dim"}


def register(app: typer.Typer) -> None:
    app.command("blast", help=_HELP)(blast)


@filtering.filtered
def blast(
    filters: filtering.Given,
    target: Annotated[
        str | None,
        typer.Argument(metavar="SESSION", help="The session's id, or a unique head or tail of it."),
    ] = None,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    if target is not None:
        filters = {**filters, "session": _session(target, filters["session"])}
    with listed(state, config) as api:
        document = api.get("/blast", **filters)
        if format is Format.table:
            show(document, console())
        elif format is Format.csv:
            listing(_written(document), (), format)
        else:
            detail(document, (), format)


def show(document: Document, out: Console) -> None:
    from rich.text import Text

    from pgwitness.review.blast.telling import tell

    for kind, line in tell(dict(document)):
        if kind == "heading":
            out.print()
        out.print(Text(line, _STYLES[kind]), soft_wrap=True)


def _written(document: Document) -> list[dict[str, Any]]:
    committed = [{**entry, "outcome": "committed"} for entry in document["writes"]]
    return [*committed, *document["not_committed"]]


def _session(argument: str, option: str | None) -> str:
    if option is not None and option != argument:
        raise InvalidError("two sessions are named", hint="give the session once, as SESSION or as --session")
    return argument
