"""A statement on a terminal: its SQL with the bound values in place, and what came of it."""

from __future__ import annotations

from rich.text import Text

from pgwitness.cli import text
from pgwitness.review.values import pieces
from pgwitness.statements.model import Statement

OUTCOMES = {
    "committed": ("committed", "green"),
    "rolled_back": ("rolled back", "red"),
    "open": ("open", "yellow"),
    "in_doubt": ("in doubt", "magenta"),
}
VALUE = "bold cyan"
LONGEST_VALUE = 200


def outcome(name: str) -> Text:
    words, style = OUTCOMES[name]
    return Text(words, style)


def sql(statement: Statement, *, one_line: bool) -> Text:
    """The SQL, values of parameters highlighted."""
    show = text.one_line if one_line else text.visible
    shown = Text(style="" if statement.status == "ok" else "dim")
    for piece, bound in pieces(statement.sql, statement.parameters):
        if bound and one_line and len(piece) > LONGEST_VALUE:
            piece = piece[:LONGEST_VALUE] + "…"
        shown.append(_keeping_ends(piece, show(piece)), VALUE if bound else None)
    if one_line:
        shown.rstrip()
    if not shown.plain:
        shown.append(_instead(statement), "dim")
    return shown


def _instead(statement: Statement) -> str:
    """Of a text that is not there."""
    if statement.truncated:
        return f"({statement.command or 'text'} {' '.join(statement.tables)}: not indexed)"
    return f"({statement.protocol} call)" if statement.protocol == "function" else "(empty)"


def summary(statement: Statement) -> Text:
    """One line: why it failed, if it did, and the SQL."""
    failed = failure(statement)
    shown = sql(statement, one_line=True)
    return Text.assemble(failed, "  ", shown) if failed else shown


def failure(statement: Statement) -> Text | None:
    """Why it did not do what it says."""
    if statement.status == "ok":
        return None
    if statement.status == "skipped":
        return Text("never ran: what came before it failed", "yellow")
    if statement.status == "unfinished":
        return Text("not finished", "yellow")
    error = " ".join(part for part in (statement.sqlstate, statement.error) if part)
    return Text(f"{statement.status}: {text.one_line(error)}", "bold red")


def came_back(statement: Statement) -> Text:
    """``UPDATE 40000 · 5.1 ms``, as far as it is known."""
    parts = [text.visible(statement.tag) if statement.tag else "", text.duration(statement.duration_us)]
    if statement.copy:
        parts.insert(1, f"{statement.copy.bytes:,} bytes copied {statement.copy.direction}")
    if statement.truncated:
        parts.append("not whole here, the tape has it")
    return Text(" · ".join(part for part in parts if part), "dim")


def _keeping_ends(piece: str, shown: str) -> str:
    """A piece in the middle of a line keeps one blank where it had one."""
    before = " " if piece[:1].isspace() and not shown[:1].isspace() else ""
    after = " " if piece[-1:].isspace() and not shown[-1:].isspace() else ""
    return before + shown + after if shown else before
