"""The blast radius: what a session, a run, an identity or a span of time wrote, read and changed.

Numbers are those of the server's own command tags, and count for what was committed; what was not stands
apart. What they leave out is said for what is in the scope, in ``unseen``. docs/blast-radius.md describes the
document.
"""

from typing import Any

from sqlalchemy import Connection

from pgwitness.errors import InvalidError
from pgwitness.index.filters import FILTERS, Filters
from pgwitness.index.search import Search
from pgwitness.index.store import IndexReader
from pgwitness.index.times import of_datetime
from pgwitness.review.blast.groups import Behind, Change, Piece, behind, changes, groups, sessions
from pgwitness.review.blast.tally import SELECT_INTO, Entry, Key, Tally, change_kind
from pgwitness.review.blast.unseen import circumstances, unseen

CHANGES_SHOWN = 200
SQL_SHOWN = 2000
"""Characters of each statement in the document."""
SCOPES = ("session", "run", "identity", "connection", "since", "until")


def blast_radius(index: IndexReader, filters: Filters) -> dict[str, Any]:
    """The document. Raises InvalidError where the filters name no scope, NotFoundError, ConflictError."""
    if all(getattr(filters, name) is None for name in SCOPES):
        raise InvalidError(
            "a blast radius needs a scope",
            hint="name a session, or give --run, --identity, --connection, --since or --until",
        )
    if filters.session is not None:
        filters = filters.with_session(index.resolve(filters.session, filters.scope))
    tally = Tally()
    with index.connection() as connection:
        if connection is None:
            return _document(filters, tally, {}, [], 0, [])
        changed: list[Change] = []
        numbers: set[int] = set()
        for piece in Search(connection, filters).pieces():
            changed += _take(connection, piece, tally, CHANGES_SHOWN - len(changed))
            numbers |= sessions(connection, piece)
        told = behind(connection, [*_examples(tally)])
        sentences = unseen(tally, circumstances(connection, filters), filters)
    return _document(filters, tally, told, changed, len(numbers), sentences)


def _take(connection: Connection, piece: Piece, tally: Tally, limit: int) -> list[Change]:
    """Add a piece of the scope; what it changed beside rows."""
    commands, also = set(), []
    for group in groups(connection, piece, by_text=tally.reads_texts):
        command = tally.add(group)
        if command == SELECT_INTO:
            also.append(group.example)
        elif command:
            commands.add(command)
    if limit <= 0 or not (commands or also):
        return []
    found = changes(connection, piece, commands, also, limit)
    return [each if each.command != "SELECT" else each._replace(command=SELECT_INTO) for each in found]


def _document(
    filters: Filters,
    tally: Tally,
    told: dict[int, Behind],
    changed: list[Change],
    sessions_named: int,
    sentences: list[str],
) -> dict[str, Any]:
    open_ends = [
        {**_entry(key, entry, told), "outcome": outcome}
        for (key, outcome), entry in tally.not_committed.items()
    ]
    return {
        "scope": _scope(filters),
        "first": tally.first,
        "last": tally.last,
        "sessions": sessions_named,
        "statements": tally.statements,
        "failed": tally.failed,
        "writes": sorted((_entry(key, entry, told) for key, entry in tally.writes.items()), key=_size),
        "not_committed": sorted(open_ends, key=_size),
        "reads": _reads(tally),
        "schema_changes": [_change(each) for each in changed],
        "schema_changes_total": sum(tally.changes.values()),
        "unseen": sentences,
    }


def _scope(filters: Filters) -> dict[str, Any]:
    given = {each.name: getattr(filters, each.name) for each in FILTERS}
    return {
        name: of_datetime(value) if name in ("since", "until") else value
        for name, value in given.items()
        if value is not None
    }


def _entry(key: Key, entry: Entry, told: dict[int, Behind]) -> dict[str, Any]:
    connection, database, table, command = key
    return {
        "table": table,
        "command": command,
        "rows": entry.rows,
        "uncounted": entry.uncounted,
        "statements": entry.statements,
        "connection": connection,
        "database": database,
        "largest": [
            _behind(told[number], rows, like - 1) for rows, number, like in entry.largest if number in told
        ],
    }


def _behind(statement: Behind, rows: int | None, like: int) -> dict[str, Any]:
    return {
        "session": statement.session,
        "seq": statement.seq,
        "at": statement.at,
        "rows": rows,
        "like_it": like,
        "sql": statement.sql[:SQL_SHOWN],
    }


def _size(entry: dict[str, Any]) -> tuple[Any, ...]:
    """The largest first."""
    return -entry["rows"], -entry["uncounted"], entry["table"] or "", entry["command"]


def _reads(tally: Tally) -> list[dict[str, Any]]:
    found = [
        {
            "table": table,
            "columns": list(read.columns) if read.columns_known else None,
            "rows": read.rows,
            "statements": read.statements,
            "connection": connection,
            "database": database,
        }
        for (connection, database, table), read in tally.reads.items()
    ]
    return sorted(found, key=lambda read: (-read["rows"], -read["statements"], read["table"]))


def _examples(tally: Tally) -> set[int]:
    entries = [*tally.writes.values(), *tally.not_committed.values()]
    return {number for entry in entries for _, number, _ in entry.largest}


def _change(change: Change) -> dict[str, Any]:
    return {
        "session": change.session,
        "seq": change.seq,
        "at": change.at,
        "kind": change_kind(change.command),
        "command": change.command,
        "sql": change.sql[:SQL_SHOWN],
        "outcome": change.outcome,
        "status": change.status,
        "connection": change.connection,
        "database": change.database,
    }
