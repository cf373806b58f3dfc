"""``pgwitness events``: what the recorder itself put on record."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from pgwitness.cli.filtering import Since, Until
from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Format, FormatOption, listing, moment

_SHOWN_APART = {"at", "event", "identity", "address", "reason"}


def register(parent: typer.Typer) -> None:
    parent.command("events")(events)


def events(
    event: Annotated[
        str | None,
        typer.Option("--event", metavar="NAME", help="Of this name: login_refused, started, recovered …"),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """List what the recorder said outside of sessions, the newest first: refused log-ins and why, starts and
    stops, what a crash cost, connectors coming and going.

    Example: pgwitness events --event login_refused --since 2h
    """
    with client(state, config) as api:
        found = api.items("/events", limit=limit, event=event, since=since, until=until)
        listing(found, _COLUMNS, format, empty="Nothing of that kind happened.")


def _details(event: dict[str, Any]) -> str:
    rest = {name: value for name, value in event.items() if name not in _SHOWN_APART and value is not None}
    return json.dumps(rest, ensure_ascii=False) if rest else ""


_COLUMNS = (
    Column("AT", lambda each: moment(each["at"])),
    Column("WHAT", "event", style="bold"),
    Column("WHO", lambda each: each.get("identity") or ""),
    Column("FROM", lambda each: each.get("address") or ""),
    Column("WHY", lambda each: each.get("reason") or ""),
    Column("MORE", _details, wrap=True),
)
