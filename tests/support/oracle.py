"""The server's own log as the oracle: what PostgreSQL says that it ran, and in what order.

With ``log_statement = all`` the server logs a simple Query message once, before it runs, and every Execute of
the extended protocol with its bound parameters. It never logs a message that it cannot parse.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SETTINGS = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_directory": "log",
    "log_filename": "server.log",
    "log_rotation_size": "0",
    "log_rotation_age": "0",
    "log_statement": "all",
    "log_min_duration_statement": "-1",
    "log_duration": "off",
    "log_parameter_max_length": "-1",
    "log_file_mode": "0644",
}

Kind = Literal["simple", "execute", "fetch", "function"]

_seen: dict[Path, tuple[int, list["Logged"]]] = {}
"""How far each log was read, and what stands there: logs only grow, and one test writes 110 MB into them."""

_EXECUTE = re.compile(r"execute (fetch from )?(?P<name>[^:]*?): (?P<sql>.*)", re.DOTALL)
_PARAMETER = re.compile(r"\$\d+ = (?:NULL|'((?:[^']|'')*)')", re.DOTALL)


@dataclass(frozen=True)
class Logged:
    """One statement that the server ran."""

    session: str
    """The server's session id (%c): start time and pid, in hexadecimal."""
    pid: int
    kind: Kind
    sql: str
    prepared: str
    portal: str
    parameters: tuple[str | None, ...]
    user: str
    database: str
    application: str
    at: str


def read(path: Path) -> list[Logged]:
    """Every statement in the log, in the log's order, which is each session's order."""
    offset, entries = _seen.get(path, (0, []))
    with path.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            if not line.endswith(b"\n"):
                break  # the collector is still writing this one
            offset += len(line)
            entry = _parse(json.loads(line))
            if entry is not None:
                entries.append(entry)
    _seen[path] = offset, entries
    return list(entries)


def by_session(entries: Iterable[Logged]) -> dict[int, list[Logged]]:
    """pid → its statements."""
    grouped: dict[int, list[Logged]] = {}
    for entry in entries:
        grouped.setdefault(entry.pid, []).append(entry)
    return grouped


def _parse(line: dict[str, Any]) -> Logged | None:
    message = line.get("message", "")
    if line.get("error_severity") != "LOG" or line.get("backend_type") != "client backend":
        return None
    prepared = portal = ""
    kind: Kind
    if message.startswith("statement: "):
        kind, sql = "simple", message.removeprefix("statement: ")
    elif message.startswith("fastpath function call: "):
        kind, sql = "function", message.removeprefix("fastpath function call: ")
    elif found := _EXECUTE.fullmatch(message):
        kind, sql = ("fetch" if found[1] else "execute"), found["sql"]
        prepared, _, portal = found["name"].partition("/")
        prepared = "" if prepared == "<unnamed>" else prepared
    else:
        return None
    return Logged(
        session=line["session_id"],
        pid=line["pid"],
        kind=kind,
        sql=sql,
        prepared=prepared,
        portal=portal,
        parameters=_parameters(line.get("detail", "")),
        user=line.get("user", ""),
        database=line.get("dbname", ""),
        application=line.get("application_name", ""),
        at=line["timestamp"],
    )


def _parameters(detail: str) -> tuple[str | None, ...]:
    if not detail.lower().startswith("parameters:"):
        return ()
    return tuple(
        None if found[0].endswith("= NULL") else found[1].replace("''", "'")
        for found in _PARAMETER.finditer(detail)
    )
