"""File systems that die or fail at one call, for whatever writes through ``record.files.Files``."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pgwitness.record.files import Files

CALLS = (
    "open",
    "write",
    "punch",
    "truncate",
    "sync",
    "close",
    "rename",
    "remove",
    "remove_directory",
    "make_directory",
    "sync_directory",
)


class CountingFiles(Files):
    """Counts its calls, and does something else at number ``at`` (from 1)."""

    def __init__(
        self, at: int = 0, instead: Callable[["CountingFiles", str, Any], Any] | None = None
    ) -> None:
        self.calls = 0
        self.log: list[str] = []
        self.failed = 0
        """The errno that was raised."""
        self._at = at
        self._instead = instead

    def _call(self, name: str, *arguments: Any) -> Any:
        self.calls += 1
        self.log.append(name)
        if self.calls == self._at and self._instead is not None:
            return self._instead(self, name, arguments)
        return self.really(name, *arguments)

    def really(self, name: str, *arguments: Any) -> Any:
        # What outlives the process is enough here, and a hundred times faster.
        return None if name in ("sync", "sync_directory") else getattr(Files, name)(self, *arguments)


Instead = Callable[[CountingFiles, str, Any], Any]
"""Told the files, the call's name and its arguments."""


def _through(name: str) -> Any:
    def call(self: CountingFiles, *arguments: Any) -> Any:
        return self._call(name, *arguments)

    return call


for _name in CALLS:
    setattr(CountingFiles, _name, _through(_name))


def half_done(files: CountingFiles, name: str, arguments: Any) -> None:
    """What a call that is broken off may leave: half of the bytes."""
    if name == "write":
        descriptor, data, offset = arguments
        Files.write(files, descriptor, data[: len(data) // 2], offset)


def kill(files: CountingFiles, name: str, arguments: Any) -> None:
    """SIGKILL to this process in the middle of the call."""
    half_done(files, name, arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def fail(code: int) -> Instead:
    """The call fails with that errno. As the system has it, a descriptor is closed all the same."""

    def failing(files: CountingFiles, name: str, arguments: Any) -> None:
        half_done(files, name, arguments)
        if name == "close":
            Files.close(files, *arguments)
        files.failed = code
        raise OSError(code, os.strerror(code))

    return failing


EIO, ENOSPC = fail(errno.EIO), fail(errno.ENOSPC)


class PowerCut(BaseException):
    """The machine is off."""


class VolatileFiles(CountingFiles):
    """A disk without mercy: after ``power_cut`` nothing is left under ``root`` but what was synced, bytes and
    names alike, although everything could be seen before."""

    def __init__(self, root: Path, at: int = 0) -> None:
        super().__init__(at, _switch_off)
        self._root = root
        self._bytes: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int | None]] = {}
        for directory in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            self._note_names(directory)
            for path in directory.iterdir():
                if path.is_file():
                    self._bytes[path.stat().st_ino] = path.read_bytes()

    def really(self, name: str, *arguments: Any) -> Any:
        result = super().really(name, *arguments)
        if name == "sync":
            number = os.fstat(arguments[0]).st_ino
            self._bytes[number] = os.pread(arguments[0], 1 << 30, 0)
        elif name == "sync_directory":
            self._note_names(arguments[0])
        return result

    def power_cut(self, into: Path) -> None:
        """What is on the disk afterwards, as a new directory."""
        self._restore(self._root, into)

    def _note_names(self, directory: Path) -> None:
        # A directory is None, a file its inode.
        self._names[directory] = {
            path.name: None if path.is_dir() else path.stat().st_ino for path in directory.iterdir()
        }

    def _restore(self, directory: Path, into: Path) -> None:
        into.mkdir()
        for name, inode in self._names.get(directory, {}).items():
            if inode is None:
                self._restore(directory / name, into / name)
            else:
                (into / name).write_bytes(self._bytes.get(inode, b""))


def _switch_off(files: CountingFiles, name: str, arguments: Any) -> None:
    half_done(files, name, arguments)
    raise PowerCut


def copy_of(state: Path, into: Path) -> Path:
    shutil.copytree(state, into, symlinks=True)
    return into
