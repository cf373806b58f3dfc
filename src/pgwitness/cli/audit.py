"""``pgwitness audit``: who decided what, and who read what."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Format, FormatOption, listing, moment


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
            api.items("/audit", limit=limit, action=action, subject=subject),
            _COLUMNS,
            format,
            empty="Nothing was done yet.",
        )


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
