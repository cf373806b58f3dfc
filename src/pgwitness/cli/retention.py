"""``pgwitness retention``: how long sessions are kept."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pgwitness.api.client import path
from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Format, FormatOption, listing, moment, note

app = typer.Typer(help="Say how long sessions are kept, and erase those that are due.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="retention")


@app.command("list")
def list_(format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """List how long sessions are kept, by connection.

    Example: pgwitness retention list
    """
    with client(state, config) as api:
        listing(api.get("/retention"), _RULES, format)


@app.command("set")
def set_(
    connection: Annotated[str, typer.Argument(metavar="CONNECTION", help="Its name.")],
    keep: Annotated[
        str, typer.Argument(metavar="TIME", help="90d, 12h …; forever; default: as the setting says.")
    ],
    state: State = None,
    config: Config = None,
) -> None:
    """Say how long the sessions of a connection are kept after their end.

    Older ones are erased by the gateway, unless they are held.

    Example: pgwitness retention set orders 400d
    """
    with client(state, config) as api:
        api.put(path("retention", connection), {"keep": keep})
    note(f"sessions of {connection} are kept: {keep}")


@app.command("run")
def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what is due.")] = False,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Erase now what is due, without waiting for the gateway's next look.

    Example: pgwitness retention run --dry-run
    """
    with client(state, config) as api:
        if dry_run:
            listing(api.get("/retention/due"), _DUE, format, empty="Nothing is due.")
            return
        erased: list[dict[str, Any]] = [{"session": id} for id in api.post("/retention/run")["erased"]]
    listing(erased, (Column("erased", "session"),), format, empty="Nothing was due.")


_RULES = (
    Column("connection", lambda each: each["connection"] or "(all others)"),
    Column("kept after the end", "keep"),
)
_DUE = (
    Column("session", "session", style="bold"),
    Column("identity", "identity"),
    Column("connection", "connection"),
    Column("ended (UTC)", lambda each: moment(each["ended_at"])),
    Column("why", "reason"),
)
