"""Bringing the index up to date in this process: when no gateway runs, and to rebuild it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgwitness.errors import ConflictError, UnavailableError
from pgwitness.index.discretion import Text
from pgwitness.index.follower import Follower, Pace
from pgwitness.index.frames import bytes_left
from pgwitness.index.location import Location
from pgwitness.index.opening import open_writer, text_of
from pgwitness.index.writer import IndexWriter

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""

_BACKLOG = Pace(rows=20_000, seconds=1.0)


def catch_up(state: Path, progress: Progress | None = None, *, text: Text = "all") -> None:
    """Index what the tape has more than the index, unless an indexer runs. ``text`` is for a new index: one
    that is there goes on as it was begun, as only the gateway's own setting changes it."""
    tape = state / "tape"
    location = Location(state)
    if not tape.is_dir() or location.indexer() is not None:
        return
    try:
        with location.lock():
            _, writer = open_writer(location, tape, text_of(location, text))
            _follow_to_end(tape, writer, progress)
    except ConflictError:
        return  # An indexer started just now.


def rebuild(state: Path, progress: Progress | None = None, *, text: Text = "all") -> dict[str, Any]:
    """A new index from the whole tape, put in the place of the old one, also while an indexer runs: it
    goes on with the new one. Returns ``bytes`` read and ``seconds`` taken. Raises ConflictError if another
    rebuild runs. ``text``: as ``catch_up``."""
    tape = state / "tape"
    if not tape.is_dir():
        raise UnavailableError(f"there is no tape in {state}", hint="Name the state directory with --state.")
    location = Location(state)
    with location.lock("index-rebuild.lock"):
        started = time.monotonic()
        path = location.next()
        done = _follow_to_end(tape, IndexWriter(path, text_of(location, text)), progress)
        location.publish(path)
    return {"bytes": done, "seconds": round(time.monotonic() - started, 3)}


def _follow_to_end(tape: Path, writer: IndexWriter, progress: Progress | None) -> int:
    """The number of bytes read."""
    try:
        follower = Follower(tape, writer, _BACKLOG)
        total = left = bytes_left(tape, follower.position)
        while follower.step():
            if progress:
                left = bytes_left(tape, follower.position)
                total = max(total, left)
                progress(total - left, total)
        follower.snapshot()
        if progress:
            progress(total, total)
        return total
    finally:
        writer.close()
