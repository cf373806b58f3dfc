"""``pgwitness audit``: who decided what, and who read what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Format, FormatOption, listing, moment

if TYPE_CHECKING:
    from pgwitness.api.client import Client

_PAGE = 1000


def register(parent: typer.Typer) -> None:
    parent.command("audit")(audit)


def audit(
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    action: Annotated[
        str | None,
        typer.Option("--action", metavar="TEXT", help="What begins so: read, connection, session.kill."),
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="TEXT", help="To what: a name, a session's full id.")
    ] = None,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """List what administrators did, and who read sessions' contents, the newest first.

    The same is on the tape, and so in the sealed record.

    Example: pgwitness audit --action read --limit 20
    """
    with client(state, config) as api:
        listing(
            islice(_entries(api, min(limit, _PAGE), action=action, subject=subject), limit),
            _COLUMNS,
            format,
            empty="Nothing was done yet.",
        )


def _entries(api: Client, page: int, **which: str | None) -> Iterator[dict[str, Any]]:
    before = None
    while entries := api.get("/audit", limit=page, before=before, **which):
        yield from entries
        before = entries[-1]["id"]


_COLUMNS = (
    Column("AT", lambda each: moment(each["at"])),
    Column("WHO", "actor", least=12),
    Column("WHAT", "action", style="bold"),
    Column("TO", "subject", least=16),
    Column(
        "HOW",
        lambda each: json.dumps(each["details"], ensure_ascii=False) if each["details"] else "",
        wrap=True,
    ),
)
