"""``pgwitness index``: the tables that listings are read from, made from the tape."""

from __future__ import annotations

from typing import Any

import typer

from pgwitness.cli import text
from pgwitness.cli.options import UNREADABLE, Config, State, load_settings, record
from pgwitness.cli.output import Column, Document, Format, FormatOption, console, detail, listing, note

app = typer.Typer(help="The tables behind the listings, made from the tape.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="index")


@app.command("status")
def status(format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """Show how far the index is behind the tape, and whether any of the tape could not be read.

    Exit code 1 if any of it could not.

    Example: pgwitness index status
    """
    with record(state, config) as api:
        document = api.get("/index")
    detail(document, _STATUS, format)
    problems = document["problems"]
    if format is Format.table and problems:
        console().print()
        listing(problems, _PROBLEMS, format)
    if problems:
        raise typer.Exit(1)


@app.command("rebuild")
def rebuild(state: State = None, config: Config = None) -> None:
    """Make the index anew from the tape, also while the gateway runs. Until it is done, listings use
    the old one.

    Exit code 1 if a part of the tape could not be read.

    Example: pgwitness index rebuild
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from pgwitness.index.catchup import rebuild as rebuild_index
    from pgwitness.index.status import index_status

    settings = load_settings(state, config)
    meter = (TextColumn("reading the tape"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    shown = Console(stderr=True)
    with Progress(*meter, console=shown, transient=True, disable=not shown.is_terminal) as progress:
        task = progress.add_task("rebuild", total=None)
        made = rebuild_index(
            settings.state,
            lambda done, total: progress.update(task, completed=done, total=total),
            text=settings.index.text,
        )
    note(f"The index is new: {made['bytes']:,} bytes of tape in {made['seconds']:.1f} s.")
    if index_status(settings.state)["problems"]:
        note(UNREADABLE)
        raise typer.Exit(1)


def _indexer(document: Document) -> str:
    return f"process {document['pid']}" if document["pid"] else "none runs; commands index what they need"


def _problem(document: Any) -> str:
    return str(document["problem"])


def _position(document: Document) -> str:
    position = document.get("position", 0)
    if position is None:
        return ""
    return f"segment {position >> 32}, offset {position & 0xFFFFFFFF}"


def _unreadable(document: Document) -> str:
    return text.counted(len(document["problems"]), "place") if document["problems"] else "nothing"


_STATUS = [
    Column("indexer", _indexer),
    Column("behind", text.behind),
    Column("sessions", lambda document: text.count(document["sessions"])),
    Column("statements", lambda document: text.count(document["statements"])),
    Column("position", _position),
    Column("unreadable", _unreadable),
]
_PROBLEMS = [
    Column("where", _position),
    Column("session", "session"),
    Column("problem", _problem, wrap=True),
]
