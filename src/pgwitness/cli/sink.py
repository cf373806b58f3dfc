"""``pgwitness sink``: where the record's statements and events are sent, and whether they arrive."""

from __future__ import annotations

from typing import Annotated

import typer

from pgwitness.api.client import path
from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Document, Format, FormatOption, listing, moment, note
from pgwitness.errors import WitnessError

app = typer.Typer(help="Where statements and events are sent: see docs/sinks.md.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="sink")


@app.command("list")
def list_(format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """List the sinks that are set: what each delivered since the gateway started, how far it is behind, and
    why it fails.

    Exit code 1 if one of them fails.

    Example: pgwitness sink list
    """
    with client(state, config) as api:
        found = api.get("/sinks")
    listing(found, _COLUMNS, format, empty="No sink is set: docs/sinks.md tells how.")
    if any(sink["error"] for sink in found):
        raise typer.Exit(1)


@app.command("test")
def test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sink's name in the settings.")],
    state: State = None,
    config: Config = None,
) -> None:
    """Deliver one document of type test to a sink now, with the settings of the gateway that answers.

    Exit code 3 if it does not arrive.

    Example: pgwitness sink test siem
    """
    with client(state, config) as api:
        done = api.post(path("sinks", name, "test"))
    if done["rejected"]:
        raise WitnessError(f"{done['place']} took the document and says that it threw it away")
    note(f"{done['place']} took the document {done['id']}")


def _delivered(document: Document) -> str:
    rejected = document["rejected"]
    return f"{document['delivered']:,}" + (f", {rejected:,} rejected" if rejected else "")


_COLUMNS = [
    Column("sink", "sink", "bold"),
    Column("to", "place", least=10),
    Column("format", "format"),
    Column("sql", "sql", spare=3),
    Column("delivered", _delivered, right=True),
    Column("last (UTC)", lambda document: moment(document["delivered_at"]), "dim", spare=2),
    Column("behind", lambda document: f"{document['lag_seconds']:.0f} s", right=True),
    Column("state", lambda document: str(document["error"] or "arrives"), wrap=True),
]
