"""``pgwitness identity``: who sessions belong to, and which connections each may use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pgwitness.cli.options import Config, State, client, parse_list
from pgwitness.cli.output import Column, Format, FormatOption, detail, listing, moment, names, note

app = typer.Typer(help="Who sessions belong to, and what they may use.", no_args_is_help=True)


class Kind(StrEnum):
    service = "service"
    human = "human"


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the identity: what clients give as the user.")
]
Connections = Annotated[
    str,
    typer.Option("--connections", metavar="A,B|any", help="Connections by name; any: all, also later ones."),
]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="identity")


@app.command("add")
def add(
    name: Name,
    kind: Annotated[Kind, typer.Option("--kind", help="A program, or a person.")] = Kind.service,
    connections: Connections = "",
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Add an identity, and let it use connections.

    Example: pgwitness identity add billing-agent --connections orders,crm
    """
    body = {"name": name, "kind": kind.value, "connections": parse_list(connections)}
    with client(state, config, new=True) as api:
        added = api.post("/identities", body)
    detail(added, _COLUMNS, format)
    if format is Format.table:
        granted = "" if connections else f"      pgwitness identity grant {name} --connections A,B\n"
        note(f"\nNext: pgwitness token issue {name}\n{granted}".rstrip())


@app.command("list")
def list_all(format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """List identities and what they may use.

    Example: pgwitness identity list --format json
    """
    with client(state, config) as api:
        listing(
            api.get("/identities"),
            _COLUMNS,
            format,
            empty="There is no identity. Add one with: pgwitness identity add NAME --connections A,B",
        )


@app.command("show")
def show(name: Name, format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """Show one identity.

    Example: pgwitness identity show billing-agent
    """
    with client(state, config) as api:
        detail(api.get(_path(name)), _COLUMNS, format)


@app.command("disable")
def disable(
    name: Name, format: FormatOption = Format.table, state: State = None, config: Config = None
) -> None:
    """Let it log in no more, and end its sessions within a second.

    Example: pgwitness identity disable billing-agent
    """
    with client(state, config) as api:
        detail(api.post(f"{_path(name)}/disable"), _COLUMNS, format)


@app.command("enable")
def enable(
    name: Name, format: FormatOption = Format.table, state: State = None, config: Config = None
) -> None:
    """Let a disabled identity log in again.

    Example: pgwitness identity enable billing-agent
    """
    with client(state, config) as api:
        detail(api.post(f"{_path(name)}/enable"), _COLUMNS, format)


@app.command("grant")
def grant(
    name: Name,
    connections: Connections,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Let it use further connections.

    Example: pgwitness identity grant billing-agent --connections crm
    """
    with client(state, config) as api:
        changed = api.post(f"{_path(name)}/grant", {"connections": parse_list(connections)})
    detail(changed, _COLUMNS, format)


@app.command("revoke")
def revoke(
    name: Name,
    connections: Connections,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Let it use connections no more, and end its sessions there within a second.

    Example: pgwitness identity revoke billing-agent --connections crm
    """
    with client(state, config) as api:
        changed = api.post(f"{_path(name)}/revoke", {"connections": parse_list(connections)})
    detail(changed, _COLUMNS, format)


def _path(name: str) -> str:
    from pgwitness.api.client import path

    return path("identities", name)


_COLUMNS = (
    Column("NAME", "name", style="bold"),
    Column("KIND", "kind"),
    Column("STATE", lambda each: "disabled" if each["disabled"] else "enabled"),
    Column("CONNECTIONS", lambda each: names(each["connections"]) or "none", wrap=True),
    Column("CREATED", lambda each: moment(each["created_at"]), spare=1),
)
