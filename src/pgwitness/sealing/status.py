"""How far the record is, for health, metrics and people. Read from files, so any process can ask."""

import contextlib
import time
from pathlib import Path
from typing import Any

import msgspec

from pgwitness.errors import RecordBroken
from pgwitness.index.tape import bytes_after, first_time
from pgwitness.processes import holder
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import read_checkpoint
from pgwitness.sealing.offer import head_file


class Report(msgspec.Struct):
    """What the sealer says of itself."""

    problem: str | None = None
    """Why it does not get on; None when all is well."""
    heads: list[dict[str, Any]] = []
    """How it stands with each place that heads are sent to."""


class RecordStatus(msgspec.Struct):
    pid: int | None
    """The sealer that runs now."""
    size: int
    """Entries of the log."""
    checkpoint_at: str | None
    """When the latest checkpoint was signed."""
    checkpoint_age_seconds: float | None
    position: int
    """Every frame of the tape below is sealed."""
    lag_bytes: int
    """Tape that is not sealed yet."""
    lag_seconds: float
    """Age of the first frame that is not sealed yet."""
    problem: str | None
    heads: list[dict[str, Any]]


def sealing_directory(state: Path) -> Path:
    return state / "sealing"


def write_report(state: Path, report: Report) -> None:
    """What the sealer says of itself."""
    _show(sealing_directory(state) / "report.json", msgspec.json.encode(report))


def show_head(state: Path, note: bytes) -> None:
    """Let a head leave the house: it must be on stable storage."""
    _show(head_file(state), note)


def _show(path: Path, data: bytes) -> None:
    """Whole or not at all; not being able to must not stop the work."""
    with contextlib.suppress(OSError):
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(data)
        temporary.replace(path)


class Health(msgspec.Struct):
    """What anybody may know, and what is cheap to find out whatever the lag."""

    checkpoint_age_seconds: float | None
    lag_seconds: float
    problem: str | None


def record_health(state: Path) -> Health:
    return _health(state, *_checkpoint(Layout(state / "record")), _report(state))


def _health(state: Path, checkpoint: Checkpoint | None, problem: str | None, report: Report) -> Health:
    waiting = first_time(state / "tape", checkpoint.tape if checkpoint else 0)
    signed = checkpoint.time if checkpoint else None
    return Health(
        checkpoint_age_seconds=max(0.0, round(time.time() - signed.timestamp(), 3)) if signed else None,
        lag_seconds=max(0.0, round((time.time_ns() - waiting) / 1e9, 3)) if waiting else 0.0,
        problem=report.problem or problem,
    )


def record_status(state: Path) -> dict[str, Any]:
    """``RecordStatus`` as a dictionary. It counts what lies beyond the checkpoint: not for every request."""
    checkpoint, problem = _checkpoint(Layout(state / "record"))
    report = _report(state)
    health = _health(state, checkpoint, problem, report)
    position = checkpoint.tape if checkpoint else 0
    signed = checkpoint.time if checkpoint else None
    status = RecordStatus(
        pid=holder(sealing_directory(state) / "lock"),
        size=checkpoint.size if checkpoint else 0,
        checkpoint_at=signed.isoformat(timespec="microseconds").replace("+00:00", "Z") if signed else None,
        checkpoint_age_seconds=health.checkpoint_age_seconds,
        position=position,
        lag_bytes=bytes_after(state / "tape", position),
        lag_seconds=health.lag_seconds,
        problem=health.problem,
        heads=report.heads,
    )
    document: dict[str, Any] = msgspec.to_builtins(status)
    return document


def _checkpoint(layout: Layout) -> tuple[Checkpoint | None, str | None]:
    if not layout.checkpoint.exists():
        return None, None
    try:
        return parse_checkpoint(read_checkpoint(layout))[0], None
    except RecordBroken as error:
        return None, str(error)


def _report(state: Path) -> Report:
    try:
        return msgspec.json.decode((sealing_directory(state) / "report.json").read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return Report()
