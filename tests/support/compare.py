"""The record against the server's own log, session by session: none missed, none invented, the same order."""

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pglast

from support.oracle import Logged, by_session

Record = dict[str, Any]

NEVER_RAN = {"skipped", "error", "cancelled", "unfinished"}
"""A statement of this status may be missing from the server's log: it logs what it begins to run, and refuses
what it cannot parse or bind before that."""


def headers(state: Path) -> dict[str, Record]:
    """Session id → its header on the tape."""
    from pgwitness._core import KIND_SESSION_STARTED, TapeReader

    reader = TapeReader(state / "tape")
    found = {}
    while frames := reader.read():
        for session, _, kind, _, _, payload in frames:
            if kind == KIND_SESSION_STARTED:
                found[str(uuid.UUID(bytes=session))] = msgspec.json.decode(payload)
    return found


def upstream_pids(state: Path) -> dict[str, int]:
    """Session id → process id of its backend."""
    return {session: header["upstream"]["pid"] for session, header in headers(state).items()}


def assert_same(record: Iterable[Record], logged: Iterable[Logged], pids: dict[str, int]) -> None:
    """Every session's statements are those of its backend's log. Both arguments must be of the same sessions:
    filter them by the same client."""
    sessions: dict[int, list[Record]] = {}
    for statement in record:
        sessions.setdefault(pids[statement["session"]], []).append(statement)
    backends = by_session(logged)
    unrecorded = backends.keys() - sessions.keys()
    assert not unrecorded, f"backends that ran statements of no recorded session: {unrecorded}"
    for pid, statements in sessions.items():
        _assert_session(statements, backends.get(pid, []))


def missing(record: Iterable[Record], logged: Iterable[Logged], pids: dict[str, int]) -> list[Logged]:
    """Statements of the log without a counterpart in the record, in order."""
    sessions: dict[int, list[Record]] = {}
    for statement in record:
        sessions.setdefault(pids[statement["session"]], []).append(statement)
    lost = []
    for pid, entries in by_session(logged).items():
        recorded, at = sessions.get(pid, []), 0
        for entry in _expanded(entries):
            found = next((n for n in range(at, len(recorded)) if _matches(recorded[n], entry)), None)
            if found is None:
                lost.append(entry)
            else:
                at = found + 1
    return lost


def _assert_session(statements: list[Record], entries: list[Logged]) -> None:
    assert [s["seq"] for s in statements] == sorted(s["seq"] for s in statements)
    fetches = sum(entry.kind == "fetch" for entry in entries)
    assert sum(s.get("fetches", 1) - 1 for s in statements) == fetches
    expected = _expanded(entries)
    at = 0
    for statement in statements:
        if statement["status"] == "skipped" and statement["protocol"] == "extended":
            continue  # a Query is logged with what is skipped of it, an Execute is not
        if at < len(expected) and _matches(statement, expected[at]):
            at += 1
            continue
        if not statement["command"] and statement["status"] == "ok":
            continue  # an empty query
        due = expected[at] if at < len(expected) else "nothing more"
        assert statement["status"] in NEVER_RAN, f"recorded, but the server's log has {due}:\n{statement}"
    assert at == len(expected), f"the server ran what is not in the record: {expected[at]}"


def _expanded(entries: Iterable[Logged]) -> list[Logged]:
    """One entry a statement: a simple Query message is logged once, whatever it holds."""
    result = []
    for entry in entries:
        if entry.kind == "simple":
            result += [_with_sql(entry, part) for part in _split(entry.sql)]
        elif entry.kind != "fetch":
            result.append(entry)
    return result


def _split(sql: str) -> list[str]:
    return [part for part in pglast.split(sql) if part.strip()] if sql.strip() else []


def _with_sql(entry: Logged, sql: str) -> Logged:
    return Logged(**{**{name: getattr(entry, name) for name in entry.__dataclass_fields__}, "sql": sql})


def _matches(statement: Record, entry: Logged) -> bool:
    if entry.kind == "function":
        return statement["protocol"] == "function"
    if _bare(statement["sql"]) != _bare(entry.sql):
        return False
    if entry.kind == "simple":
        return statement["protocol"] == "simple"
    given = statement["parameters"]
    return (
        statement["protocol"] == "extended"
        and statement["prepared"] == entry.prepared
        and statement["portal"] == entry.portal
        and len(given) == len(entry.parameters)
        and all(
            parameter["value"] == value or _spelt_otherwise(parameter, value)
            for parameter, value in zip(given, entry.parameters, strict=True)
        )
    )


def _spelt_otherwise(parameter: Record, logged: str | None) -> bool:
    """The log has the value as the server prints it, the record as the client sent it: in text form the two
    spellings of a date may differ, those of a number or a text may not."""
    if parameter.get("encoding") == "hex":
        return True
    if parameter["value"] is None or logged is None or parameter["format"] == "binary":
        return False
    return parameter["type"] not in ("text", "varchar", "int2", "int4", "int8")


def _bare(sql: str) -> str:
    return sql.strip().rstrip(";").strip()
