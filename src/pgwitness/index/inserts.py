"""Inserts that replace what is there already."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as upsert

from pgwitness.index import tables


def replacing(table: Table, columns: Iterable[str]) -> Insert:
    """An insert of these columns that replaces all but the key where the key exists."""
    statement = upsert(table)
    key = ["id"] if table is tables.sessions else list(table.primary_key.columns.keys())
    if not set(columns) - set(key):
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in columns if name not in key}
    )


def put(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(replacing(table, rows[0]), rows)


def positional(statement: Insert, columns: tuple[str, ...]) -> str:
    """The driver's text of an insert for plain tuples: a hundred thousand rows need no dictionaries."""
    compiled = statement.compile(dialect=sqlite.dialect(), column_keys=list(columns))
    assert compiled.positiontup == list(columns)
    return str(compiled)
