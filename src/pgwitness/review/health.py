"""Is the recorder well: does the index keep up, is the record signed, is there room on the disk.

Cheap enough to be asked every few seconds, by any process that can read the state directory.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from pgwitness.index.status import index_status
from pgwitness.review.text import duration
from pgwitness.sealing.status import record_status

SLOW_SECONDS = 60.0
"""An index or a record that is so far behind is worth a look; it loses nothing."""
LITTLE_ROOM = 1 << 30
"""Free bytes below which it is time to make room: without any the gateway refuses statements."""


class RecorderHealth(msgspec.Struct):
    index_lag_bytes: int
    index_lag_seconds: float
    index_problems: int
    """Places of the tape that could not be read or made no sense; of many, the latest are counted."""
    sealing: bool
    """Whether the tape is sealed at all."""
    seal_lag_bytes: int
    seal_lag_seconds: float
    checkpoint_at: str | None
    checkpoint_age_seconds: float | None
    entries: int
    """Of the signed log."""
    tape_bytes: int
    free_bytes: int
    """On the disk of the tape."""
    problems: list[str]
    """In words for a person; empty when all is well."""


def recorder_health(state: Path, *, sealing: bool) -> RecorderHealth:
    index, record = index_status(state), record_status(state)
    tape = state / "tape"
    health = RecorderHealth(
        index_lag_bytes=index["lag_bytes"],
        index_lag_seconds=index["lag_seconds"],
        index_problems=len(index["problems"]),
        sealing=sealing,
        seal_lag_bytes=record["lag_bytes"],
        seal_lag_seconds=record["lag_seconds"],
        checkpoint_at=record["checkpoint_at"],
        checkpoint_age_seconds=record["checkpoint_age_seconds"],
        entries=record["size"],
        tape_bytes=_size(tape),
        free_bytes=shutil.disk_usage(tape if tape.is_dir() else state).free,
        problems=[],
    )
    health.problems += [str(each["problem"]) for each in index["problems"]]
    if sealing and record["problem"]:
        health.problems.append(f"the record is not sealed: {record['problem']}")
    health.problems += [
        f"checkpoints do not arrive at {each['place']}: {each['error']}"
        for each in record["heads"]
        if each["error"]
    ]
    if index["lag_seconds"] > SLOW_SECONDS:
        health.problems.append(f"the index is {_span(index['lag_seconds'])} behind the tape")
    if sealing and record["lag_seconds"] > SLOW_SECONDS:
        health.problems.append(f"the sealed record is {_span(record['lag_seconds'])} behind the tape")
    if health.free_bytes < LITTLE_ROOM:
        health.problems.append(f"only {health.free_bytes >> 20:,} MiB are free on the disk of the tape")
    return health


def _size(directory: Path) -> int:
    total = 0
    for path in directory.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # released meanwhile
            continue
    return total


def _span(seconds: float) -> str:
    return duration(int(seconds * 1_000_000))
