"""One statement of a session, with its bound values as they were on the wire, and what it rests on: settings
that the session had made by then, and texts that it had prepared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

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

_TEXT, _BOOL = 25, 16
_TEXTS: Final = frozenset({0, 19, _TEXT, 705, 1043})
"""Types whose values are the same bytes in text and in binary."""
_CASTS: Final = {"text": _TEXTS, "varchar": _TEXTS, "bool": frozenset({0, _BOOL})}
_FALSE: Final = frozenset({b"f", b"false", b"n", b"no", b"off", b"0"})
_SET_CONFIG: Final = "SELECT pg_catalog.set_config($1, $2, $3)"
_OWN: Final = frozenset(
    {
        "TRANSACTION",
        "TRANSACTION SNAPSHOT",
        "transaction_isolation",
        "transaction_read_only",
        "transaction_deferrable",
    }
)
"""Of a transaction itself. The one in which a statement is looked at has its own."""


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


class _Made(Struct):
    """A setting: by which statement, and whether for its transaction only."""

    statement: Statement
    local: bool
    setting: Bound


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
    made: list[_Made] = []
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
                for one in made:
                    if event.first_seq <= one.statement.seq <= event.last_seq:
                        one.statement.transaction.outcome = event.outcome
            elif isinstance(event, StatementRecorded):
                statement = event.statement
                bound = Bound(statement.sql, wire.take(statement.message))
                if statement.seq == seq:
                    return _chosen(header, statement, bound, assembler.encoding, made, prepared)
                if statement.status == "ok" and statement.command == "PREPARE":
                    _note_prepared(prepared, statement.sql)
                elif statement.status == "ok" and statement.command == "DISCARD ALL":
                    made.clear()  # as it was at log-in
                elif statement.status == "ok" and not statement.truncated:
                    made += _made(statement, bound, assembler.encoding)
    raise NotFoundError(f"session {header.get('session')} has no statement {seq} on record")


def _chosen(
    header: dict[str, Any],
    statement: Statement,
    bound: Bound,
    encoding: str,
    made: list[_Made],
    prepared: dict[str, str],
) -> Chosen:
    if not header:
        raise ConflictError("the beginning of that session is not on record")
    if statement.truncated:
        raise ConflictError(f"statement {statement.seq} is too long to be read whole")
    chosen = Chosen(header, statement, bound, encoding, prepared=prepared)
    for one in made:
        earlier = one.statement.transaction
        if earlier.number == statement.transaction.number and earlier.outcome == "open":
            chosen.local.append(one.setting)
        elif earlier.outcome == "committed" and not one.local:
            chosen.settings.append(one.setting)
    return chosen


def _note_prepared(prepared: dict[str, str], sql: str) -> None:
    for statement in _parse(sql):
        if isinstance(statement.stmt, ast.PrepareStmt) and statement.stmt.name:
            prepared[statement.stmt.name] = sql


def _made(statement: Statement, bound: Bound, encoding: str) -> list[_Made]:
    """The settings that it makes; none where it is, or may do, anything else."""
    if statement.command not in ("SET", "RESET") and "set_config" not in statement.sql:
        return []
    parsed = _parse(statement.sql)
    tree = parsed[0].stmt if len(parsed) == 1 else None
    if isinstance(tree, ast.VariableSetStmt):
        return [] if tree.name in _OWN else [_Made(statement, bool(tree.is_local), bound)]
    if not isinstance(tree, ast.SelectStmt):
        return []
    targets: Any = tree.targetList
    if not targets or not _says_no_more(tree, ("targetList", "limitOption", "op")):
        return []
    calls = [_call(target.val, bound.values, encoding) for target in targets]
    return [_Made(statement, *call) for call in calls if call is not None] if all(calls) else []


def _says_no_more(node: Any, names: tuple[str, ...]) -> bool:
    return not any(getattr(node, name) for name in node if name not in (*names, "location"))


def _call(node: Any, values: list[Value], encoding: str) -> tuple[bool, Bound] | None:
    """Of set_config() with three constants or parameters: whether it is for its transaction only, and what is
    called for it, which is PostgreSQL's own function whatever the session's search_path has by that name."""
    if not isinstance(node, ast.FuncCall) or not _says_no_more(node, ("funcname", "args", "funcformat")):
        return None
    name = [part.sval for part in node.funcname or ()]
    given = node.args or ()
    if name not in (["set_config"], ["pg_catalog", "set_config"]) or len(given) != 3:
        return None
    named, value, local = (_argument(each, values, encoding) for each in given)
    if named is None or value is None or local is None or local.data is None:
        return None
    if named.type not in _TEXTS or value.type not in _TEXTS or local.type not in (0, _BOOL):
        return None
    if (named.data or b"").decode("ascii", "replace").lower() in _OWN:
        return None
    lasts = local.data == b"\0" if local.format else local.data.strip().lower() in _FALSE
    flag = Value(_BOOL, 0, b"f" if lasts else b"t")
    return not lasts, Bound(_SET_CONFIG, [Value(_TEXT, 0, named.data), Value(_TEXT, 0, value.data), flag])


def _argument(node: Any, values: list[Value], encoding: str) -> Value | None:
    """None if it is neither a constant nor a parameter."""
    if isinstance(node, ast.TypeCast):
        kind: Any = node.typeName
        types = _CASTS.get(kind.names[-1].sval)
        plain = types is not None and not kind.typmods and not kind.arrayBounds and not kind.setof
        inner = _argument(node.arg, values, encoding) if plain else None
        return inner if inner is not None and types is not None and inner.type in types else None
    if isinstance(node, ast.ParamRef):
        at = (node.number or 0) - 1
        return values[at] if 0 <= at < len(values) else None
    if not isinstance(node, ast.A_Const):
        return None
    constant: Any = node.val
    if node.isnull:
        return Value(0, 0, None)
    if isinstance(constant, ast.Boolean):
        return Value(_BOOL, 0, b"t" if constant.boolval else b"f")
    text: Any = constant.sval if isinstance(constant, ast.String) else None
    return None if text is None else Value(0, 0, text.encode(encoding))


def _parse(sql: str) -> Any:
    try:
        return pglast.parse_sql(sql)
    except (ParseError, UnicodeError, ValueError, RecursionError):
        return ()
