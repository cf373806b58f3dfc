"""Processes beside the gateway: one of a kind works on a state directory, and none outlives its gateway."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pgwitness.errors import ConflictError


@contextlib.contextmanager
def only_one(lock_file: Path, work: str) -> Iterator[None]:
    """Holds the lock; the file names the holder. Raises ConflictError when somebody else does: a process that
    already ``work``\\ s."""
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise ConflictError(f"process {who} already {work} ({lock_file.name})") from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(lock_file: Path) -> int | None:
    """The process that holds the lock, None if nobody does."""
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 32, 0) or b"0")
    finally:
        os.close(descriptor)
    return None


def watch_parent(parent: int, stop: Callable[[], None]) -> None:
    """``stop`` when the parent is gone: then nothing writes the tape any more, and a new gateway brings
    helpers of its own."""

    def watch() -> None:
        while os.getppid() == parent:
            pause.wait(0.5)
        stop()

    pause = threading.Event()
    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
