"""The options that every listing of sessions and statements takes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

_WHICH = "Which"


def _option(name: str, metavar: str, help: str) -> Any:
    return typer.Option(name, help=help, metavar=metavar, rich_help_panel=_WHICH)


Session = Annotated[
    str | None, _option("--session", "ID", "One session: its id, or a unique head or tail of it.")
]
Identity = Annotated[str | None, _option("--identity", "NAME", "Of this identity.")]
Run = Annotated[str | None, _option("--run", "RUN", "Of this run, as the client claimed.")]
Connection = Annotated[str | None, _option("--connection", "NAME", "Through this connection.")]
Since = Annotated[
    str | None, _option("--since", "TIME", "From this time on: RFC 3339, or how long ago, as in 15m, 2h, 3d.")
]
Until = Annotated[str | None, _option("--until", "TIME", "Up to this time.")]
Command = Annotated[str | None, _option("--command", "COMMAND", "Of this command, such as UPDATE.")]
Table = Annotated[
    str | None, _option("--table", "TABLE", "Naming this table: public.orders, or orders in any schema.")
]
Match = Annotated[
    str | None, _option("--match", "TEXT", "With this text in the SQL, in upper or lower case.")
]
Status = Annotated[str | None, _option("--status", "STATUS", "ok, error, cancelled, skipped or unfinished.")]
Outcome = Annotated[str | None, _option("--outcome", "OUTCOME", "committed, rolled_back, open or in_doubt.")]
MinRows = Annotated[
    int | None,
    typer.Option("--min-rows", help="Of at least so many rows.", min=0, metavar="N", rich_help_panel=_WHICH),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", help="At most so many, the newest ones.", min=1, metavar="N", rich_help_panel=_WHICH
    ),
]
