"""Where the index lies: ``STATE/index.sqlite`` is a symbolic link to the current generation,
``index-N.sqlite``.

A rebuild fills the next generation beside the current one and moves the link, so readers see the old index
until the new one is whole. SQLite names its write-ahead log by the file that a link leads to, so two
generations never share one.
"""

import contextlib
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

from pgwitness.processes import holder, only_one

_GENERATION = re.compile(r"index-(\d+)\.sqlite")


class Location:
    """The files of one state directory's index."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.link = state / "index.sqlite"
        self.lock_file = state / "index.lock"

    def current(self) -> Path | None:
        """The current generation's file, None before there is one."""
        return self.link.resolve() if self.link.exists() else None

    def resume(self) -> int | None:
        """Position of the tape from which an indexer of the current generation would read on; None when
        that cannot be said."""
        if self.current() is None:
            return None
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{quote(str(self.link))}?mode=ro", uri=True)
            ) as file:
                row = file.execute("SELECT value FROM meta WHERE name = 'resume'").fetchone()
        except sqlite3.Error:
            return None
        return int(row[0]) if row else 0

    def next(self) -> Path:
        """Where the next generation goes. What a broken-off rebuild left there is removed."""
        numbers = [int(found[1]) for path in self.state.iterdir() if (found := _GENERATION.match(path.name))]
        current = self.current()
        named = _GENERATION.fullmatch(current.name) if current else None
        for number in numbers:
            if named is None or number > int(named[1]):
                _remove(self.state / f"index-{number}.sqlite")
        return self.state / f"index-{int(named[1]) + 1 if named else 1}.sqlite"

    def publish(self, generation: Path) -> None:
        """Make it the current one, and remove the others. Who has one of them open keeps it until he looks
        again."""
        moved = self.state / "index.sqlite.new"
        moved.unlink(missing_ok=True)
        moved.symlink_to(generation.name)
        moved.replace(self.link)
        for path in self.state.iterdir():
            found = _GENERATION.match(path.name)
            if found and not path.name.startswith(generation.name):
                path.unlink(missing_ok=True)

    def lock(self, name: str = "index.lock") -> contextlib.AbstractContextManager[None]:
        """One indexer at a time. Raises ConflictError when there is one already."""
        return only_one(self.state / name, "writes this index")

    def indexer(self) -> int | None:
        """The process that follows the tape now."""
        return holder(self.lock_file)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
