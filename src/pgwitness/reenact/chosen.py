"""One statement of a session, with its bound values as they were on the wire, and what it rests on: settings
that the session had made by then, and texts that it had prepared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pglast
from msgspec import Struct, field
from pglast import ast
from pglast.parser import ParseError

from pgwitness.errors import ConflictError, NotFoundError
from pgwitness.reenact.spool import ClientMessages
from pgwitness.statements.assembler import Frame, SessionAssembler
from pgwitness.statements.documents import format_of
from pgwitness.statements.model import SessionStarted, Statement, StatementRecorded, TransactionSettled
from pgwitness.statements.state import BIND, EXECUTE, PARSE
from pgwitness.wire.codec import MalformedPayloadError
from pgwitness.wire.messages import parse_bind, parse_parse, text


class Value(Struct, frozen=True):
    """As Bind had it: the type that Parse named (0: none), the format, the bytes; None is NULL."""

    type: int
    format: int
    data: bytes | None


class Bound(Struct):
    sql: str
    values: list[Value]


class Chosen(Struct):
    header: dict[str, Any]
    statement: Statement
    bound: Bound
    encoding: str
    settings: list[Bound] = field(default_factory=list)
    """Made before its transaction, and in force."""
    local: list[Bound] = field(default_factory=list)
    """Made in its transaction."""
    prepared: dict[str, str] = field(default_factory=dict)
    """By name: texts of PREPARE."""


class _Wire:
    """What each Execute runs."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[int, ...]] = {}
        self._bound: dict[str, list[Value]] = {}
        self._executed: dict[int, list[Value]] = {}

    def see(self, ordinal: int, kind: int, payload: bytes) -> None:
        if kind == PARSE:
            name, _, types = parse_parse(payload)
            self._parsed[name] = types
        elif kind == BIND:
            portal, source, formats, values, _ = parse_bind(payload)
            types = self._parsed.get(source, ())
            self._bound[portal] = [
                Value(types[at] if at < len(types) else 0, format_of(formats, at) if formats else 0, value)
                for at, value in enumerate(values)
            ]
        elif kind == EXECUTE:
            self._executed[ordinal] = self._bound.get(text(payload), [])

    def take(self, message: int) -> list[Value]:
        return self._executed.pop(message, [])


def choose(frames: Iterable[Frame], seq: int) -> Chosen:
    """Reads the session as far as that statement. Raises NotFoundError, ConflictError."""
    assembler, messages, wire = SessionAssembler(), ClientMessages(), _Wire()
    header: dict[str, Any] = {}
    made: dict[int, tuple[Statement, Bound]] = {}
    prepared: dict[str, str] = {}
    for frame in frames:
        for ordinal, kind, payload in messages.feed(frame):
            try:
                wire.see(ordinal, kind, payload)
            except MalformedPayloadError:
                continue
        for event in assembler.feed(frame):
            if isinstance(event, SessionStarted):
                header = event.header
            elif isinstance(event, TransactionSettled):
                for statement, _ in made.values():
                    if event.first_seq <= statement.seq <= event.last_seq:
                        statement.transaction.outcome = event.outcome
            elif isinstance(event, StatementRecorded):
                statement = event.statement
                bound = Bound(statement.sql, wire.take(statement.message))
                if statement.seq == seq:
                    return _chosen(header, statement, bound, assembler.encoding, made, prepared)
                if statement.status == "ok" and statement.command == "PREPARE":
                    _note_prepared(prepared, statement.sql)
                elif statement.status == "ok" and (local := _setting(statement)) is not None:
                    statement.truncated = local
                    made[statement.seq] = statement, bound
    raise NotFoundError(f"session {header.get('session')} has no statement {seq} on record")


def _chosen(
    header: dict[str, Any],
    statement: Statement,
    bound: Bound,
    encoding: str,
    made: dict[int, tuple[Statement, Bound]],
    prepared: dict[str, str],
) -> Chosen:
    if not header:
        raise ConflictError("the beginning of that session is not on record")
    if statement.truncated:
        raise ConflictError(f"statement {statement.seq} is too long to be read whole")
    chosen = Chosen(header, statement, bound, encoding, prepared=prepared)
    for earlier, setting in made.values():
        same = earlier.transaction.number == statement.transaction.number
        if same and earlier.transaction.outcome == "open":
            chosen.local.append(setting)
        elif earlier.transaction.outcome == "committed" and not earlier.truncated:
            chosen.settings.append(setting)
    return chosen


def _note_prepared(prepared: dict[str, str], sql: str) -> None:
    for statement in _parse(sql):
        if isinstance(statement.stmt, ast.PrepareStmt) and statement.stmt.name:
            prepared[statement.stmt.name] = sql


def _setting(statement: Statement) -> bool | None:
    """Whether it sets something for its transaction only; None if it sets nothing."""
    if statement.command not in ("SET", "RESET", "DISCARD ALL") and "set_config" not in statement.sql:
        return None
    parsed = _parse(statement.sql)
    tree = parsed[0].stmt if len(parsed) == 1 else None
    if isinstance(tree, ast.VariableSetStmt):
        return bool(tree.is_local)
    if isinstance(tree, ast.DiscardStmt):
        return False
    targets: Any = tree.targetList if isinstance(tree, ast.SelectStmt) and tree.fromClause is None else None
    return False if targets and all(_sets(target.val) for target in targets) else None


def _sets(node: Any) -> bool:
    """A call of set_config()."""
    name: Any = node.funcname if isinstance(node, ast.FuncCall) else None
    return bool(name) and name[-1].sval == "set_config"


def _parse(sql: str) -> Any:
    try:
        return pglast.parse_sql(sql)
    except (ParseError, UnicodeError, ValueError, RecursionError):
        return ()
