"""``pgwitness statements``: what ran, across sessions, in the order in which it reached the server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from pgwitness.cli import filtering, text
from pgwitness.cli.options import Config, State, listed
from pgwitness.cli.output import Column, Document, Format, FormatOption, listing, note, room

DEFAULT_LIMIT = 100
"""Of a table. The other formats have no limit but the one that is asked for."""
_NARROWEST_SQL = 16

_HELP = """List statements, in the order in which they reached the server.

A table shows the last 100; json, jsonl and csv hold all of them. --limit N gives the last N, with --first
the first N.
What a statement's document holds is described in docs/statements.md.

Example: pgwitness statements --since 2h --table public.orders --min-rows 1000
"""


def register(app: typer.Typer) -> None:
    app.command("statements", help=_HELP)(statements)


@filtering.filtered
def statements(
    filters: filtering.Given,
    limit: filtering.Limit = None,
    first: Annotated[
        bool, typer.Option("--first", help="With --limit: the first ones instead.", rich_help_panel="Which")
    ] = False,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    with listed(state, config) as api:
        if format is Format.table:
            window = _window(limit or DEFAULT_LIMIT, first, more=1)
            documents = [json.loads(line) for line in api.lines("/statements/stream", **filters, **window)]
            if documents:
                _table(documents, limit or DEFAULT_LIMIT, first)
            else:
                note(filtering.nothing("statement", api, filters))
            return
        lines = api.lines("/statements/stream", **filters, **(_window(limit, first) if limit else {}))
        if format is Format.jsonl:
            for line in lines:
                sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        elif format is Format.csv:
            _csv(lines)
        else:
            listing((json.loads(line) for line in lines), (), format)


def _csv(lines: Iterator[bytes]) -> None:
    """With the columns of an export."""
    import msgspec

    from pgwitness.review.export import as_csv
    from pgwitness.statements.model import Statement

    decode = msgspec.json.Decoder(Statement).decode
    for piece in as_csv(decode(line) for line in lines):
        sys.stdout.write(piece)


def _window(limit: int, first: bool, more: int = 0) -> dict[str, Any]:
    return {"limit": limit + more, "newest": not first}


def _table(documents: list[Document], shown: int, first: bool) -> None:
    more = len(documents) > shown
    documents = documents[:shown] if first else documents[-shown:]
    listing(documents, columns(documents), Format.table)
    if more:
        note(text.limited("first" if first else "last", shown))


def columns(documents: list[Document]) -> list[Column]:
    """What a responder looks at first."""
    import msgspec

    from pgwitness.cli import statement_view
    from pgwitness.statements.model import Statement

    days = {str(document["started_at"])[:10] for document in documents}
    width = room()

    def sql(document: Document) -> object:
        shown = statement_view.summary(msgspec.convert(document, Statement))
        shown.truncate(width, overflow="ellipsis")
        return shown

    return [
        Column("time (UTC)", lambda document: text.clock(document["started_at"], day=len(days) > 1), "dim"),
        Column("session", lambda document: text.short(document["session"])),
        Column("seq", lambda document: str(document["seq"]), right=True),
        Column("identity", "identity", least=8),
        Column("outcome", lambda document: statement_view.outcome(document["transaction"]["outcome"])),
        Column("rows", lambda document: text.count(document["rows"]), right=True),
        Column("took", lambda document: text.duration(document["duration_us"]), "dim", right=True, spare=1),
        Column("statement", sql, least=_NARROWEST_SQL),
    ]
