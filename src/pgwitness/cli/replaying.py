"""A replay on a terminal: statements as they followed each other, transactions as brackets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgwitness.cli import statement_view, text
from pgwitness.statements.model import Copy, Result, Statement

Document = dict[str, Any]


class Replay:
    """Prints documents of ``review.replay`` as they come, each when its time has come.

    ``speed`` None does not wait. Pauses longer than ``longest_pause`` seconds are cut, and that is said.
    """

    def __init__(
        self,
        console: Console,
        *,
        speed: float | None,
        longest_pause: float = 3.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._console = console
        self._speed = speed
        self._longest_pause = longest_pause
        self._sleep = sleep
        self._now: str | None = None
        self._transaction: int | None = None

    def play(self, documents: Iterable[Document]) -> None:
        for document, following in _with_next_transaction(documents):
            kind = document.pop("kind")
            if kind == "session":
                self._header(document)
            elif kind == "statement":
                self._statement(msgspec.convert(document, Statement), following)
            elif kind == "event":
                self._pause(document["at"])
                self._line(document["at"], Text("◆ " + text.one_line(_event(document)), "magenta"))
            else:
                self._pause(document["at"])
                detail = f" ({text.one_line(document['detail'])})" if document["detail"] else ""
                ending = f"session ended: {text.ending(document['reason'])}{detail}"
                self._line(document["at"], Text(ending, "bold"))

    def _header(self, document: Document) -> None:
        behalf = f" on behalf of {document['on_behalf_of']}" if document["on_behalf_of"] else ""
        run = f", run {document['run']}" if document["run"] else ""
        about = f"{document['identity']}{behalf}{run} → {document['connection']} ({document['database']})"
        self._console.print(Text(f"session {document['session']}", "bold"))
        self._console.print(Text(text.one_line(about)))
        counts = (
            f"{document['statements']:,} statements, {document['rows_written']:,} rows written and committed"
        )
        since = f"{document['started_at'][:19].replace('T', ' ')} UTC from {document['client']}"
        self._console.print(Text(text.one_line(f"{since}, {counts}"), "dim"))
        self._now = document["started_at"]

    def _statement(self, statement: Statement, following: int | None) -> None:
        self._pause(statement.started_at)
        number = statement.transaction.number
        goes_on = following == number
        if self._transaction != number and goes_on:
            self._line(statement.started_at, Text(f"┌ transaction {number}", "bold"))
            self._transaction = number
        inside = self._transaction == number
        bar = "│ " if inside else "  "
        head = Text.assemble(
            (f"{bar}{statement.seq:>4}  ", "dim"), statement_view.sql(statement, one_line=False)
        )
        self._block(text.clock(statement.started_at), head, bar)
        told = statement_view.came_back(statement)
        failed = statement_view.failure(statement)
        if failed:
            told = Text.assemble(failed, " · ", told) if told else failed
        if not inside or (goes_on and statement.transaction.outcome != "committed"):
            told = Text.assemble(
                told, " · " if told else "", statement_view.outcome(statement.transaction.outcome)
            )
        if not (inside and goes_on and statement.tag == statement.sql.rstrip(";").upper()):
            self._line(None, Text.assemble((f"{bar}      → ", "dim"), told))
        if statement.result and not isinstance(statement.result.data, msgspec.UnsetType):
            self._rows(statement.result, bar)
        if statement.copy and isinstance(statement.copy.data, str):
            self._copied(statement.copy, statement.copy.data)
        if inside and not goes_on:
            ending = statement_view.outcome(statement.transaction.outcome)
            reason = text.one_line(statement.transaction.reason or "")
            why = f": {reason}" if reason not in ("", ending.plain) else ""
            self._line(None, Text.assemble(("└ ", "bold"), ending, why))
            self._transaction = None

    def _rows(self, result: Result, bar: str) -> None:
        table = Table(box=None, pad_edge=False, header_style="dim underline")
        for column in result.columns:
            table.add_column(text.one_line(column.name))
        for row in result.data or ():
            table.add_row(
                *(Text("NULL", "dim") if cell is None else Text(text.one_line(cell)) for cell in row)
            )
        self._console.print(Padding(table, (0, 0, 0, 24), expand=False))
        if not result.complete:
            self._line(
                None, Text(f"{bar}        {result.rows_recorded:,} rows recorded, there were more", "dim")
            )

    def _copied(self, copy: Copy, data: str) -> None:
        """The lines as they passed, indented as rows are."""
        for line in data.removesuffix("\n").split("\n") if data else []:
            self._console.print(Text(" " * 24 + text.visible(line)), soft_wrap=True)
        if not copy.complete:
            self._console.print(Text(" " * 24 + "this much is on record", "dim"), soft_wrap=True)

    def _block(self, at: str, head: Text, bar: str) -> None:
        first, *others = head.split("\n", allow_blank=True)
        self._console.print(Text.assemble((at, "dim"), "  ", first), soft_wrap=True)
        for line in others:
            self._line(None, Text.assemble((f"{bar}      ", "dim"), line))

    def _line(self, at: str | None, content: Text) -> None:
        moment = text.clock(at) if at else " " * len("00:00:00.000")
        self._console.print(Text.assemble((moment, "dim"), "  ", content), soft_wrap=True)

    def _pause(self, until: str) -> None:
        gap = max(0.0, text.seconds_between(self._now or until, until))
        self._now = until
        if self._speed is None:
            return
        wait = gap / self._speed
        if wait > self._longest_pause:
            self._line(None, Text(f"… {text.duration(int(gap * 1_000_000))} later", "dim italic"))
        self._sleep(min(wait, self._longest_pause))


def _with_next_transaction(documents: Iterable[Document]) -> Iterator[tuple[Document, int | None]]:
    """Each with the transaction of the next statement: a bracket has to know whether it closes."""
    waiting: list[Document] = []
    for document in documents:
        if document["kind"] == "statement":
            number = document["transaction"]["number"]
            yield from ((earlier, number) for earlier in waiting)
            waiting = []
        waiting.append(document)
    yield from ((earlier, None) for earlier in waiting)


def _event(document: Document) -> str:
    name = str(document.get("event", "event")).replace("_", " ")
    more = ", ".join(
        f"{key} {value}"
        for key, value in document.items()
        if key not in ("event", "at", "position") and value
    )
    return f"{name} ({more})" if more else name
