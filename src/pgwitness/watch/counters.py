"""(c) The server's own counters of statements (pg_stat_statements), read for one role."""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from pgwitness.watch.features import literal
from pgwitness.watch.look import Look, RefusedError
from pgwitness.watch.report import Report

INSTALLED: Final = (
    "SELECT quote_ident(n.nspname) AS schema, current_database() AS database FROM pg_extension e"
    " RIGHT JOIN (VALUES (1)) AS one (x) ON e.extname = 'pg_stat_statements'"
    " LEFT JOIN pg_namespace n ON n.oid = e.extnamespace"
)
TRACKING: Final = (
    "SELECT name, setting FROM pg_settings"
    " WHERE name IN ('pg_stat_statements.track', 'pg_stat_statements.track_utility', 'compute_query_id')"
)
INFO: Final = "SELECT dealloc, stats_reset FROM {schema}.pg_stat_statements_info"
COUNTERS: Final = (
    "SELECT s.queryid, d.datname, s.calls, s.rows, left(s.query, 65536) AS query,"
    " EXTRACT(EPOCH FROM pg_postmaster_start_time()) AS boot"
    " FROM {schema}.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
    " WHERE s.userid = (SELECT oid FROM pg_roles WHERE rolname = {user}) AND s.toplevel"
)
HIDDEN: Final = "<insufficient privilege>"


class Counter(msgspec.Struct, array_like=True):
    database: str
    query: str
    """Normalised by the server; empty where it has lost the text."""
    calls: int
    rows: int


class Counters(msgspec.Struct):
    """What the server had counted at one moment, and where the tape was then."""

    moment: str
    """UTC, just before: RFC 3339."""
    position: int
    """Of the tape, just before."""
    stats_reset: str | None
    dealloc: int | None
    """How often the server gave up counters for want of room."""
    boot: str | None
    counters: dict[str, Counter]
    """By query id and database."""
    address: str
    """Of the server."""
    own: list[str]
    """What the watch itself has sent in this role."""


async def read(look: Look, user: str, moment: str, position: int, report: Report) -> Counters | None:
    """None, and the report says why, if they cannot be read. Raises LookError."""
    look.announce(INSTALLED, TRACKING)
    (found,) = await look.rows(INSTALLED)
    schema, database = found["schema"], found["database"]
    if schema is None:
        report.limit(
            f"Statements are not counted: pg_stat_statements is not installed in {database}. Load it by "
            f"shared_preload_libraries, and CREATE EXTENSION pg_stat_statements in {database}."
        )
        return None
    tracking = {str(row["name"]): row["setting"] for row in await look.rows(TRACKING)}
    if tracking.get("pg_stat_statements.track") == "none":
        report.limit("Statements are not counted: pg_stat_statements.track is none.")
    if tracking.get("pg_stat_statements.track_utility") == "off":
        report.limit("Only queries are counted, no other commands: pg_stat_statements.track_utility is off.")
    about, counted = INFO.format(schema=schema), COUNTERS.format(schema=schema, user=literal(user))
    look.announce(about, counted)
    try:
        (info,) = await look.rows(about)
        rows = await look.rows(counted)
    except RefusedError as error:
        report.limit(f"pg_stat_statements cannot be read: {error}.")
        return None
    counters = {
        f"{row['queryid']} {row['datname']}": Counter(
            str(row["datname"]), row["query"] or "", int(row["calls"] or 0), int(row["rows"] or 0)
        )
        for row in rows
    }
    if any(counter.query == HIDDEN for counter in counters.values()):
        report.limit(
            f"The statements counted for {user} are hidden: grant pg_monitor to the role that looks."
        )
        return None
    return Counters(
        moment=moment,
        position=position,
        stats_reset=info["stats_reset"],
        dealloc=int(info["dealloc"] or 0),
        boot=rows[0]["boot"] if rows else None,
        counters=counters,
        address=look.address,
        own=sorted(look.asked),
    )


def pack(counters: Counters) -> bytes:
    return zlib.compress(msgspec.json.encode(counters))


def unpack(data: bytes) -> Counters | None:
    """None for what another version packed."""
    try:
        return msgspec.json.decode(zlib.decompress(data), type=Counters)
    except (msgspec.DecodeError, zlib.error):
        return None
