"""Processes beside the gateway: one of a kind works on a state directory, and none outlives its gateway."""

import contextlib
import fcntl
import gc
import os
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pgwitness.errors import ConflictError

_LOCK = struct.Struct("hhqqi4x")
"""Linux's ``struct flock``: of an open file description, so that it can be asked for without being taken."""


def collect_garbage_rarely() -> None:
    """For a process whose objects live as long as a batch and make no cycles: looking through them for
    garbage is a tenth of its work."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def yield_to_others(nice: int) -> None:
    """This thread and those it starts run after whoever answers a client."""
    os.nice(nice)
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextlib.contextmanager
def only_one(lock_file: Path, work: str) -> Iterator[None]:
    """Holds the lock; the file names the holder. Raises ConflictError when somebody else does: a process that
    already ``work``\\ s."""
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
        except BlockingIOError:
            who = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise ConflictError(f"process {who} already {work} ({lock_file.name})") from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(lock_file: Path) -> int | None:
    """The process that holds the lock, None if nobody does. Only asks: it is in nobody's way."""
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_RDLCK))
        if _LOCK.unpack(answer)[0] == fcntl.F_UNLCK:
            return None
        return int(os.pread(descriptor, 32, 0) or b"0")
    finally:
        os.close(descriptor)


def _whole_file(kind: int) -> bytes:
    return _LOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def watch_parent(parent: int, stop: Callable[[], None]) -> None:
    """``stop`` when the parent is gone: then nothing writes the tape any more, and a new gateway brings
    helpers of its own."""

    def watch() -> None:
        while os.getppid() == parent:
            pause.wait(0.5)
        stop()

    pause = threading.Event()
    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
