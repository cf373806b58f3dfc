"""Which of the tape may go: what is durable under a signed checkpoint, and what the indexer has passed."""

import time
from pathlib import Path

from pgwitness.index.location import Location
from pgwitness.index.tape import segment, segments
from pgwitness.record.files import Files

KEPT = 2
"""The segment being written, and the newest closed one."""


def release(state: Path, sealed: int, keep_seconds: float, files: Files, *, erased: int = 0) -> list[int]:
    """Remove the segments of the tape that are wholly below ``sealed`` and below where the indexer would read
    on, and older than ``keep_seconds`` (-1: none is ever removed); their numbers. Those up to ``erased`` hold
    something of an erased session, and go as soon as nobody writes them. Raises OSError.

    Where there is no index, or it cannot be read, nothing goes.
    """
    tape = state / "tape"
    present = segments(tape)
    kept = present[-KEPT:] if keep_seconds >= 0 else present
    candidates = [
        number
        for number in present[:-1]
        if number < sealed >> 32 and (number not in kept or number <= erased)
    ]
    indexed = Location(state).resume() if candidates else None
    if indexed is None:
        return []
    oldest_kept = time.time() - keep_seconds
    gone = []
    for number in candidates:
        path = segment(tape, number)
        # In ascending order, so that the tape never has a hole.
        if number >= indexed >> 32 or (number > erased and path.stat().st_mtime > oldest_kept):
            break
        files.remove(path)
        gone.append(number)
    if gone:
        files.sync_directory(tape)
    return gone
