"""Tapes made of dialogues, and what an index makes of them."""

import contextlib
import itertools
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from pgwitness.index.filters import Filters
from pgwitness.index.follower import Follower, Pace
from pgwitness.index.location import Location
from pgwitness.index.opening import open_writer
from pgwitness.index.store import IndexReader
from pgwitness.statements.model import Statement
from support.dialogue import Dialogue
from support.tape_files import TapeWriter


def session_id(number: int) -> uuid.UUID:
    """Ids with a common head, as UUIDv7 of one moment have."""
    return uuid.UUID(f"0199aaaa-0000-7000-8000-{number * 0x010203040506 % 2**48:012x}")


def dialogue(number: int, **header: object) -> Dialogue:
    return Dialogue(session=str(session_id(number)), **header)


class Recording:
    """Dialogues on a tape, in any interleaving, each under the id in its header."""

    def __init__(self, state: Path, dialogues: Sequence[Dialogue], *, segment_bytes: int = 1 << 20) -> None:
        self.dialogues = dialogues
        self.writer = TapeWriter(state / "tape", segment_bytes=segment_bytes)
        self._ids = [uuid.UUID(json.loads(talk.frames[0][5])["session"]).bytes for talk in dialogues]
        self._next = [0] * len(dialogues)
        self._time = dialogues[0].frames[0][3] if dialogues else 0

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *exc: object) -> None:
        self.writer.crash()

    def put(self, number: int, frames: int | None = None) -> None:
        """The next frames of that dialogue, all that are left by default."""
        at = self._next[number]
        left = self.dialogues[number].frames[at:]
        for _, _, kind, _, _, payload in left if frames is None else left[:frames]:
            self._time += 1_000_000
            self.writer.append(self._ids[number], kind, self._time, payload)
            self._next[number] += 1

    def put_all(self, order: Sequence[int] = ()) -> "Recording":
        """A frame of each dialogue that ``order`` names, then what is left of all."""
        for number in order:
            self.put(number, 1)
        for number in range(len(self.dialogues)):
            self.put(number)
        return self


def record(state: Path, *dialogues: Dialogue) -> None:
    """A closed tape of one dialogue after the other."""
    Recording(state, dialogues).put_all().writer.close()


@contextlib.contextmanager
def following(state: Path, pace: Pace | None = None, **options: Any) -> Iterator[Follower]:
    _, writer = open_writer(Location(state), state / "tape")
    try:
        yield Follower(state / "tape", writer, pace, **options)
    finally:
        writer.close()


def index(state: Path) -> IndexReader:
    """An index of all that is on the tape."""
    with following(state) as follower:
        while follower.step():
            pass
        follower.snapshot()
    return IndexReader(state)


def all_statements(reader: IndexReader, **filters: Any) -> list[Statement]:
    return list(reader.iterate(Filters(**filters)))


def dump(state: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that mean something, in an order of their own."""
    engine = create_engine(f"sqlite:///{Location(state).current()}")
    with engine.begin() as connection:
        rows = {
            name: [tuple(row) for row in connection.execute(text(query))] for name, query in _DUMP.items()
        }
    engine.dispose()
    return rows


def differences(
    one: dict[str, list[tuple[Any, ...]]], other: dict[str, list[tuple[Any, ...]]]
) -> list[tuple[str, Any, Any]]:
    """Rows of two dumps that differ: (table, row of the one, row of the other)."""
    return [
        (name, left, right)
        for name in one
        for left, right in itertools.zip_longest(one[name], other[name])
        if left != right
    ]


_DUMP = {
    "sessions": "SELECT * FROM sessions ORDER BY number",
    "statements": """
        SELECT s.session, s.seq, s.position, s.started, s.duration, s.command, s.status, s.rows,
               s."transaction", s.outcome, s.reason, t.sql, s.rest
        FROM statements s JOIN texts t ON t.number = s.text ORDER BY s.session, s.seq""",
    "tables": """
        SELECT name FROM table_names ORDER BY name""",
    "events": "SELECT * FROM events ORDER BY position",
    "session_events": "SELECT * FROM session_events ORDER BY session, position, ordinal",
    "problems": "SELECT position, session, problem FROM problems ORDER BY 1, 2, 3",
}
