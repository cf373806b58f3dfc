"""Every change that the record makes to the file system goes through ``Files``, one call an operation.

A test that wants to fail or die at each of them in turn gives a subclass. Reading needs no such care and does
not come through here.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

TEMPORARY = ".tmp"


_PIECE = 1 << 20


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> int:
    """fallocate(2), which Python has without its modes. 0 if it was done."""
    try:
        call = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError):
        return -1
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    return int(call(descriptor, mode, offset, length))


class Files:
    """The operating system's calls, whole or not at all: a short write is continued. All raise OSError."""

    def open(self, path: Path) -> int:
        """For writing, made with mode 0600 if it is not there. Not truncated."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view = view[written:]
            offset += written

    def punch(self, descriptor: int, offset: int, length: int) -> None:
        """Zeros from there on, and no room on the disk for them where the file system can do that."""
        keep_size_and_punch_hole = 0x01 | 0x02
        if _fallocate(descriptor, keep_size_and_punch_hole, offset, length) != 0:
            for start in range(offset, offset + length, _PIECE):
                self.write(descriptor, bytes(min(_PIECE, offset + length - start)), start)

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def remove(self, path: Path) -> None:
        path.unlink()

    def remove_directory(self, path: Path) -> None:
        path.rmdir()

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def opened(files: Files, path: Path) -> Iterator[int]:
    descriptor = files.open(path)
    try:
        yield descriptor
    finally:
        files.close(descriptor)


def ensure_directory(files: Files, path: Path) -> None:
    """Make it and its parents, each durable in its own parent."""
    if path.is_dir():
        return
    ensure_directory(files, path.parent)
    files.make_directory(path)
    files.sync_directory(path.parent)


def publish(files: Files, contents: Mapping[Path, bytes]) -> None:
    """Each file appears whole or not at all, and all are durable when this returns. One that is there
    already is replaced."""
    for path, data in contents.items():
        ensure_directory(files, path.parent)
        with opened(files, _temporary(path)) as descriptor:
            files.truncate(descriptor, 0)
            files.write(descriptor, data, 0)
            files.sync(descriptor)
    for path in contents:
        files.rename(_temporary(path), path)
    for directory in dict.fromkeys(path.parent for path in contents):
        files.sync_directory(directory)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + TEMPORARY)
