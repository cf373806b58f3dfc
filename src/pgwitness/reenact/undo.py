"""What a write touches on a copy that is as it was before it: its rows before, and after.

All of it happens in one transaction that is rolled back. Nothing here commits, and the statement is an UPDATE
or a DELETE and nothing else, so nothing in it can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import psycopg
from msgspec import Struct, field, json
from psycopg import errors, generators
from psycopg.pq import ExecStatus

from pgwitness.errors import ConflictError, NotFoundError, UnavailableError
from pgwitness.reenact import touching
from pgwitness.reenact.chosen import Bound, Chosen, Value
from pgwitness.reenact.run import parameters_of
from pgwitness.reenact.target import connect
from pgwitness.reenact.touching import OWN_COLUMNS, Write

_TEXT: Final = 25
_NAME: Final = b"pgwitness undo"
_TABLE: Final = """
    SELECT n.nspname, c.relkind, c.oid::pg_catalog.regclass,
           pg_catalog.to_json(ARRAY(
               SELECT a.attname FROM pg_catalog.pg_index AS i, pg_catalog.pg_attribute AS a
               WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary
                 AND a.attrelid OPERATOR(pg_catalog.=) c.oid
                 AND a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[])
               ORDER BY pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum))),
           pg_catalog.to_json(ARRAY(
               SELECT t.tgname FROM pg_catalog.pg_trigger AS t
               WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid AND NOT t.tgisinternal)),
           pg_catalog.to_json(ARRAY(
               SELECT f.conrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_constraint AS f
               WHERE f.confrelid OPERATOR(pg_catalog.=) c.oid
                 AND f.contype OPERATOR(pg_catalog.=) 'f'::pg_catalog."char"
                 AND (f.confupdtype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[])
                      OR f.confdeltype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[])))),
           c.relrowsecurity
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)::pg_catalog.oid
"""
"""Runs under the session's search_path, so that the name means what it meant; nothing else in it may."""

Row = list[str | None]
Keep = Callable[[list[str], Row], None]
"""Gets the names of the columns and the values before, of every row."""


class Shown(Struct):
    key: dict[str, str | None]
    """The primary key, or where the row was: ``ctid``."""
    before: dict[str, str | None]
    after: dict[str, str | None] | None
    """null: it is deleted, or the statement did not get to it."""


class Undo(Struct):
    """What ``pgwitness undo --format json`` prints."""

    session: str
    seq: int
    into: str
    sql: str
    command: str
    table: str
    select: str
    key: list[str]
    columns: list[str]
    rows: int
    """That the SELECT finds."""
    touched: int | None
    """That the statement touched here; null: it failed."""
    recorded: int | None
    """That it touched on record."""
    agree: bool
    """SELECT and statement name the same rows, and as many as on record."""
    problem: str | None
    shown: list[Shown]
    notes: list[str] = field(default_factory=list)


def undo(chosen: Chosen, dsn: str, into: str, *, limit: int = 50, keep: Keep | None = None) -> Undo:
    """``into`` is what the copy is called. At most ``limit`` rows are held; ``keep`` gets all of them, as
    they were before. Raises InvalidError for a statement whose rows no SELECT tells, ConflictError for one
    that this copy does not take, NotFoundError for a table that is not there, UnavailableError."""
    write = touching.understand(chosen.bound.sql, chosen.prepared)
    try:
        with _Session(chosen, dsn) as session:
            return _Look(session, chosen, write, into, limit, keep).run()
    except psycopg.OperationalError as error:
        raise UnavailableError(f"the copy does not answer: {_said(error)}") from None


class _Session:
    """A connection that is set as the session was, all of it in a transaction that is rolled back."""

    def __init__(self, chosen: Chosen, dsn: str) -> None:
        self._chosen = chosen
        given = parameters_of(chosen.header)
        asked = [given.pop("options", "")]
        encoding = given.pop("client_encoding", "UTF8")
        application = given.pop("application_name", "")
        asked += [f"-c {name}={_escaped(value)}" for name, value in given.items()]
        self.connection = connect(
            dsn,
            options=" ".join(filter(None, asked)),
            client_encoding=encoding,
            application_name=application,
        )

    def __enter__(self) -> _Session:
        try:
            self.connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
            for setting in (*self._chosen.settings, *self._chosen.local):
                self._set(setting)
        except BaseException:
            self.connection.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if not self.connection.closed and not self.connection.broken:
                self.connection.execute(b"ROLLBACK")
        finally:
            self.connection.close()

    def _set(self, setting: Bound) -> None:
        try:
            for _ in self.stream(setting.sql, setting.values):
                pass
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise ConflictError(
                f"the session's own setting fails on the copy ({_said(error)}): {setting.sql}"
            ) from None

    def stream(self, sql: str, values: Sequence[Value]) -> Iterator[tuple[list[str], Row]]:
        """Rows as text, with the names of their columns, one at a time."""
        connection, pgconn, encoding = self.connection, self.connection.pgconn, self.connection.info.encoding
        pgconn.send_query_params(
            sql.encode(encoding),
            [value.data for value in values],
            param_types=[value.type for value in values],
            param_formats=[value.format for value in values],
        )
        pgconn.set_single_row_mode()
        connection.wait(generators.send(pgconn))
        names: list[str] = []
        failed = None
        while (result := connection.wait(generators.fetch(pgconn))) is not None:
            if result.status == ExecStatus.FATAL_ERROR:
                failed = errors.error_from_result(result, encoding)
            for at in range(result.ntuples):
                names = names or [_text(result.fname(n), encoding) or "" for n in range(result.nfields)]
                yield names, [_text(result.get_value(at, n), encoding) for n in range(result.nfields)]
        if failed is not None:
            raise failed

    def types(self, bound: Bound) -> list[Value]:
        """The values with the types that the server finds for them in the whole statement: in a part of it,
        it might find others, or none."""
        if not bound.values:
            return []
        pgconn, encoding = self.connection.pgconn, self.connection.info.encoding
        types = [value.type for value in bound.values]
        result = pgconn.prepare(_NAME, bound.sql.encode(encoding), types)
        if result.status == ExecStatus.COMMAND_OK:
            result = pgconn.describe_prepared(_NAME)
        if result.status != ExecStatus.COMMAND_OK:
            error = errors.error_from_result(result, encoding)
            raise ConflictError(f"the copy does not take the statement: {_said(error)}")
        return [
            Value(result.param_type(at), value.format, value.data) for at, value in enumerate(bound.values)
        ]


class _Look:
    def __init__(
        self, session: _Session, chosen: Chosen, write: Write, into: str, limit: int, keep: Keep | None
    ) -> None:
        self._session, self._chosen, self._write = session, chosen, write
        self._into, self._limit, self._keep = into, limit, keep
        self._places: dict[tuple[str, str], Shown] = {}
        self._columns: list[str] = []

    def run(self) -> Undo:
        write, statement = self._write, self._chosen.statement
        schema, table, key, notes = self._table()
        values = self._session.types(self._chosen.bound) if statement.command != "EXECUTE" else []
        select = touching.select(write, schema, key)
        rows, found = self._before(select, values, key)
        touched, changed, problem = self._change(touching.change(write, schema), values)
        agree = problem is None and (rows, found) == (touched, changed)
        agree = agree and (statement.rows is None or statement.rows == rows)
        return Undo(
            session=statement.session,
            seq=statement.seq,
            into=self._into,
            sql=self._chosen.bound.sql,
            command=write.command,
            table=table,
            select=select,
            key=key or ["ctid"],
            columns=self._columns,
            rows=rows,
            touched=touched,
            recorded=statement.rows,
            agree=agree,
            problem=problem,
            shown=list(self._places.values()),
            notes=notes,
        )

    def _table(self) -> tuple[str, str, list[str], list[str]]:
        """(schema, name, primary key, what is not seen)"""
        name = self._write.name
        asked = [Value(_TEXT, 0, name.encode(self._session.connection.info.encoding))]
        found = [row for _, row in self._session.stream(_TABLE, asked)]
        if not found:
            raise NotFoundError(
                f"the copy has no table {name}, as this session would see it",
                hint="run pgwitness reenact --until first; a temporary table was its session's alone",
            )
        schema, kind, table, key, triggers, cascades, guarded = found[0]
        if kind not in ("r", "p"):
            raise ConflictError(f"{table} is no table, and its rows are not its own")
        notes = []
        for what, names in (("its triggers change", triggers), ("foreign keys change with it", cascades)):
            if listed := _names(names):
                notes.append(f"what {what} is not shown: {', '.join(listed)}")
        if guarded == "t":
            notes.append("its rows are guarded by row security, which may show others than it lets change")
        return str(schema), str(table), _names(key), notes

    def _before(self, select: str, values: Sequence[Value], key: list[str]) -> tuple[int, int]:
        count, sum = 0, 0
        for names, row in self._session.stream(select, values):
            own, cells = row[:OWN_COLUMNS], row[OWN_COLUMNS:]
            self._columns = self._columns or names[OWN_COLUMNS:]
            count, sum = count + 1, sum + _digest(own)
            if self._keep is not None:
                self._keep(self._columns, cells)
            if count <= self._limit:
                before = dict(zip(self._columns, cells, strict=True))
                named = {name: before[name] for name in key} if key else {"ctid": own[1]}
                self._places[str(own[0]), str(own[1])] = Shown(named, before, None)
        return count, sum % 2**64

    def _change(self, change: str, values: Sequence[Value]) -> tuple[int | None, int, str | None]:
        """Runs it. (rows that it touched, which, why it failed)"""
        count, sum = 0, 0
        try:
            for names, row in self._session.stream(change, values):
                own, cells = row[:OWN_COLUMNS], row[OWN_COLUMNS:]
                count, sum = count + 1, sum + _digest(own)
                shown = self._places.get((str(own[0]), str(own[1])))
                if shown is not None and self._write.command == "UPDATE":
                    shown.after = dict(zip(names[OWN_COLUMNS:], cells, strict=True))
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            return None, 0, _said(error)
        return count, sum % 2**64, None


def _digest(place: Row) -> int:
    """Summed up, it tells whether two sets of rows are the same, in whatever order they come."""
    return int.from_bytes(hashlib.blake2b(repr(place).encode(), digest_size=8).digest())


def _escaped(value: str) -> str:
    """For ``options``, where white space separates."""
    return "".join(f"\\{letter}" if letter in " \t\n\v\f\r\\" else letter for letter in value)


def _names(array: str | None) -> list[str]:
    return json.decode(array or "[]", type=list[str])


def _text(value: bytes | None, encoding: str) -> str | None:
    return None if value is None else value.decode(encoding, "backslashreplace")


def _said(error: psycopg.Error) -> str:
    state = f"{error.sqlstate}: " if error.sqlstate else ""
    return f"{state}{error.diag.message_primary or str(error).strip()}"
