"""What of a statement's answer must differ when it is run again: times, random values, numbers of sequences,
identifiers of the server.

Known by the statement's text, as PostgreSQL's parser sees it; by the types of the result's columns; by where
the values came from (a column that fills itself); and of a time, by its being within the run that gave it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct
from pglast import parser

_TIME, _RANDOM, _SEQUENCE, _SERVER, _PLACE = (
    "the time at which it ran",
    "random values",
    "numbers of a sequence",
    "identifiers and state of the server",
    "who runs it, and where",
)
_CALLS: Final = {
    _TIME: """now clock_timestamp statement_timestamp transaction_timestamp timeofday age""",
    _RANDOM: """random random_normal gen_random_uuid uuidv4 uuidv7 uuid_generate_v1 uuid_generate_v1mc
        uuid_generate_v4 gen_random_bytes gen_salt""",
    _SEQUENCE: """nextval currval lastval setval""",
    _SERVER: """pg_backend_pid txid_current txid_current_if_assigned txid_current_snapshot pg_current_xact_id
        pg_current_xact_id_if_assigned pg_current_snapshot pg_export_snapshot pg_current_wal_lsn
        pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_last_wal_replay_lsn pg_postmaster_start_time
        pg_conf_load_time version pg_relation_size pg_table_size pg_indexes_size pg_total_relation_size
        pg_database_size pg_tablespace_size pg_relation_filepath pg_relation_filenode lo_creat lo_create
        lo_import lo_from_bytea pg_notification_queue_usage pg_control_system pg_control_checkpoint
        pg_my_temp_schema pg_blocking_pids""",
    _PLACE: """current_database current_user session_user inet_client_addr inet_client_port inet_server_addr
        inet_server_port""",
}
_FUNCTIONS: Final = {name: why for why, names in _CALLS.items() for name in names.split()}
_KEYWORDS: Final = {"USER": _PLACE, "ROLE": _PLACE, "CATALOG": _PLACE, "SCHEMA": None}
"""SQLValueFunction by the words in its kind; the others are times."""
_SYSTEM_COLUMNS: Final = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
_IDENTIFIERS: Final = """oid xid xid8 cid tid pg_lsn pg_snapshot txid_snapshot refcursor regclass regtype
    regproc regprocedure regnamespace regrole regoper regoperator regconfig regdictionary regcollation"""
_TYPES: Final = frozenset(_IDENTIFIERS.split())
_TEMPORAL: Final = frozenset({"timestamptz", "timestamp", "date", "timetz", "time"})
_CATALOGS: Final = ("pg_catalog.pg_stat", "pg_catalog.pg_locks", "pg_catalog.pg_settings")
_SLACK: Final = timedelta(seconds=2)
_ZONES: Final = timedelta(hours=15)
"""A time without its zone may be in any."""
_LONGEST: Final = 100_000
ORDER: Final = "the order of rows"
PLANS: Final = "plans and timings"


class Volatile(Struct, frozen=True):
    """What a text calls whose value is another each time."""

    columns: tuple[str | None, ...] = ()
    """By column of its result; empty where it cannot be told."""
    body: str | None = None
    """Anywhere else in it."""

    def of(self, column: int) -> str | None:
        """Of a value of its result. Anywhere else, it decides which rows there are, not what is in them."""
        return self.columns[column] if column < len(self.columns) else None

    @property
    def any(self) -> str | None:
        return self.body or next((why for why in self.columns if why), None)


NOTHING: Final = Volatile()


@lru_cache(2048)
def volatile(sql: str) -> Volatile:
    """``NOTHING`` also of what the parser does not understand."""
    if len(sql) > _LONGEST:
        return NOTHING
    try:
        statements = msgspec.json.decode(parser.parse_sql_json(sql))["stmts"]
    except (parser.ParseError, UnicodeError, ValueError, RecursionError):
        return NOTHING
    if len(statements) != 1:
        return NOTHING
    ((node, tree),) = statements[0]["stmt"].items()
    key = "targetList" if node == "SelectStmt" else "returningClause"
    listed = tree.get(key) or []
    targets = listed.get("exprs", []) if isinstance(listed, dict) else listed
    body = _first({name: value for name, value in tree.items() if name != key})
    if any(
        "A_Star" in str(target.get("ResTarget", {}).get("val", {}).get("ColumnRef")) for target in targets
    ):
        return Volatile((), body or _first(targets))
    return Volatile(tuple(_first(target) for target in targets), body)


def _first(tree: Any) -> str | None:
    return next(_reasons(tree), None)


def _reasons(tree: Any) -> Iterator[str]:
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            if "funcname" in item:
                names = [part.get("String", {}).get("sval", "") for part in item["funcname"]]
                if names[:-1] in ([], ["pg_catalog"]) and names[-1] in _FUNCTIONS:
                    yield _FUNCTIONS[names[-1]]
            if "SQLValueFunction" in item and (why := _keyword(item["SQLValueFunction"].get("op", ""))):
                yield why
            if "ColumnRef" in item:
                fields = item["ColumnRef"].get("fields", [])
                if fields and fields[-1].get("String", {}).get("sval") in _SYSTEM_COLUMNS:
                    yield _SERVER
            stack.extend(value for value in item.values() if isinstance(value, dict | list))


def _keyword(kind: str) -> str | None:
    for word, why in _KEYWORDS.items():
        if word in kind:
            return why
    return _TIME


def of_type(name: str) -> str | None:
    """Of a column's type. One that is not built in stands there as its OID."""
    return _SERVER if name.removesuffix("[]") in _TYPES else None


def of_default(expression: str) -> str | None:
    """Of what fills a column by itself."""
    return volatile(f"SELECT {expression}").any


def of_tables(tables: list[str]) -> str | None:
    """Of reading nothing but the server's own state."""
    return _SERVER if tables and all(table.startswith(_CATALOGS) for table in tables) else None


class Window:
    """From the beginning of a run to now. A value within it is the time at which it ran."""

    def __init__(self, begins: datetime) -> None:
        self._begins = begins
        self.ends = begins

    def holds(self, type: str, value: str) -> bool:
        if type not in _TEMPORAL:
            return False
        begins, ends = self._begins - _SLACK, self.ends + _SLACK
        try:
            if type in ("time", "timetz"):
                return _clock(value, begins, ends)
            moment = datetime.fromisoformat(value)
        except ValueError:
            return False
        if type == "date":
            return (begins - _ZONES).date() <= moment.date() <= (ends + _ZONES).date()
        if moment.tzinfo is None:
            return begins - _ZONES <= moment.replace(tzinfo=UTC) <= ends + _ZONES
        return begins <= moment <= ends


def _clock(value: str, begins: datetime, ends: datetime) -> bool:
    """A time of day, in UTC or with its zone."""
    moment = datetime.fromisoformat(f"{ends:%Y-%m-%d}T{value}")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return any(begins <= moment + timedelta(days=days) <= ends for days in (-1, 0, 1))


TIME: Final = _TIME
SEQUENCE: Final = _SEQUENCE
