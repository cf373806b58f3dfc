"""``pgwitness connector``: the processes beside PostgreSQL, invited, listed and removed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pgwitness.cli.connector_process import connector
from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Format, FormatOption, detail, listing, moment, names, note

app = typer.Typer()
app.callback(invoke_without_command=True)(connector)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the connector.")]
Ttl = Annotated[
    str, typer.Option("--ttl", metavar="TIME", help="How long the join token is good: 15m, 1h, 1d.")
]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="connector")


@app.command("add")
def add(
    name: Name,
    ttl: Ttl = "1h",
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Invite a connector, and print its join token: good for one use, and shown this once. Remarks go to
    standard error.

    Example: TOKEN=$(pgwitness connector add east)
    """
    with client(state, config, new=True) as api:
        _show(api.post("/connectors", {"name": name, "ttl": ttl}), format)


@app.command("rejoin")
def rejoin(
    name: Name,
    ttl: Ttl = "1h",
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke its certificates now: who has them is out in a second.")
    ] = False,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Print another join token: for a connector that did not join in time, or that lost its state. When it is
    used, and with --revoke at once, the certificates that the connector had before are revoked.

    Example: pgwitness connector rejoin east
    """
    with client(state, config) as api:
        _show(api.post(_path(name, "rejoin"), {"ttl": ttl, "revoke": revoke}), format)


@app.command("list")
def list_all(format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """List connectors: which are online, since when, with how many sessions.

    Example: pgwitness connector list --format jsonl
    """
    with client(state, config) as api:
        listing(
            api.get("/connectors"),
            _COLUMNS,
            format,
            empty="There is no connector. Invite one with: pgwitness connector add NAME",
        )


@app.command("show")
def show(name: Name, format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """Show one connector, with the hosts that it would dial.

    Example: pgwitness connector show east
    """
    with client(state, config) as api:
        detail(api.get(_path(name)), _DETAIL, format)


@app.command("remove")
def remove(name: Name, state: State = None, config: Config = None) -> None:
    """Lock a connector out: its certificates are revoked and its sessions end within a second.

    Example: pgwitness connector remove east
    """
    with client(state, config) as api:
        users = api.get(_path(name))["connections"]
        api.request("DELETE", _path(name))
    note(f"Connector {name} is removed.")
    for connection in users:
        note(
            f"Connection {connection} still names it. Change that with: "
            f"pgwitness connection update {connection} --connector NAME"
        )


def _path(*parts: str) -> str:
    from pgwitness.api.client import path

    return path("connectors", *parts)


def _show(issued: dict[str, Any], format: Format) -> None:
    if format is not Format.table:
        detail(issued, _TOKEN, format)
        return
    typer.echo(issued["token"])
    note(
        f"It is good for one use until {moment(issued['expires_at'])}, and is not shown again.\n"
        "Beside PostgreSQL: pgwitness connector --gateway GATEWAY:7433 --join TOKEN --allow HOST"
    )


def _online(connector: dict[str, Any], field: str) -> str:
    return names(connector[field]) if connector["state"] in ("online", "draining") else ""


_TOKEN = (
    Column("CONNECTOR", "connector"),
    Column("TOKEN", "token"),
    Column("EXPIRES", lambda each: moment(each["expires_at"])),
)
_COLUMNS = (
    Column("NAME", "name", style="bold"),
    Column("STATE", "state"),
    Column("SINCE", lambda each: moment(each["since"])),
    Column("VERSION", "software"),
    Column("SESSIONS", "sessions", right=True),
    Column("CERTIFICATE ENDS", lambda each: moment(each["certificate_ends"])),
    Column("CONNECTIONS", lambda each: names(each["connections"]), wrap=True),
)
_DETAIL = (
    *_COLUMNS,
    Column("ADDRESS", lambda each: _online(each, "address")),
    Column("WOULD DIAL", lambda each: _online(each, "allow")),
    Column("CREATED", lambda each: moment(each["created_at"])),
)
