"""``pgwitness undo``: the rows that a recorded write touches, before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgwitness.cli import text
from pgwitness.cli.options import Config, State
from pgwitness.cli.output import console, note, private
from pgwitness.cli.reenact import AsSuperuser, Force, Into, ReportFormat, Session, opened
from pgwitness.errors import InvalidError, WitnessError

if TYPE_CHECKING:
    from pgwitness.reenact.undo import Keep, Undo

_HELP = """Show the rows that a recorded UPDATE or DELETE touches on a restored copy: before, and after.

First bring the copy to where the statement found it: pgwitness reenact SESSION --into DSN --until SEQ. The
statement's condition becomes a SELECT, built from PostgreSQL's own parse tree, with the values that were
bound. Then the statement runs in a transaction that is rolled back: nothing is ever committed. -o writes all
values before, as .jsonl or .csv, to put them back with.

Exit code 0: the SELECT, the statement and the record name the same rows; 1: they do not, or it cannot be
shown; 2: wrong usage, or a statement whose rows no SELECT tells; 3: record or copy cannot be reached.

Example: pgwitness undo 8f3e21ab 7 --into postgresql://shop@localhost:5433/copy -o before.jsonl
"""
_LONGEST = 60


def register(app: typer.Typer) -> None:
    app.command("undo", help=_HELP)(undo)


def undo(
    session: Session,
    seq: Annotated[int, typer.Argument(metavar="SEQ", help="The statement's number in its session.")],
    into: Into,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Show at most so many rows.")
    ] = 50,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="All values before, as .jsonl or .csv."),
    ] = None,
    force: Force = False,
    as_superuser: AsSuperuser = False,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to print it.")] = ReportFormat.text,
    state: State = None,
    config: Config = None,
) -> None:
    import msgspec

    from pgwitness.reenact.chosen import choose
    from pgwitness.reenact.undo import undo as look

    if output is not None and output.suffix not in (".jsonl", ".csv"):
        raise InvalidError(f"{output}: the name of this file ends in .jsonl or .csv")
    with (
        opened(session, into, force, as_superuser, state, config) as (spool, target),
        _kept(output) as keep,
    ):
        found = look(choose(spool.frames(), seq), into, target.words, limit=limit, keep=keep)
    if output is not None:
        note(f"{output}: {text.counted(found.rows, 'row')} as they were before")
    if format is ReportFormat.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())  # noqa: T201  the result
    else:
        for line in told(found):
            console().print(line, soft_wrap=True)
    raise typer.Exit(0 if found.agree else 1)


@contextmanager
def _kept(output: Path | None) -> Iterator[Keep | None]:
    """All of it or nothing, and its owner's alone."""
    if output is None:
        yield None
        return
    part = output.with_name(output.name + ".part")
    line = _csv() if output.suffix == ".csv" else _jsonl
    try:
        with open(part, "w", opener=private, encoding="utf-8", newline="") as file:

            def keep(names: list[str], row: list[str | None]) -> None:
                file.write(line(names, row))

            yield keep
        part.replace(output)
    except OSError as error:
        raise WitnessError(f"cannot write {output}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _jsonl(names: list[str], row: list[str | None]) -> str:
    import json

    return json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n"


def _csv() -> Callable[[list[str], list[str | None]], str]:
    """As COPY reads it: a NULL is nothing, an empty text is a pair of quotes."""
    begun = False

    def line(names: list[str], row: list[str | None]) -> str:
        nonlocal begun
        head, begun = "" if begun else _csv_line(list(names)), True
        return head + _csv_line(row)

    return line


def _csv_line(values: list[str | None]) -> str:
    quoted = ('"{}"'.format(value.replace('"', '""')) if value is not None else "" for value in values)
    return ",".join(quoted) + "\n"


def told(found: Undo) -> Iterator[str]:
    """For people: each row by its key, and what changes in it."""
    yield f"Statement {found.seq} of session {found.session}, on {found.into}:"
    yield f"  {text.one_line(found.sql)}"
    yield f"Its rows: {text.one_line(found.select)}"
    yield ""
    for shown in found.shown:
        key = ", ".join(f"{name} {value}" for name, value in shown.key.items())
        yield f"  {text.one_line(key)}   {_change(shown.before, shown.after, list(shown.key), found.command)}"
    if found.rows > len(found.shown):
        yield f"  … and {found.rows - len(found.shown):,} more: --limit shows them, -o FILE writes all"
    yield ""
    yield _verdict(found)
    for line in found.notes:
        yield f"  note: {text.one_line(line)}"
    yield "Nothing of this was committed."


def _change(
    before: dict[str, str | None], after: dict[str, str | None] | None, key: list[str], command: str
) -> str:
    if command == "DELETE":
        rest = [f"{name} {_value(value)}" for name, value in before.items() if name not in key]
        return f"deleted: {', '.join(rest)}"
    if after is None:
        return ", ".join(f"{name} {_value(value)}" for name, value in before.items() if name not in key)
    changed = [
        f"{name} {_value(value)} → {_value(after.get(name))}"
        for name, value in before.items()
        if value != after.get(name)
    ]
    return ", ".join(changed) or "stays as it is"


def _value(value: str | None) -> str:
    if value is None:
        return "NULL"
    shown = text.one_line(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _verdict(found: Undo) -> str:
    rows = text.counted(found.rows, "row")
    if found.problem is not None:
        return f"{rows} would be touched. The statement fails here: {text.one_line(found.problem)}"
    if found.agree:
        return f"{rows}, as on record; the statement touched the same ones."
    recorded = "an unknown number" if found.recorded is None else f"{found.recorded:,}"
    return (
        f"{rows} by the SELECT, {found.touched:,} by the statement, {recorded} on record. Is the copy as it "
        f"was then? pgwitness reenact … --until {found.seq} brings it there."
    )
