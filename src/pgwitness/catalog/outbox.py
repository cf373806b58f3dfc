"""What was done on a state directory while no gateway ran, waiting to be put on the tape by the next one.

The tape has one writer, the gateway. A command that changes or reads something without one leaves a line
here, synced before the command goes on; the gateway records the lines, each with the time of the deed, when
it starts. A crash in between may record one twice, never none.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO


class Outbox:
    """A file of JSON Lines in the state directory. Safe between processes."""

    def __init__(self, state: Path) -> None:
        self._path = state / "unrecorded.jsonl"

    def put(self, event: dict[str, Any]) -> None:
        """Raises OSError."""
        line = json.dumps({**event, "at": datetime.now(UTC).isoformat().replace("+00:00", "Z")})
        with self._locked() as file:
            file.seek(0, os.SEEK_END)
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def deliver(self, record: Callable[[dict[str, Any]], None]) -> None:
        """Give every event to ``record``, then forget them. Raises what ``record`` raises."""
        if not self._path.exists():
            return
        with self._locked() as file:
            for line in file.read().splitlines():
                record(_event(line))
            file.truncate(0)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def _event(line: bytes) -> dict[str, Any]:
    """A line that a crash cut short is evidence, too."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return (
        event if isinstance(event, dict) else {"event": "unreadable", "text": line.decode(errors="replace")}
    )
