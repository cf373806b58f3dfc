"""``pgwitness token``: what identities log in with."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from pgwitness.cli.options import Config, State, client, parse_list
from pgwitness.cli.output import Column, Format, FormatOption, detail, listing, moment, names, note

app = typer.Typer(help="What identities log in with.", no_args_is_help=True)


class Role(StrEnum):
    client = "client"
    own = "own"
    auditor = "auditor"
    operator = "operator"
    admin = "admin"


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="token")


@app.command("issue")
def issue(
    identity: Annotated[str, typer.Argument(metavar="IDENTITY", help="Name of the identity.")],
    ttl: Annotated[str, typer.Option("--ttl", metavar="TIME", help="90d, 12h, 30m or never.")] = "24h",
    connections: Annotated[
        str,
        typer.Option("--connections", metavar="A,B", help="Allow only these of the identity's connections."),
    ] = "any",
    on_behalf_of: Annotated[
        str | None,
        typer.Option("--on-behalf-of", metavar="WHO", help="Whom it acts for, as the record tells."),
    ] = None,
    role: Annotated[
        Role,
        typer.Option(
            "--role",
            help="client: for PostgreSQL. For the API and the pages, each with the rights of those before: "
            "own (reads the identity's own sessions), auditor (reads), operator (ends sessions), admin.",
        ),
    ] = Role.client,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Issue a token and print it: the only time that anybody sees it. Remarks go to standard error.

    Example: TOKEN=$(pgwitness token issue billing-agent --ttl 12h)
    """
    body = {
        "identity": identity,
        "ttl": ttl,
        "connections": parse_list(connections),
        "role": role.value,
        "on_behalf_of": on_behalf_of,
    }
    from pgwitness.api.client import path

    with client(state, config) as api:
        issued = api.post("/tokens", body)
        if role is Role.admin and api.get(path("identities", identity))["kind"] == "service":
            note(
                f"{identity} is a service: with this token it can end sessions, erase them and issue tokens."
            )
    if format is not Format.table:
        detail(issued, _COLUMNS, format)
        return
    typer.echo(issued["token"])
    expires = f"expires {moment(issued['expires_at'])}" if issued["expires_at"] else "never expires"
    use = (
        "export PGWITNESS_TOKEN=…"
        if role is not Role.client
        else f"postgresql://{identity}:TOKEN@GATEWAY:7432/CONNECTION"
    )
    note(f"Token {issued['id']} of {identity} {expires}. It is not shown again.\nUse: {use}")


@app.command("list")
def list_all(
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="NAME", help="Of this identity.")
    ] = None,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """List tokens, also dead ones, by their public ids.

    Example: pgwitness token list --identity billing-agent
    """
    with client(state, config) as api:
        listing(
            api.items("/tokens", identity=identity),
            _COLUMNS,
            format,
            empty="No token was issued. Issue one with: pgwitness token issue IDENTITY",
        )


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="Public id of the token, as listed.")],
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Make a token invalid, and end its sessions within a second.

    Example: pgwitness token revoke k3v9x2m1qa
    """
    from pgwitness.api.client import path

    with client(state, config) as api:
        detail(api.post(path("tokens", _public_id(token), "revoke")), _COLUMNS, format)


def _public_id(text: str) -> str:
    """Somebody in a hurry pastes the whole token: its secret goes no further."""
    return text.split("_")[1] if text.startswith("pgw_") and text.count("_") >= 2 else text


def _state(token: dict[str, Any]) -> str:
    if token["revoked_at"]:
        return "revoked"
    expires = token["expires_at"]
    return "expired" if expires and datetime.fromisoformat(expires) <= datetime.now(UTC) else "live"


_COLUMNS = (
    Column("ID", "id", style="bold"),
    Column("IDENTITY", "identity", least=8),
    Column("STATE", _state),
    Column("ROLE", "role"),
    Column("CONNECTIONS", lambda each: names(each["connections"]) or "none", wrap=True),
    Column("ON BEHALF OF", "on_behalf_of", least=8, spare=4),
    Column("CREATED", lambda each: moment(each["created_at"]), spare=1),
    Column("EXPIRES", lambda each: moment(each["expires_at"]) or "never"),
    Column("REVOKED", lambda each: moment(each["revoked_at"]), spare=3),
    Column("LAST USED", lambda each: moment(each["last_used_at"]) or "never", spare=2),
)
