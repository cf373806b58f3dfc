"""``pgwitness session``: who was there, what it did, again from the start."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from pgwitness.api.client import path
from pgwitness.cli import filtering, keeping, text
from pgwitness.cli.options import Config, State, client, listed
from pgwitness.cli.output import (
    Column,
    Document,
    Format,
    FormatOption,
    console,
    detail,
    listing,
    moment,
    note,
    private,
)
from pgwitness.errors import InvalidError, WitnessError

DEFAULT_LIMIT = 50
"""Of a table. The other formats have no limit but the one that is asked for."""
_NO_GATEWAY = "no gateway is running"

app = typer.Typer(help="List, show, replay, export, end, hold and erase sessions.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The session's id, or a unique head or tail of it.")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="session")


@app.command("list")
@filtering.filtered
def list_(
    filters: filtering.Given,
    limit: filtering.Limit = None,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """List sessions, the newest first.

    Filters on statements choose the sessions that have at least one such statement. A table shows the
    last 50.

    Example: pgwitness session list --identity billing-agent --since 1d --command DELETE
    """
    most = limit or (DEFAULT_LIMIT if format is Format.table else None)
    with listed(state, config) as api:
        found = api.items("/sessions", limit=None if most is None else most + 1, **filters)
        if format is not Format.table:
            listing(islice(found, most), _COLUMNS, format)
            return
        documents = [{**each, "live": api.remote} for each in found]
        empty = filtering.nothing("session", api, filters) if not documents else ""
        listing(documents[:most], _COLUMNS, format, empty=empty)
    if not api.remote and any(document["ended_at"] is None for document in documents[:most]):
        note(f"What is cut off had not ended when the gateway did: {_NO_GATEWAY}.")
    if most and len(documents) > most:
        note(text.limited("newest", most))


@app.command("show")
def show(
    session: Id, format: FormatOption = Format.table, state: State = None, config: Config = None
) -> None:
    """Show all about a session but its statements.

    Example: pgwitness session show 8f3e21ab
    """
    with listed(state, config) as api:
        document = api.get(path("sessions", session))
        shown = {**document, "live": api.remote} if format is Format.table else document
        detail(shown, _DETAILS, format)
        if format is Format.table and document["events"]:
            console().print()
            listing(document["events"], _EVENTS, format)


@app.command("replay")
def replay(
    session: Id,
    speed: Annotated[
        str | None,
        typer.Option(
            "--speed",
            metavar="N|max",
            help="How many times as fast as it was; max does not wait. On a terminal 1, else max.",
        ),
    ] = None,
    longest_pause: Annotated[
        float, typer.Option("--max-pause", metavar="SECONDS", min=0, help="Cut longer pauses.")
    ] = 3.0,
    results: Annotated[bool, typer.Option("--results", help="With the recorded rows.")] = False,
    format: Annotated[
        Format, typer.Option("--format", help="table for people; json, jsonl: every step as a document.")
    ] = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Replay a session: its statements in order, with the time that passed between them.

    Transactions are brackets with their outcome; bound values are in place. Nothing is run: it is read
    from the record.

    Example: pgwitness session replay 8f3e21ab --speed 10 --results
    """
    pace = _speed(speed)
    with listed(state, config) as api:
        lines = api.lines(path("sessions", session, "replay"), results=results or None)
        if format is not Format.table:
            listing((json.loads(line) for line in lines), (), format)
            return
        from pgwitness.cli.replaying import Replay

        Replay(console(), speed=pace, longest_pause=longest_pause).play(json.loads(line) for line in lines)


@app.command("export")
def export(
    session: Id,
    format: Annotated[
        str, typer.Option("--format", metavar="F", help="jsonl, csv, sql, pcapng, bundle, ocsf or otlp.")
    ] = "jsonl",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; - is standard output.")
    ] = Path("-"),
    state: State = None,
    config: Config = None,
) -> None:
    """Export a session: its statements as JSON Lines, as CSV, or as an SQL script to read and to run on a
    copy; the recorded wire as a packet capture for Wireshark; all with proofs, as an evidence bundle; or as
    events of OCSF, spans and logs of OpenTelemetry, as sinks send them.

    Example: pgwitness session export 8f3e21ab --format sql -o incident.sql
    """
    with listed(state, config) as api:
        pieces = api.stream(path("sessions", session, "export"), format=format)
        if str(output) == "-":
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        replaced = ", in the place of the file that was there" if output.is_file() else ""
        size = _save(pieces, output)
    note(f"{output}: {size:,} bytes{replaced}")


@app.command("kill")
def kill(session: Id, state: State = None, config: Config = None) -> None:
    """End a live session now. Its client is told (57P01), what it did is on record.

    Example: pgwitness session kill 8f3e21ab
    """
    with client(state, config) as api:
        ended = api.post(path("sessions", session, "kill"))
    note(f"session {ended['session']} is ended")


keeping.register(app)


def _speed(given: str | None) -> float | None:
    """None does not wait."""
    if given == "max" or (given is None and not sys.stdout.isatty()):
        return None
    try:
        speed = float(given or 1)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise InvalidError(f"speed: {given!r} is neither a number above 0 nor max")
    return speed


def _save(pieces: Iterator[bytes], output: Path) -> int:
    """All of it or nothing; returns the size. What is there and is no regular file (a device, a pipe) is
    written to, never replaced."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    special = output.exists() and not output.is_file()
    part = output if special else output.with_name(output.name + ".part")
    size = 0
    meter = (TextColumn("exporting"), DownloadColumn(), TimeElapsedColumn())
    shown = Console(stderr=True)
    try:
        with (
            open(part, "wb", opener=private) as file,
            Progress(*meter, console=shown, transient=True, disable=not shown.is_terminal) as progress,
        ):
            task = progress.add_task("export", total=None)
            for piece in pieces:
                size += file.write(piece)
                progress.update(task, completed=size)
        if not special:
            part.replace(output)
    except OSError as error:
        raise WitnessError(f"cannot write {output}: {error.strerror}") from None
    finally:
        if not special:
            part.unlink(missing_ok=True)
    return size


def _end(document: Document) -> str:
    if document["erased_at"] is not None:
        return "erased"
    if document["ended_at"] is None:
        return "open" if document.get("live", True) else "cut off"
    return _reason(document)


def _reason(document: Document) -> str:
    return text.ending(str(document["end_reason"]))


def _who(document: Document) -> str:
    behalf = document["on_behalf_of"]
    return f"{document['identity']} for {behalf}" if behalf else str(document["identity"])


def _tls(side: Any) -> str:
    tls = (side or {}).get("tls")
    return f"{tls['version']}, {tls['cipher']}" if tls else "no TLS"


def _client(document: Document) -> str:
    client = document["header"].get("client") or {}
    parts = (
        client.get("address"),
        f"protocol {client.get('protocol')}",
        _tls(client),
        client.get("authentication"),
    )
    return ", ".join(str(part) for part in parts if part)


def _upstream(document: Document) -> str:
    upstream = document["header"].get("upstream") or {}
    version = (upstream.get("parameters") or {}).get("server_version")
    parts = (
        upstream.get("address"),
        f"by connector {upstream['connector']}" if upstream.get("connector") else None,
        f"PostgreSQL {version}" if version else None,
        f"server process {upstream.get('pid')}",
        _tls(upstream),
    )
    return ", ".join(str(part) for part in parts if part)


def _ended(document: Document) -> str:
    if document["ended_at"] is None:
        return "still open" if document.get("live", True) else f"cut off: {_NO_GATEWAY}"
    more = f" ({document['end_detail']})" if document["end_detail"] else ""
    return f"{moment(document['ended_at'])}, {_reason(document)}{more}"


def _hold(document: Document) -> str:
    hold = document["hold"]
    return f"by {hold['by']} since {moment(hold['at'])}: {hold['reason']}" if hold else "no"


def _lasted(document: Document) -> str:
    return text.lasted(document["started_at"], document["last_activity"])


def _connection(document: Document) -> str:
    return f"{document['connection']} (database {document['database']}, as {document['user']})"


def _claims(document: Document) -> str:
    claims = document["header"].get("claims") or {}
    return ", ".join(f"{name} {value}" for name, value in claims.items() if value)


def _event_details(document: Document) -> str:
    shown = {name: value for name, value in document.items() if name not in ("at", "position", "event")}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value)


_COLUMNS = [
    Column("started (UTC)", lambda document: moment(document["started_at"])[:-1], "dim"),
    Column("session", lambda document: text.short(document["session"]), "bold"),
    Column("identity", _who, least=8),
    Column("run", "run", least=6, spare=2),
    Column("connection", "connection", least=8, spare=3),
    Column("statements", lambda document: text.count(document["statements"]), right=True),
    Column("errors", lambda document: text.count(document["errors"] or None), "red", right=True, spare=4),
    Column("rows written", lambda document: text.count(document["rows_written"] or None), right=True),
    Column(
        "lasted",
        lambda document: text.lasted(document["started_at"], document["last_activity"]),
        "dim",
        right=True,
        spare=1,
    ),
    Column("end", _end, least=6),
]
_DETAILS = [
    Column("session", "session", "bold"),
    Column("identity", lambda document: f"{_who(document)} ({document['kind']})"),
    Column("claims", _claims),
    Column(
        "connection",
        lambda document: f"{document['connection']} (database {document['database']}, as {document['user']})",
    ),
    Column("client", _client),
    Column("server", _upstream),
    Column("token", lambda document: document["header"].get("token")),
    Column("started", lambda document: moment(document["started_at"])),
    Column("last activity", lambda document: moment(document["last_activity"])),
    Column("ended", _ended),
    Column("erased", lambda document: moment(document["erased_at"]) or "no"),
    Column("held", _hold),
    Column("statements", lambda document: f"{document['statements']:,}, {document['errors']:,} failed"),
    Column("rows written", lambda document: f"{document['rows_written']:,} in committed transactions"),
]


_EVENTS = [
    Column("time (UTC)", lambda document: text.clock(document["at"], day=True), "dim"),
    Column("event", lambda document: str(document.get("event", "")).replace("_", " ")),
    Column("details", _event_details, wrap=True),
]
