"""Writes the index: one batch of rows is one transaction, together with how far the tape was read."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, bindparam, case, delete, func, insert, inspect, select, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as upsert

from pgwitness.index import tables
from pgwitness.index.batch import Batch
from pgwitness.index.database import connect
from pgwitness.index.discretion import Text
from pgwitness.index.erased import erase
from pgwitness.index.rows import COLUMNS, TEXT, Row

FORGET_MILLISECONDS = 100
NAMES_KEPT = 10_000
"""Table names whose numbers stay in memory."""
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
        self._names: dict[str, int] = {}
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
        _upsert(connection, tables.sessions, batch.started)
        if batch.withdrawn:
            connection.execute(_WITHDRAW, batch.withdrawn)
        if batch.statements:
            rows = [row for rows in batch.statements.values() for row in rows.values()]
            self._number_texts(connection, rows)
            connection.exec_driver_sql(_INSERT_STATEMENT, [tuple(row) for row in rows])
        if batch.tables:
            named = [(self._name(connection, name), number, seq) for name, number, seq in batch.tables]
            connection.exec_driver_sql(_INSERT_STATEMENT_TABLE, named)
        if batch.settled:
            connection.execute(_SETTLE, batch.settled)
        if batch.counts:
            connection.execute(_COUNT, list(batch.counts.values()))
        if batch.ended:
            connection.execute(_END, batch.ended)
        _upsert(connection, tables.session_events, batch.session_events)
        _upsert(connection, tables.events, batch.events)
        _upsert(connection, tables.problems, batch.problems)
        if batch.erased:
            erase(connection, batch.erased)
            self._texts.clear()
            self._characters = 0
        if batch.timeline:
            spans = [
                {"time": at, "first": first, "last": last} for at, (first, last) in batch.timeline.items()
            ]
            connection.execute(_WIDEN, spans)
        _put(connection, position=str(position))

    def snapshot(self, connection: Connection, resume: Resume, gone: Iterable[int]) -> None:
        """Where to go on from. Sessions neither in ``resume`` nor ``gone`` keep the snapshot that they
        have."""
        ended = [{"number": number} for number in gone]
        if ended:
            column = tables.snapshots.c.session
            connection.execute(delete(tables.snapshots).where(column == bindparam("number")), ended)
        _upsert(
            connection,
            tables.snapshots,
            [
                {"session": number, "id": id, "state": state}
                for number, (id, state) in resume.sessions.items()
            ],
        )
        _put(connection, resume=str(resume.position), instance=resume.instance)

    def _number_texts(self, connection: Connection, rows: list[Row]) -> None:
        """Replace texts by their numbers; those not in memory are written."""
        known = self._texts
        fresh = []
        for row in rows:
            sql = row[TEXT]
            number = known.get(sql)
            if number is None:
                self._last_text = number = self._last_text + 1
                fresh.append((number, sql))
                self._characters += len(sql)
                if len(known) >= TEXTS_KEPT or self._characters > CHARACTERS_KEPT:
                    known.clear()
                    self._characters = len(sql)
                known[sql] = number
            row[TEXT] = number
        if fresh:
            connection.exec_driver_sql(_INSERT_TEXT, fresh)

    def _name(self, connection: Connection, name: str) -> int:
        number = self._names.get(name)
        if number is None:
            names = tables.table_names
            number = connection.scalar(select(names.c.number).where(names.c.name == name))
            if number is None:
                number = connection.scalar(insert(names).values(name=name).returning(names.c.number)) or 0
            if len(self._names) >= NAMES_KEPT:
                self._names.clear()
            self._names[name] = number
        return number


def _replacing(table: Table, columns: Iterable[str]) -> Insert:
    """An insert of these columns that replaces all but the key where the key exists."""
    statement = upsert(table)
    key = _key(table)
    if not set(columns) - set(key):
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in columns if name not in key}
    )


def _key(table: Table) -> list[str]:
    if table is tables.statements:
        return ["session", "seq"]
    return ["id"] if table is tables.sessions else list(table.primary_key.columns.keys())


def _upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(_replacing(table, rows[0]), rows)


def _put(connection: Connection, **values: str) -> None:
    _upsert(connection, tables.meta, [{"name": name, "value": value} for name, value in values.items()])


def _positional(statement: Insert, columns: tuple[str, ...]) -> str:
    """The driver's text of an insert for plain tuples: a hundred thousand rows need no dictionaries."""
    compiled = statement.compile(dialect=sqlite.dialect(), column_keys=list(columns))
    assert compiled.positiontup == list(columns)
    return str(compiled)


_INSERT_STATEMENT = _positional(_replacing(tables.statements, COLUMNS), COLUMNS)
_INSERT_TEXT = _positional(upsert(tables.texts), ("number", "sql"))
_INSERT_STATEMENT_TABLE = _positional(
    upsert(tables.statement_tables).on_conflict_do_nothing(), ("table", "session", "seq")
)
_span = upsert(tables.timeline)
_WIDEN = _span.on_conflict_do_update(
    index_elements=["time"],
    set_={
        "first": case(
            (_span.excluded.first < tables.timeline.c.first, _span.excluded.first),
            else_=tables.timeline.c.first,
        ),
        "last": case(
            (_span.excluded.last > tables.timeline.c.last, _span.excluded.last), else_=tables.timeline.c.last
        ),
    },
)
_SETTLE = (
    update(tables.statements)
    .where(tables.statements.c.session == bindparam("of"))
    .where(tables.statements.c.transaction == bindparam("in_transaction"))
    .where(tables.statements.c.seq.between(bindparam("first"), bindparam("last")))
    .where(tables.statements.c.outcome == text("'open'"))
    .values(outcome=bindparam("new_outcome"), reason=bindparam("new_reason"))
)
_WITHDRAW = (
    delete(tables.statements)
    .where(tables.statements.c.session == bindparam("number"))
    .where(tables.statements.c.seq > bindparam("last"))
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
