"""Writes the index: one batch of rows is one transaction, together with how far the tape was read."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, inspect, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError

from pgwitness.index import tables
from pgwitness.index.batch import Batch
from pgwitness.index.database import connect
from pgwitness.index.discretion import Text
from pgwitness.index.erased import erase
from pgwitness.index.inserts import positional, put
from pgwitness.index.marking import REMOVED, Marker
from pgwitness.index.rows import NUMBER, SEQ, STATUS, TEXT, WRITTEN_COLUMNS, Row

FORGET_MILLISECONDS = 100
TEXTS_KEPT = 50_000
CHARACTERS_KEPT = 16_000_000
"""SQL texts whose numbers stay in memory, and how long they are together."""


@dataclass(slots=True)
class Resume:
    """Where and how an indexer goes on."""

    position: int = 0
    instance: str = ""
    """The recorder that wrote the segment of ``position``: another one there means that the tape was
    replaced."""
    sessions: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """By session number: session id, state."""


class IndexWriter:
    """The only writer of an index file. Creates its tables when there are none."""

    def __init__(self, path: Path, text: Text = "all") -> None:
        self.text: Text = text
        """How much of statements' texts its rows may hold."""
        self._engine = connect(path, writer=True)
        with self.transaction() as connection:
            if not inspect(connection).has_table("meta"):
                tables.metadata.create_all(connection)
                _put(connection, schema=str(tables.SCHEMA), text=text)
            self._last_text = connection.scalar(select(func.max(tables.texts.c.number))) or 0
            given = select(tables.meta.c.value).where(tables.meta.c.name == "number")
            self._last_number = int(connection.scalar(given) or 0)
        self._marker: Marker | None = None
        self._shown: dict[int, set[int]] = {}
        """Statements that were written unfinished, by session."""
        self._texts: dict[str, int] = {}
        self._characters = 0

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    def forget(self) -> bool:
        """Empty the write-ahead log, which may still hold what was overwritten. False if a reader is in the
        way."""
        driver: Any = self._engine.raw_connection()
        with closing(driver):
            (usual,) = driver.execute("PRAGMA busy_timeout").fetchone()
            driver.execute(f"PRAGMA busy_timeout = {FORGET_MILLISECONDS}")
            try:
                busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                driver.execute(f"PRAGMA busy_timeout = {usual}")
        return not busy

    def resume(self) -> Resume:
        """What the last ``snapshot`` left; position 0 in a new index."""
        with self.transaction() as connection:
            meta = {row.name: row.value for row in connection.execute(select(tables.meta))}
            rows = connection.execute(select(tables.snapshots)).all()
        return Resume(
            int(meta.get("resume", 0)),
            meta.get("instance", ""),
            {row.session: (row.id, row.state) for row in rows},
        )

    def position(self) -> int:
        """How far the tape was read, which may be further than ``resume``."""
        with self.transaction() as connection:
            value = connection.scalar(select(tables.meta.c.value).where(tables.meta.c.name == "position"))
        return int(value or 0)

    def last_session(self) -> int:
        """The highest session number, 0 when there is none."""
        column = tables.sessions.c.number
        with self.transaction() as connection:
            return connection.scalar(select(column).order_by(column.desc()).limit(1)) or 0

    def session_number(self, session: str) -> int | None:
        with self.transaction() as connection:
            return connection.scalar(select(tables.sessions.c.number).where(tables.sessions.c.id == session))

    def write(self, connection: Connection, batch: Batch, position: int) -> None:
        """A batch; ``position`` is how far the tape is read. Rows that are there already are replaced."""
        marker = self._marker = self._marker or Marker(connection)
        put(connection, tables.sessions, batch.started)
        if batch.started:
            marker.changed(numbers_of(connection, [row["id"] for row in batch.started]))
        for withdrawn in batch.withdrawn:
            later = _STATEMENT.session == withdrawn["number"], _STATEMENT.seq > withdrawn["last"]
            self._remove(connection, connection.execute(select(*REMOVED).where(*later)).all())
        if batch.statements:
            self._add(connection, batch)
        for settled in batch.settled:
            marker.settle(connection, connection.execute(_SETTLE, settled).all(), settled["new_outcome"])
        marker.flush(connection)
        if batch.counts:
            connection.execute(_COUNT, list(batch.counts.values()))
        if batch.ended:
            connection.execute(_END, batch.ended)
            for ended in batch.ended:
                self._shown.pop(ended["of"], None)
        put(connection, tables.session_events, batch.session_events)
        put(connection, tables.events, batch.events)
        put(connection, tables.problems, batch.problems)
        if batch.erased:
            marker.changed(erase(connection, batch.erased, marker))
            self._texts.clear()
            self._characters = 0
        _put(connection, position=str(position), number=str(self._last_number))

    def snapshot(self, connection: Connection, resume: Resume, gone: Iterable[int]) -> None:
        """Where to go on from. Sessions neither in ``resume`` nor ``gone`` keep the snapshot that they
        have."""
        ended = [{"number": number} for number in gone]
        if ended:
            column = tables.snapshots.c.session
            connection.execute(delete(tables.snapshots).where(column == bindparam("number")), ended)
        put(
            connection,
            tables.snapshots,
            [
                {"session": number, "id": id, "state": state}
                for number, (id, state) in resume.sessions.items()
            ],
        )
        _put(connection, resume=str(resume.position), instance=resume.instance)

    def _add(self, connection: Connection, batch: Batch) -> None:
        marker = self._marker
        assert marker is not None
        rows: list[Row] = []
        for session, some in batch.statements.items():
            shown = self._shown.get(session)
            if shown and not shown.isdisjoint(some):
                self._remove_these(connection, session, some)
                shown.difference_update(some)
            rows += some.values()
        fresh = self._number_texts(connection, rows)
        marker.add(connection, rows, fresh)
        for row in rows:
            self._last_number = row[NUMBER] = self._last_number + 1
            if row[STATUS] == "unfinished":
                self._shown.setdefault(row[0], set()).add(row[SEQ])
        values = [tuple(row[: len(WRITTEN_COLUMNS)]) for row in rows]
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(_INSERT_STATEMENT, values)
        except IntegrityError:
            # What was read after the last snapshot is read again after a crash, and rows that were shown as
            # running before are not known as such.
            for session, some in batch.statements.items():
                self._remove_these(connection, session, some)
            connection.exec_driver_sql(_INSERT_STATEMENT, values)

    def _remove_these(self, connection: Connection, session: int, seqs: Collection[int]) -> None:
        found = select(*REMOVED, _STATEMENT.seq).where(
            _STATEMENT.session == session, _STATEMENT.seq.between(min(seqs), max(seqs))
        )
        self._remove(connection, [row for row in connection.execute(found) if row.seq in seqs])

    def _remove(self, connection: Connection, gone: Sequence[Any]) -> None:
        if gone and self._marker:
            self._marker.remove(connection, gone)
            connection.execute(_DELETE, [{"gone": row.place} for row in gone])

    def _number_texts(self, connection: Connection, rows: list[Row]) -> set[int]:
        """Number texts; those not in memory are written, and returned."""
        known = self._texts
        fresh = []
        for row in rows:
            sql = row[TEXT]
            number = known.get(sql)
            if number is None:
                self._last_text = number = self._last_text + 1
                fresh.append((number, len(sql), sql))
                self._characters += len(sql)
                if len(known) >= TEXTS_KEPT or self._characters > CHARACTERS_KEPT:
                    known.clear()
                    self._characters = len(sql)
                known[sql] = number
            row[TEXT] = number
        if fresh:
            connection.exec_driver_sql(_INSERT_TEXT, fresh)
        return {number for number, _, _ in fresh}


def numbers_of(connection: Connection, ids: list[str]) -> list[int]:
    """Of sessions."""
    column = tables.sessions.c
    return list(connection.scalars(select(column.number).where(column.id.in_(ids))))


def _put(connection: Connection, **values: str) -> None:
    put(connection, tables.meta, [{"name": name, "value": value} for name, value in values.items()])


_STATEMENT = tables.statements.c
_QUOTED = ", ".join(f'"{name}"' for name in WRITTEN_COLUMNS)
_INSERT_STATEMENT = f"INSERT INTO statements ({_QUOTED}) VALUES ({', '.join('?' * len(WRITTEN_COLUMNS))})"
_INSERT_TEXT = positional(insert(tables.texts), ("number", "length", "sql"))
_DELETE = delete(tables.statements).where(_STATEMENT.place == bindparam("gone"))
_SETTLE = (
    update(tables.statements)
    .where(tables.statements.c.session == bindparam("of"))
    .where(tables.statements.c.transaction == bindparam("in_transaction"))
    .where(tables.statements.c.seq.between(bindparam("first"), bindparam("last")))
    .where(tables.statements.c.outcome == text("'open'"))
    .values(outcome=bindparam("new_outcome"), reason=bindparam("new_reason"))
    .returning(*REMOVED)
)
_COUNTED = ("statements", "errors", "rows_written", "last_activity", "last_position")
_COUNT = (
    update(tables.sessions)
    .where(tables.sessions.c.number == bindparam("of"))
    .values({name: bindparam(f"new_{name}") for name in _COUNTED})
)
_ENDED = ("ended", "end_reason", "end_detail")
_END = (
    update(tables.sessions)
    .where(tables.sessions.c.number == bindparam("of"))
    .values({name: bindparam(f"new_{name}") for name in _ENDED})
)
