"""(d) What the server can be made to do that the wire does not show: work that a recorded statement, or
nobody's statement, causes elsewhere. ``weakness``: the registered role can use it; ``note``: it is there.
"""

from __future__ import annotations

from typing import Final

from pgwitness.catalog.findings import Found, Level
from pgwitness.watch.look import Look, RefusedError
from pgwitness.watch.report import Report, key

EXTENSIONS: Final = {
    "dblink": "runs statements over connections of its own, on any server",
    "postgres_fdw": "runs statements on other PostgreSQL servers",
    "file_fdw": "reads files, and the output of programs, on the server's machine",
    "oracle_fdw": "runs statements on Oracle servers",
    "mysql_fdw": "runs statements on MySQL servers",
    "tds_fdw": "runs statements on SQL Server",
    "mongo_fdw": "runs queries on MongoDB servers",
    "redis_fdw": "reads and writes Redis",
    "multicorn": "runs Python for foreign tables",
    "pg_cron": "runs statements at set times, in nobody's session",
    "pg_background": "runs statements in background processes",
    "pgagent": "runs jobs, in nobody's session",
    "pg_net": "sends HTTP requests in the background",
    "http": "sends HTTP requests",
    "aws_s3": "reads and writes S3",
    "aws_lambda": "calls functions of AWS",
    "adminpack": "writes files on the server's machine",
    "plsh": "runs shell scripts",
    "pglogical": "copies what is written to other servers",
}

PRESENT: Final = "SELECT extname, extversion FROM pg_extension"
CALLABLE: Final = (
    "SELECT DISTINCT e.extname FROM pg_extension e"
    " JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'"
    " LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid AND e.extname !~ '_fdw$'"
    " LEFT JOIN pg_foreign_data_wrapper w"
    " ON d.classid = 'pg_foreign_data_wrapper'::regclass AND w.oid = d.objid"
    " WHERE has_function_privilege({user}, p.oid, 'EXECUTE')"
    " AND has_schema_privilege({user}, p.pronamespace, 'USAGE')"
    " OR has_foreign_data_wrapper_privilege({user}, w.oid, 'USAGE')"
)
"""The functions of a wrapper do nothing by themselves: its use is granted as such."""
SERVERS: Final = (
    "SELECT s.srvname, w.fdwname, has_server_privilege({user}, s.oid, 'USAGE') AS usable"
    " FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw"
)
LANGUAGES: Final = (
    "SELECT l.lanname, count(p.oid) AS functions,"
    " COALESCE(bool_or(has_function_privilege({user}, p.oid, 'EXECUTE')), false) AS usable"
    " FROM pg_language l LEFT JOIN pg_proc p ON p.prolang = l.oid"
    " WHERE l.lanispl AND NOT l.lanpltrusted GROUP BY l.lanname"
)
TRIGGERS: Final = (
    "SELECT evtname, evtevent, evtfoid::regproc AS function FROM pg_event_trigger WHERE evtenabled <> 'D'"
)
POWERS: Final = (
    "SELECT name, pg_has_role({user}, name, 'USAGE') AS held FROM (VALUES ('pg_execute_server_program'),"
    " ('pg_read_server_files'), ('pg_write_server_files')) AS powers (name)"
)
PRELOADED: Final = "SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'"
_POWERS: Final = {
    "pg_execute_server_program": "may run programs on the server's machine (COPY … PROGRAM)",
    "pg_read_server_files": "may read files on the server's machine (COPY … FROM)",
    "pg_write_server_files": "may write files on the server's machine (COPY … TO)",
}
_OUTSIDE: Final = ("pg_cron", "pgagent", "pg_net")
"""Loaded with the server, they work for all of its databases, whichever they are installed in."""


async def look(look: Look, user: str, report: Report) -> None:
    """Raises LookError."""
    role = literal(user)
    asked = (PRESENT, CALLABLE, SERVERS, LANGUAGES, TRIGGERS, POWERS, PRELOADED)
    look.announce(*(text.format(user=role) for text in asked))
    await _powers(look, user, role, report)
    await _extensions(look, user, role, report)
    for row in await look.rows(SERVERS.format(user=role)):
        usable = row["usable"] == "t"
        what = f"foreign server {row['srvname']} ({row['fdwname']})" + (
            f", which {user} may use" if usable else ""
        )
        _add(report, f"server {row['srvname']}", what, usable)
    for row in await look.rows(LANGUAGES.format(user=role)):
        usable = row["usable"] == "t"
        what = f"untrusted language {row['lanname']}: {row['functions']} functions in it can do anything"
        _add(
            report,
            f"language {row['lanname']}",
            what + (f", and {user} may call some" if usable else ""),
            usable,
        )
    for row in await look.rows(TRIGGERS):
        what = f"event trigger {row['evtname']} runs {row['function']} at {row['evtevent']}"
        _add(report, f"trigger {row['evtname']}", what, False)


async def _powers(look: Look, user: str, role: str, report: Report) -> None:
    for row in await look.rows(POWERS.format(user=role)):
        if row["held"] == "t":
            _add(report, f"power {row['name']}", f"{user} {_POWERS[str(row['name'])]}", True)


async def _extensions(look: Look, user: str, role: str, report: Report) -> None:
    present = {str(row["extname"]) for row in await look.rows(PRESENT)}
    callable_ = {str(row["extname"]) for row in await look.rows(CALLABLE.format(user=role))}
    for name in sorted(present & EXTENSIONS.keys()):
        usable = name in callable_
        what = f"extension {name} {EXTENSIONS[name]}" + (f"; {user} may use it" if usable else "")
        _add(report, f"extension {name}", what, usable)
    try:
        loaded = [row["setting"] or "" for row in await look.rows(PRELOADED)]
    except RefusedError:
        loaded = []
    if not loaded:
        report.limit(
            "Which libraries the server loads (pg_cron, for one) is seen with pg_read_all_settings.",
            "feature-library",
        )
    names = {part.strip() for setting in loaded for part in setting.split(",")}
    for name in sorted(names.intersection(_OUTSIDE) - present):
        _add(
            report,
            f"library {name}",
            f"the server loads {name}, which {EXTENSIONS[name]}, for another database",
            False,
        )


def _add(report: Report, name: str, what: str, usable: bool) -> None:
    level: Level = "weakness" if usable else "note"
    details = {"usable": usable}
    report.add(
        Found(
            key=key("feature", *name.split(" ", 1)), kind="feature", level=level, what=what, details=details
        )
    )


def literal(text: str) -> str:
    """A string constant of SQL, whatever standard_conforming_strings says."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in quoted else "E'" + quoted.replace("\\", "\\\\") + "'"
