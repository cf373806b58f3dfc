"""``pgwitness claims``: does what the agent says match what is on record."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgwitness.cli.options import Config, State, listed
from pgwitness.cli.output import note
from pgwitness.errors import InvalidError

if TYPE_CHECKING:
    from rich.console import Console

DIFFERS = 1

_HELP = """Compare what an agent says it ran with the record of a session or a run.

FILE is a log or a transcript of the agent: JSON Lines or CSV with SQL in it, OpenTelemetry spans, MCP logs,
and transcripts of the APIs and frameworks that docs/claims.md lists. Its format is found by what is in it. -
reads standard input.

Exit codes: 0 the testimony matches the record; 1 it does not, or the record or the testimony is not whole;
2 wrong usage, or FILE is no testimony; 3 the gateway or the index is not available.

Example: pgwitness claims 8f3e21ab transcript.json

Example: pgwitness claims --run run-81 agent.jsonl --field tool.sql
"""


class Shape(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"


def register(app: typer.Typer) -> None:
    app.command("claims", help=_HELP)(claims)


def claims(
    target: Annotated[
        str,
        typer.Argument(
            metavar="SESSION", help="The session's id, or a unique head or tail of it; not with --run."
        ),
    ],
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="What the agent says it ran. - is standard input.")
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Against all sessions of this run.")] = None,
    of: Annotated[
        str,
        typer.Option("--from", metavar="FORMAT", help="The testimony's format: docs/claims.md lists them."),
    ] = "auto",
    field: Annotated[
        str | None,
        typer.Option(help="Where the SQL is: a field of JSON Lines (a.b goes inside), a column of CSV."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Count also what drivers issue by themselves, and silence on failures."
        ),
    ] = False,
    without_values: Annotated[
        bool, typer.Option("--without-values", help="The testimony need not say the values that were bound.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show also what matches and what counts not.")
    ] = False,
    format: Annotated[Shape, typer.Option("--format", help="How to print it.")] = Shape.table,
    state: State = None,
    config: Config = None,
) -> None:
    session, path = _named(target, file, run)
    content = _read(path)
    if not content.strip():
        raise InvalidError(f"{path} is empty")
    question = {"session": session, "run": run, "format": of, "field": field}
    with listed(state, config) as api:
        lines = api.upload("/claims", content, strict=strict, without_values=without_values, **question)
        summary = json.loads(next(lines))
        if format is Shape.jsonl:
            _jsonl(summary, lines)
        elif format is Shape.json:
            findings = [json.loads(line) for line in lines]
            sys.stdout.write(
                json.dumps({**summary, "findings": findings}, ensure_ascii=False, indent=2) + "\n"
            )
        else:
            _table(summary, (json.loads(line) for line in lines), everything)
    if summary["verdict"] != "matches":
        raise typer.Exit(DIFFERS)


def _named(target: str, file: str | None, run: str | None) -> tuple[str | None, str]:
    """The session, if one is compared, and the file: with --run, the one argument is that."""
    if run is not None:
        if file is not None:
            raise InvalidError("a session or a run is compared, not both", hint="leave SESSION or --run out")
        return None, target
    if file is None:
        raise InvalidError(
            "FILE is missing", hint="pgwitness claims SESSION FILE, or pgwitness claims --run R FILE"
        )
    return target, file


def _read(path: str) -> bytes:
    from pgwitness.review.claims.reading import MAX_BYTES

    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise InvalidError(f"{path} is longer than {MAX_BYTES >> 20} MiB", hint="compare it in parts")
    return content


def _jsonl(summary: dict[str, Any], lines: Iterator[bytes]) -> None:
    sys.stdout.write(json.dumps(summary, ensure_ascii=False, separators=(",", ":")) + "\n")
    for line in lines:
        sys.stdout.write(line.decode() + "\n")


def _table(summary: dict[str, Any], findings: Iterator[dict[str, Any]], everything: bool) -> None:
    from pgwitness.cli import claims_view
    from pgwitness.cli.output import console

    out: Console = console()
    claims_view.show(out, summary, findings, everything)
    if summary["verdict"] == "differs" and not everything:
        note("--all shows what matches, too; --format json has everything.")
