"""``pgwitness reenact``: a recorded session again, on a restored copy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgwitness.cli import text
from pgwitness.cli.options import Config, State, record
from pgwitness.cli.output import console, note
from pgwitness.errors import ConflictError

if TYPE_CHECKING:
    from pgwitness.api.client import Client
    from pgwitness.reenact.report import Difference, Divergence, Progress, Report
    from pgwitness.reenact.spool import Spool
    from pgwitness.reenact.target import Place, Target

_HELP = """Run a recorded session again, on a restored copy, and compare statement by statement.

The client's own messages are sent again, with their parameters and transaction boundaries; command tags, row
counts, errors and recorded results are compared. What must differ (times, random values, identifiers of the
server, the order of rows) is told apart. It ends at the first divergence; everything that was committed until
then is on the copy. Against a registered connection nothing is run, unless forced; nor with a superuser of
the copy, unless asked to.

Give the password in PGPASSWORD, ~/.pgpass or a service file. Ctrl-C cancels the running statement and tells
what the copy is left with.

Exit code 0: no divergence; 1: a divergence, a read that cannot be compared, or it could not be run; 2: wrong
usage; 3: the record or the copy cannot be reached, or was lost; 130: interrupted.

Example: pgwitness reenact 8f3e21ab --into postgresql://shop@localhost:5433/copy --until 7
"""
_INTERRUPTED, _UNAVAILABLE = 130, 3

Session = Annotated[
    str, typer.Argument(metavar="SESSION", help="The session's id, or a unique head or tail of it.")
]
Into = Annotated[
    str, typer.Option("--into", metavar="DSN", help="The restored copy: a connection string, as libpq's.")
]
Force = Annotated[bool, typer.Option("--force", help="Also where a registered connection leads to.")]

AsSuperuser = Annotated[
    bool,
    typer.Option(
        "--as-superuser", help="Also with a role of the copy that may run programs and write files there."
    ),
]


class ReportFormat(StrEnum):
    text = "text"
    json = "json"


def register(app: typer.Typer) -> None:
    app.command("reenact", help=_HELP)(reenact)


def reenact(
    session: Session,
    into: Into,
    until: Annotated[
        int | None, typer.Option("--until", metavar="SEQ", help="Stop just before this statement.")
    ] = None,
    committed_only: Annotated[
        bool, typer.Option("--committed-only", help="Without transactions that did not commit.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Go on after a divergence, and count them all.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, help="The longest that an answer may take."),
    ] = None,
    force: Force = False,
    as_superuser: AsSuperuser = False,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to print the report.")] = (
        ReportFormat.text
    ),
    state: State = None,
    config: Config = None,
) -> None:
    import msgspec

    from pgwitness.reenact.run import reenact as run

    with opened(session, into, force, as_superuser, state, config) as (spool, target), _meter() as tell:
        report = run(
            spool,
            target,
            until=until,
            committed_only=committed_only,
            keep_going=keep_going,
            timeout=timeout,
            tell=tell,
        )
    if format is ReportFormat.json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())  # noqa: T201  the result
    else:
        for line in told(report):
            console().print(line, soft_wrap=True)
    raise typer.Exit(_code(report))


@contextmanager
def opened(
    session: str, into: str, force: bool, as_superuser: bool, state: Path | None, config: Path | None
) -> Iterator[tuple[Spool, Target]]:
    """The session's frames, and a copy that may be used. Raises ConflictError for one that may not."""
    from pgwitness.api.client import path
    from pgwitness.reenact.spool import Spool
    from pgwitness.reenact.target import open_target

    with record(state, config) as api:
        target = open_target(into)
        try:
            _check(api, session, target.place, force)
            _check_powers(target, as_superuser)
            with Spool(api.stream(path("sessions", session, "frames"))) as spool:
                yield spool, target
        finally:
            target.close()


def _check(api: Client, session: str, place: Place, force: bool) -> None:
    """Raises ConflictError."""
    from pgwitness.api.client import path

    judged = api.post(
        path("sessions", session, "place"),
        {
            "addresses": list(place.addresses),
            "ports": list(place.ports),
            "database": place.database,
            "system_identifier": place.system_identifier,
            "started": place.started,
            "mark": place.mark,
        },
    )
    for known in judged["registered"]:
        name = f"the registered connection {known['connection']!r}" if known["connection"] else "registered"
        if not force:
            raise ConflictError(
                f"{place.database} on {place.host} is {name}: {known['why']}",
                hint="restore a copy elsewhere and give that; --force runs it here all the same",
            )
        note(f"Forced: {place.database} on {place.host} is {name}.")
    if unchecked := judged.get("not_checked"):
        note(
            "Compared by address only, since they did not tell which server they are: "
            f"{', '.join(unchecked)}. A way to one of them under another name is not seen."
        )
    for name in judged["same_server"]:
        note(
            f"The copy is a database of the server of connection {name!r}: what is not the database's own, "
            "such as roles, is shared."
        )


def _check_powers(target: Target, as_superuser: bool) -> None:
    """Raises ConflictError."""
    if target.powers and not as_superuser:
        raise ConflictError(
            f"on the copy, {target.user} is {', '.join(target.powers)}: what the session runs could start "
            "programs and touch files of its host",
            hint="give a role that owns the copy's tables and no more, or has the rights that the session "
            "had; --as-superuser runs it all the same",
        )
    if target.powers:
        note(f"With all rights: on the copy, {target.user} is {', '.join(target.powers)}.")
    if target.away:
        note(
            f"The copy leads to other servers ({', '.join(target.away)}): what the session writes may get "
            "there. Drop them first, or keep the copy from the network."
        )


def _code(report: Report) -> int:
    if report.ended == "interrupted":
        return _INTERRUPTED
    if report.ended == "lost":
        return _UNAVAILABLE
    return 0 if report.sound else 1


@contextmanager
def _meter() -> Iterator[Callable[[Progress], None] | None]:
    """How far it is, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("statements"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("run", total=None)
        yield lambda progress: bar.update(task, completed=progress.done, total=progress.total)


def told(report: Report) -> Iterator[str]:
    """The report for people."""
    counts = [f"{report.run:,} of {text.counted(report.recorded, 'statement')} run on {report.into}"]
    counts.append(f"{report.same:,} the same")
    if report.differ_by_nature:
        counts.append(f"{report.differ_by_nature:,} differ only in what must")
    if report.left_out:
        counts.append(f"{report.left_out:,} left out")
    yield f"Session {report.session}: {', '.join(counts)}."
    for one in report.explained:
        yield f"  must differ: {one.why} ({text.counted(one.statements, 'statement')}, first {one.first_seq})"
    for stood in report.stood_in:
        refused = stood.sqlstate == "42501"
        why = f"{'had not the privileges' if refused else 'was stopped from outside'} ({stood.sqlstate})"
        yield f"  statement {stood.seq} {why}: not run, an error stands in its place"
    for read in report.not_comparable:
        yield f"  statement {read.seq} cannot be compared: which rows it reads depends on {read.why}"
        for difference in read.differences:
            yield from _difference(difference)
    if report.not_compared > len(report.not_comparable):
        yield f"  … and {report.not_compared - len(report.not_comparable):,} more that cannot be compared"
    if report.in_doubt:
        listed = ", ".join(map(str, report.in_doubt[:20])) + (" …" if len(report.in_doubt) > 20 else "")
        yield f"  in doubt on record, so not compared: statements {listed}"
    for line in report.circumstances:
        yield f"  note: {text.one_line(line)}"
    if report.problem:
        yield f"Ended early: {report.problem}."
    if report.first is None:
        yield (
            "No divergence."
            if not report.not_compared
            else (f"No divergence, but {text.counted(report.not_compared, 'statement')} cannot be compared.")
        )
    else:
        more = f" of {report.diverged:,}" if report.diverged > 1 else ""
        yield f"The first divergence{more} is statement {report.first.seq}:"
        yield from _divergence(report.first)
        for other in report.divergences:
            if other.seq != report.first.seq:
                yield f"Statement {other.seq}:"
                yield from _divergence(other)
    yield report.state.text


def _divergence(divergence: Divergence) -> Iterator[str]:
    yield f"    {text.one_line(divergence.sql)}"
    for difference in divergence.differences:
        yield from _difference(difference)
    for hint in divergence.hints:
        yield f"    ({text.one_line(hint)})"


def _difference(difference: Difference) -> Iterator[str]:
    yield f"    {difference.what}"
    yield f"      on record  {_value(difference.recorded)}"
    yield f"      here       {_value(difference.here)}"


def _value(value: Any) -> str:
    return "–" if value is None else text.one_line(str(value))
