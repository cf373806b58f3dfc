"""``pgwitness tail``: statements as they run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pgwitness.cli import filtering
from pgwitness.cli.options import Config, State, load_settings
from pgwitness.cli.output import Document, Format, FormatOption, console, note
from pgwitness.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    from rich.text import Text

AGAIN_SECONDS = 0.5
"""Between two attempts to reach a gateway that is away."""
BEHIND_SECONDS = 2.0
"""A lag that is worth a remark."""

_HELP = """Show statements live: at most a second after they ended, while the index keeps up.

A statement that runs for more than a second is shown running, and again when it is over. One whose
transaction is still open says so; what became of it follows in a line of its own, once the transaction ends.
--since begins in the past. It goes on, without loss, when the gateway is restarted, until Ctrl-C (exit code
130).

Example: pgwitness tail --identity billing-agent --command UPDATE
"""


def register(app: typer.Typer) -> None:
    app.command("tail", help=_HELP)(tail)


@filtering.filtered
def tail(
    filters: filtering.Given,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    if format not in (Format.table, Format.jsonl):
        raise InvalidError(f"format: tail prints table or jsonl, not {format.value}")
    show = _Lines() if format is Format.table else _Json()
    for document in events(filters, state, config):
        if document["kind"] == "mark":
            sys.stdout.flush()
        else:
            show(document)


def events(filters: filtering.Given, state: Path | None, config: Path | None) -> Iterator[Document]:
    """Each once, and no end: over every stream that breaks off, the next one goes on. Raises UnavailableError
    if the first one cannot be had."""
    from pgwitness.review.tail import Seen

    seen, settled = Seen(), Seen()
    cursor: str | None = None
    reached = away = late = False
    while True:
        try:
            for document in _stream(filters, cursor, state, config):
                if away:
                    note("the gateway is there again")
                reached, away = True, False
                if document["kind"] == "mark":
                    cursor = document["cursor"] or cursor
                    late = _remark(document["behind_seconds"], late)
                    yield document
                elif document["kind"] == "statement":
                    over = document["status"] != "unfinished"
                    if seen.new(document["session"], document["seq"], over):
                        yield document
                elif settled.new(_name(document), document["first_seq"], True):
                    yield document
        except UnavailableError as error:
            if not reached:
                raise
            if not away:
                note(f"{error}; waiting for it")
            away = True
        time.sleep(AGAIN_SECONDS)


def _name(settled: Document) -> str:
    return f"{settled['session']} {settled['transaction']} {settled['outcome']}"


def _stream(
    filters: filtering.Given, cursor: str | None, state: Path | None, config: Path | None
) -> Iterator[Document]:
    from pgwitness.api.client import connect

    with ExitStack() as stack:
        settings = load_settings(state, config)
        api = stack.enter_context(connect(settings))
        if not api.remote:
            raise UnavailableError(
                f"no gateway is running on {settings.state}, so nothing is live",
                hint="pgwitness statements lists what is on record",
            )
        given = {**filters, "since": None} if cursor else filters
        for line in api.lines("/statements/tail", cursor=cursor, **given):
            yield json.loads(line)


def _remark(behind: float, late: bool) -> bool:
    """Say once that what is shown is not quite live, and once that it is again."""
    if (behind > BEHIND_SECONDS) != late:
        note("live again" if late else f"this trails by {behind:.0f} s: the index has to catch up")
        return not late
    return late


class _Json:
    def __call__(self, document: Document) -> None:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


class _Lines:
    """One line a statement, and one for what became of a transaction."""

    def __init__(self) -> None:
        self._console = console()
        self._wide = self._console.is_terminal

    def __call__(self, document: Document) -> None:
        line = _statement(document) if document["kind"] == "statement" else _outcome(document)
        if self._wide:
            line.truncate(self._console.width, overflow="ellipsis")
        self._console.print(line, soft_wrap=True)


def _statement(document: Document) -> Text:
    import msgspec
    from rich.text import Text

    from pgwitness.cli import statement_view, text
    from pgwitness.statements.model import Statement

    statement = msgspec.convert(document, Statement)
    running = statement.status == "unfinished" and statement.transaction.outcome == "open"
    outcome = Text("running", "yellow") if running else statement_view.outcome(statement.transaction.outcome)
    outcome.pad_right(max(0, 11 - outcome.cell_len))
    rows = text.count(statement.rows)
    return Text.assemble(
        (text.clock(statement.started_at), "dim"),
        f"  {text.short(statement.session)} {statement.seq:>5}  ",
        (f"{text.one_line(statement.identity or '')}  ", "bold"),
        outcome,
        f" {rows:>9}  ",
        (f"{text.duration(statement.duration_us):>8}  ", "dim"),
        statement_view.sql(statement, one_line=True) if running else statement_view.summary(statement),
    )


def _outcome(document: Document) -> Text:
    from rich.text import Text

    from pgwitness.cli import statement_view, text

    first, last = document["first_seq"], document["last_seq"]
    which = (
        f"statement {first}" if first == last else f"{document['statements']:,} statements, {first} to {last}"
    )
    reason = f": {text.one_line(document['reason'])}" if document["reason"] else ""
    return Text.assemble(
        " " * 14,
        f"{text.short(document['session'])}     └  transaction {document['transaction']} ",
        statement_view.outcome(document["outcome"]),
        (f"{reason} ({which})", "dim"),
    )
