"""``pgwitness verify``: proof that a record, or an evidence bundle, is what was recorded.

Nothing of the gateway is imported or asked. Where the record is a copy, nothing but its files is read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zipfile import is_zipfile

import typer

from pgwitness.cli import text
from pgwitness.cli.options import Config, State
from pgwitness.errors import InvalidError, RecordBroken

if TYPE_CHECKING:
    from pgwitness.record.notes import Verifier
    from pgwitness.record.report import Progress, Report

BROKEN = 1


class Shape(StrEnum):
    table = "table"
    json = "json"


Id = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="Only this session's chunks: its id, or a unique head or tail of it."
    ),
]


def register(parent: typer.Typer) -> None:
    parent.command("verify")(verify)


def verify(
    session: Id = None,
    record: Annotated[
        Path | None,
        typer.Option(help="A copy of a record, anywhere. Default: the record of the state directory."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="The log's public key, kept elsewhere. Default: the record's own, which proves less."
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint kept elsewhere; the log must extend it. May be given several times."),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="An evidence bundle to verify instead.")] = None,
    format: Annotated[Shape, typer.Option("--format", help="How to print it.")] = Shape.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Prove that the record is whole and unchanged, from its files and a public key.

    Every hash, signature, chain, sequence and tile is computed again; with the state directory at hand, also
    that sessions' contents and the index agree with what was sealed. Exit codes: 0 sound; 1 broken, and what
    is broken is named; 2 wrong usage.

    Example: pgwitness verify --record /mnt/copy/record --key verifier --checkpoint yesterday
    """
    if bundle is not None and (record is not None or session is not None):
        raise InvalidError("--bundle is verified for itself, without ID and --record")
    verifiers, heads = _keys(key), [(str(path), _head(path)) for path in checkpoint or []]
    with _meter(format) as progress:
        if bundle is not None:
            report = _verify_bundle(bundle, verifiers, heads)
        else:
            report = _verify_record(session, record, verifiers, heads, state, config, progress)
    _print(report, format, of_bundle=bundle is not None)
    if report.result != "sound":
        raise typer.Exit(BROKEN)


def _verify_record(
    session: str | None,
    record: Path | None,
    verifiers: list[Verifier],
    heads: list[tuple[str, bytes]],
    state: Path | None,
    config: Path | None,
    progress: Progress,
) -> Report:
    from pgwitness.record.layout import Layout
    from pgwitness.record.verify import Options
    from pgwitness.record.verify_in_use import session_named, verify_in_use

    home = None if record is not None else _state(state, config)
    layout = Layout(home / "record" if home is not None else record or Path())
    if session is not None:
        session = session_named(layout, session)
    options = Options(verifiers, heads, session)
    if home is None:
        return verify_in_use(layout, options, progress, _no_index)
    from pgwitness.review.verification import verify_state

    return verify_state(home, options, progress)


def _no_index(report: Report) -> None:
    report.step("index").skip("a copy of the record has no index")


def _verify_bundle(path: Path, verifiers: list[Verifier], heads: list[tuple[str, bytes]]) -> Report:
    import pgwitness
    from pgwitness.record.verify_bundle import verify_bundle
    from pgwitness.review.evidence import derive

    if not path.is_file():
        raise InvalidError(f"there is no bundle {path}")
    if not is_zipfile(path):
        raise InvalidError(f"{path} is no bundle, or not all of one: it is no whole ZIP file")
    software = f"pgwitness {pgwitness.__version__}"
    return verify_bundle(path, verifiers=verifiers, heads=heads, derive=derive, software=software)


def _state(state: Path | None, config: Path | None) -> Path:
    from pgwitness.cli.options import load_settings

    return load_settings(state, config).state


def _keys(path: Path | None) -> list[Verifier]:
    from pgwitness.record.notes import parse_verifiers

    if path is None:
        return []
    try:
        return parse_verifiers(_read(path).decode())
    except (RecordBroken, UnicodeDecodeError) as error:
        raise InvalidError(f"--key {path} is no verifier key: {error}") from None


def _head(path: Path) -> bytes:
    """A checkpoint, whoever signed it: whether it is this log's is for verification to say."""
    from pgwitness.record.checkpoint import parse_checkpoint

    data = _read(path)
    try:
        parse_checkpoint(data)
    except RecordBroken as error:
        raise InvalidError(f"--checkpoint {path} is no checkpoint: {error}") from None
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}") from None


@contextmanager
def _meter(format: Shape) -> Iterator[Progress]:
    """How far each step is, for who is watching."""
    if format is not Shape.table or not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<8}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def update(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield update


def _print(report: Report, format: Shape, *, of_bundle: bool) -> None:
    import json

    from pgwitness.cli.output import console

    if format is Shape.json:
        sys.stdout.write(json.dumps(report.document(), ensure_ascii=False, indent=2) + "\n")
        return
    out = console()
    out.print(f"{text.one_line(report.of)}", soft_wrap=True)
    if report.origin:
        out.print(f"log {text.one_line(report.origin)}, {report.size or 0:,} entries, signed {report.signed}")
    out.print()
    marks = {"sound": "ok", "broken": "BROKEN", "skipped": "skipped"}
    for number, step in enumerate(report.steps, 1):
        style = {"sound": "green", "broken": "bold red", "skipped": "dim"}[step.outcome]
        detail = (
            f"{text.counted(step.problems, 'problem')}, see below"
            if step.problems
            else text.one_line(step.detail)
        )
        line = f"{number}  {step.name:<10}  {marks[step.outcome]:<7}  {detail}"
        out.print(line, style=style, soft_wrap=True)
    _print_list(out, "What is broken:", [_problem(each) for each in report.problems], "red")
    _print_list(out, "To know:", [_remark(each) for each in report.remarks], "yellow")
    hidden = sum(step.problems for step in report.steps) - len(report.problems)
    if hidden:
        out.print(f"  and {hidden:,} more")
    out.print()
    whole = "the bundle" if of_bundle else "the record"
    what = f"session {report.session}" if report.session else whole
    if report.result == "sound":
        out.print(f"Sound: {what} is what was recorded.", style="bold green")
    else:
        out.print(f"BROKEN: {what} is not what was recorded.", style="bold red")


def _print_list(out: Any, title: str, lines: list[str], style: str) -> None:
    if lines:
        out.print()
        out.print(title, style="bold")
        for line in lines[:_SHOWN]:
            out.print(f"  {line}", style=style, soft_wrap=True)
        if len(lines) > _SHOWN:
            out.print(f"  and {len(lines) - _SHOWN:,} more (--format json lists them)")


_SHOWN = 25


def _problem(problem: Any) -> str:
    places = [f"entry {problem.entry}" if problem.entry is not None else "", problem.file or ""]
    places += [f"session {problem.session}" if problem.session else ""]
    where = ", ".join(place for place in places if place)
    return text.one_line(f"{where}: {problem.text}" if where else problem.text)


def _remark(remark: Any) -> str:
    return text.one_line(f"session {remark.session}: {remark.text}" if remark.session else remark.text)
