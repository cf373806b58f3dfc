"""JSON Lines in a file that others may move away at any time.

Whether the file is still at its path is looked up before each batch, and it is made anew if not. A batch is
one write; with ``fsync`` it is on stable storage before it counts as delivered. What a kill left of a broken
line at the file's end is cut off, as its batch comes again whole.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from pgwitness.sinks.forms import Form, lines
from pgwitness.sinks.items import Item
from pgwitness.sinks.places import Undeliverable

_TAIL = 64 << 10


class FilePlace:
    rejected = 0

    def __init__(self, path: Path, form: Form, *, fsync: bool = True) -> None:
        self.name = f"file {path}"
        self._path = path
        self._form = form
        self._fsync = fsync
        self._descriptor: int | None = None

    def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undeliverable."""
        try:
            descriptor = self._open()
            before = os.fstat(descriptor).st_size
            try:
                _write(descriptor, lines(items, self._form))
                if self._fsync:
                    os.fsync(descriptor)
            except OSError:
                # The next attempt brings it whole.
                os.ftruncate(descriptor, before)
                raise
        except OSError as error:
            self.close()
            raise Undeliverable(f"{error.strerror}: {self._path}") from None

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        """The file that is at the path now. Raises OSError."""
        if self._descriptor is not None:
            ours = os.fstat(self._descriptor)
            try:
                there = self._path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return self._descriptor
            self.close()
        new = not self._path.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        self._descriptor = descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if new and self._fsync:
            _sync_directory(self._path.parent)
        _cut_broken_line(descriptor)
        return descriptor


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _cut_broken_line(descriptor: int) -> None:
    """Back to the last line's end."""
    end = os.fstat(descriptor).st_size
    at = end
    while at:
        start = max(0, at - _TAIL)
        found = os.pread(descriptor, at - start, start).rfind(b"\n")
        if found >= 0:
            at = start + found + 1
            break
        at = start
    if at != end:
        os.ftruncate(descriptor, at)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
