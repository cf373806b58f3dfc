"""How far a sink is, kept in a file of its own: ``STATE/sinks/NAME.sqlite``.

A position moves on after what lies before it has arrived, in one transaction. That transaction need not be on
stable storage: what a power failure takes back of it is sent again, under the same ids.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pgwitness.errors import UnavailableError

_SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS progress (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, started INTEGER NOT NULL, final INTEGER NOT NULL, announced INTEGER NOT NULL,
    event_position INTEGER NOT NULL, event_ordinal INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Cursor:
    """How far one session is, of those that are not told to their end."""

    session: str
    started: bool = False
    """Its start is told."""
    final: int = 0
    """Statements up to this seq are told, with what became of them."""
    announced: int = 0
    """Statements up to this seq were told as open."""
    event_position: int = -1
    event_ordinal: int = -1


@dataclass(slots=True)
class Progress:
    """What holds for all sessions."""

    begin: int
    """Position of the tape: what was recorded before is not told."""
    last_session: str = ""
    """Of the sessions in the index's order, the last one taken in."""
    last_position: int = -1
    """Where that one began."""
    events: int = 0
    """Events of the recorder below this position are told."""
    known: int = 0
    """The index was that far. One that is not, is being made anew."""


class Positions:
    """For one process at a time."""

    def __init__(self, file: Path, begin: int) -> None:
        """``begin`` is for a sink that is new. Raises UnavailableError."""
        self._file = file
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # Used by one thread at a time: the courier's, once it runs.
            self._connection = sqlite3.connect(
                file, timeout=10, isolation_level=None, check_same_thread=False
            )
            self._connection.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_TABLES}"
            )
            if not self._progress():
                self.save(Progress(begin, events=begin), [], [])
        except sqlite3.Error as error:
            raise UnavailableError(
                f"cannot use {file}: {error}", hint="if it is damaged, remove it: then the sink begins anew"
            ) from None

    def close(self) -> None:
        self._connection.close()

    def progress(self) -> Progress:
        kept = self._progress()
        return Progress(
            int(kept["begin"]),
            kept["last_session"],
            int(kept["last_position"]),
            int(kept["events"]),
            int(kept["known"]),
        )

    def cursors(self) -> dict[str, Cursor]:
        rows = self._connection.execute(
            "SELECT id, started, final, announced, event_position, event_ordinal FROM sessions"
        )
        return {row[0]: Cursor(row[0], bool(row[1]), *row[2:]) for row in rows}

    def save(self, progress: Progress, moved: Iterable[Cursor], done: Iterable[str]) -> None:
        """All of it or nothing. Raises sqlite3.Error."""
        values = [
            ("schema", str(_SCHEMA)),
            ("begin", str(progress.begin)),
            ("last_session", progress.last_session),
            ("last_position", str(progress.last_position)),
            ("events", str(progress.events)),
            ("known", str(progress.known)),
        ]
        connection = self._connection
        with closing(connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                cursor.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?)", values)
                cursor.executemany(
                    "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (
                            each.session,
                            int(each.started),
                            each.final,
                            each.announced,
                            each.event_position,
                            each.event_ordinal,
                        )
                        for each in moved
                    ],
                )
                cursor.executemany("DELETE FROM sessions WHERE id = ?", [(session,) for session in done])
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def _progress(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT name, value FROM progress"))
