"""``pgwitness record``: how far the sealed record is, and the head that others may keep."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pgwitness.cli import text
from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Document, Format, FormatOption, console, detail, listing

app = typer.Typer(help="The sealed record: how far it is, and its head.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="record")


@app.command("status")
def status(format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """Show how far the sealed record is behind the tape, its latest checkpoint, and whether heads arrive
    where they are sent.

    Exit code 1 if sealing does not get on, or a head does not arrive.

    Example: pgwitness record status
    """
    with client(state, config) as api:
        document = api.get("/record")
    detail(document, _STATUS, format)
    heads = document["heads"]
    if format is Format.table and heads:
        console().print()
        listing(heads, _HEADS, format)
    if document["problem"] or any(head["error"] for head in heads):
        raise typer.Exit(1)


@app.command("head")
def head(
    key: Annotated[bool, typer.Option("--key", help="Print the record's public key instead.")] = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Print the latest checkpoint that may leave the house, or the key that it is signed with: for a witness,
    or to verify on another machine.

    Example: pgwitness record head > head.txt
    """
    with client(state, config) as api:
        said = b"".join(api.stream("/record/key" if key else "/record/head"))
    typer.echo(said.decode(), nl=False)


def _sealer(document: Document) -> str:
    return f"process {document['pid']}" if document["pid"] else "none runs"


def _checkpoint(document: Document) -> str:
    return (
        f"{document['checkpoint_at']}, {document['size']:,} entries" if document["checkpoint_at"] else "none"
    )


def _place(document: Any) -> str:
    return str(document["error"] or "arrives")


_STATUS = [
    Column("sealer", _sealer),
    Column("checkpoint", _checkpoint),
    Column("behind", text.behind),
    Column("problem", lambda document: document["problem"] or "none", wrap=True),
]
_HEADS = [
    Column("heads to", "place"),
    Column("entries", lambda head: text.count(head["size"])),
    Column("state", _place, wrap=True),
]
