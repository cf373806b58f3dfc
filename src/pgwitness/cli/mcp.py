"""``pgwitness mcp``: the record as tools of an investigating assistant, over standard input and output."""

from __future__ import annotations

import os

import typer

from pgwitness.cli.options import Config, State, load_settings
from pgwitness.errors import InvalidError, UnavailableError


def register(app: typer.Typer) -> None:
    app.command("mcp")(mcp)


def mcp(state: State = None, config: Config = None) -> None:
    """Serve the record to an assistant by the Model Context Protocol, over standard input and output: find
    sessions, read statements, blast radius, verification, findings of the watch. Nothing can be changed
    through it.

    Needs PGWITNESS_URL and PGWITNESS_TOKEN, a token of role auditor: what the assistant reads is noted under
    its name. docs/mcp.md tells how assistants are set up.

    Example: pgwitness mcp
    """
    from pgwitness.api.client import TOKEN_VARIABLE, URL_VARIABLE, connect

    if not os.environ.get(URL_VARIABLE) or not os.environ.get(TOKEN_VARIABLE):
        raise InvalidError(
            f"{URL_VARIABLE} and {TOKEN_VARIABLE} are not both set: an assistant reads under a token of "
            "its own",
            hint="on the gateway's machine: pgwitness identity add investigator --kind human; "
            "pgwitness token issue investigator --role auditor",
        )
    try:
        from pgwitness.mcp.server import build
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise UnavailableError(
            "the package mcp is not installed", hint="pip install 'pgwitness[mcp]'"
        ) from None
    with connect(load_settings(state, config)) as api:
        api.get("/index")  # a wrong address or token is said now, and not at the first question
        build(api).run("stdio")
