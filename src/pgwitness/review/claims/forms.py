"""One form for a claim and for a recorded statement: PostgreSQL's parse tree without places, its constants
and parameters taken out as slots.

Two texts have the same skeleton if they differ in nothing but white space, comments, letters' case, and
literals or bound values; what stood in the slots is compared apart (``values``). The skeleton is kept by
clause, so that it can be told which clause differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from json.encoder import encode_basestring_ascii
from typing import Any, Final

import msgspec
from msgspec import Struct
from pglast import parser

from pgwitness.review.claims.chores import Setting, depends, is_chore, is_odd, setting_of
from pgwitness.review.claims.model import UNSAID
from pgwitness.review.claims.values import Value, rough
from pgwitness.statements.builtins import HARMLESS
from pgwitness.statements.commands import command_of
from pgwitness.statements.sql import describe

PARSED: Final = 1 << 18
"""Characters. A parse tree takes up to two hundred times its text's memory; a longer text is compared as it
is."""
_CACHED_TEXT: Final = 8192
_CACHE_ENTRIES: Final = 16_384
_READS: Final = {"SELECT", "SHOW", "EXPLAIN", "FETCH", "MOVE", "CLOSE CURSOR"}
_WRITING: Final = {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}


class Slot(Struct, frozen=True):
    """A place in a text where a value stands."""

    clause: str
    near: str
    """The column that it is compared with or given to, if that can be told."""
    constant: Value | None
    number: int = 0
    """Of the parameter, where it is no constant."""
    cast: str | None = None


class Template(Struct, frozen=True):
    """A text's form, whatever its values are."""

    command: str | None
    relations: frozenset[str]
    clauses: dict[str, str]
    slots: tuple[Slot, ...]
    own: bool
    """Drivers issue it by themselves."""
    reads: bool
    """It changes nothing in the database by its own words."""
    cursor: bool = False
    """It declares a cursor: its form is that of the cursor's query."""
    depends: bool = False
    """Of a driver's own: what was run before says whether it changes what follows."""
    setting: Setting | None = None
    """What it sets, of how values are read and written."""
    sets: bool = True
    """What follows may mean another thing by it."""
    portal: str = ""
    """The cursor that it declares or fetches from."""
    moves: bool = False
    """It moves a cursor and brings no rows."""

    @property
    def skeleton(self) -> str:
        return "\n".join(f"{name}={text}" for name, text in self.clauses.items())


class Form(Struct):
    """A statement's form."""

    template: Template
    values: list[Value]
    """In the order of the slots."""
    shape: bytes
    """The same for texts of one skeleton."""
    key: bytes
    """The same for texts of one skeleton whose values may be the same."""
    unsaid: bool
    """A value is missing."""


def form(sql: str, value: Callable[[int], Value]) -> Form:
    """``value`` gives what is bound to ``$n``."""
    template = _cached(sql) if len(sql) <= _CACHED_TEXT else _template(sql)
    values = [_filled(slot, value) for slot in template.slots]
    shape = _shape(template)
    told = "\0".join(rough(each) for each in values)
    unsaid = any(each.value is UNSAID for each in values)
    return Form(template, values, shape, shape + _digest(told) if values else shape, unsaid)


def _filled(slot: Slot, value: Callable[[int], Value]) -> Value:
    if slot.constant is not None:
        return slot.constant
    found = value(slot.number)
    return Value(found.value, found.type, found.bound, slot.cast) if slot.cast else found


def _shape(template: Template) -> bytes:
    known = _shapes.get(id(template))
    if known is None or known[0] is not template:
        if len(_shapes) >= _CACHE_ENTRIES:
            _shapes.clear()
        known = _shapes[id(template)] = (template, _digest(template.skeleton))
    return known[1]


_shapes: dict[int, tuple[Template, bytes]] = {}


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()


def _template(sql: str) -> Template:
    text = sql.strip()
    if len(text) <= PARSED:
        try:
            statements = msgspec.json.decode(parser.parse_sql_json(text))["stmts"]
            if len(statements) == 1:
                return _of_tree(statements[0]["stmt"], text)
        except (parser.ParseError, UnicodeError, ValueError, RecursionError):
            pass
    return Template(_first_word(text), frozenset(), {"text": _as_text(text)}, (), False, False)


_cached = lru_cache(_CACHE_ENTRIES)(_template)


def _of_tree(statement: dict[str, Any], sql: str) -> Template:
    ((node, tree),) = statement.items()
    cursor = node == "DeclareCursorStmt" and "query" in tree
    portal = tree.get("portalname", "")
    if cursor:
        ((node, tree),) = tree["query"].items()
    command = command_of(node, tree)
    walk = _Walk(node, tree)
    reads = command in _READS and not walk.writes
    # A name may be that of a WITH query here and of a table there: who tells them apart is asked.
    names = {".".join(filter(None, each)) for each in describe(sql).relations} if walk.queries else None
    relations = walk.relations if names is None else names
    own = is_chore(node, tree, relations, walk.functions, reads) and not (node == "SelectStmt" and walk.odd)
    unsure = own and depends(node, tree)
    return Template(
        command,
        frozenset(relations),
        walk.clauses,
        tuple(walk.slots),
        own,
        reads,
        cursor,
        unsure,
        setting_of(node, tree),
        walk.temporary or (unsure and node != "FetchStmt") or (not own and _sets(node, walk.functions)),
        portal,
        bool(tree.get("ismove")),
    )


def _sets(node: str, functions: set[str]) -> bool:
    if node in ("VariableSetStmt", "DoStmt", "CallStmt", "LoadStmt", "ExecuteStmt"):
        return True
    return any(name.removeprefix("pg_catalog.") not in HARMLESS for name in functions)


def _first_word(text: str) -> str | None:
    words = text.split(None, 1)
    return words[0].upper()[:30] if words else None


def _as_text(text: str) -> str:
    """Of what the parser does not take: its tokens in lower case, else its words."""
    if len(text) > PARSED:
        return _digest(text).hex()
    try:
        tokens: Sequence[parser.Token] = parser.scan(text)
    except (parser.ParseError, UnicodeError, ValueError):
        return " ".join(text.split())
    comments = ("SQL_COMMENT", "C_COMMENT")
    pieces = [text[token.start : token.end + 1] for token in tokens if token.name not in comments]
    return " ".join(piece if piece[:1] in "'\"$" else piece.lower() for piece in pieces)


# --- the walk through a tree ---

_PLACES: Final = {
    "location",
    "stmt_location",
    "stmt_len",
    "list_start",
    "list_end",
    "rexpr_list_start",
    "rexpr_list_end",
}
_LABELS: Final = {
    "whereClause": "WHERE",
    "fromClause": "FROM",
    "targetList": "columns",
    "relation": "table",
    "usingClause": "USING",
    "returningList": "RETURNING",
    "returningClause": "RETURNING",
    "withClause": "WITH",
    "groupClause": "GROUP BY",
    "havingClause": "HAVING",
    "sortClause": "ORDER BY",
    "limitCount": "LIMIT",
    "limitOffset": "OFFSET",
    "limitOption": "LIMIT",
    "distinctClause": "DISTINCT",
    "lockingClause": "locking",
    "windowClause": "WINDOW",
    "valuesLists": "VALUES",
    "intoClause": "INTO",
    "selectStmt": "VALUES",
    "cols": "columns",
    "onConflictClause": "ON CONFLICT",
    "larg": "query",
    "rarg": "query",
    "op": "set operation",
    "all": "set operation",
    "relations": "table",
    "objects": "object",
}


class _Walk:
    """Takes a statement's tree apart, once."""

    def __init__(self, node: str, tree: dict[str, Any]) -> None:
        self.slots: list[Slot] = []
        self.relations: set[str] = set()
        self.functions: set[str] = set()
        self.queries = False
        self.temporary = False
        self.odd = False
        self.writes = node in _WRITING or "intoClause" in tree
        self.clauses: dict[str, str] = {"command": node}
        self._clause = ""
        self._columns = _column_names(tree.get("cols")) if node == "InsertStmt" else []
        parts: dict[str, list[str]] = {}
        for key, value in tree.items():
            if key in _PLACES:
                continue
            self._clause = "SET" if node == "UpdateStmt" and key == "targetList" else _LABELS.get(key, key)
            parts.setdefault(self._clause, []).append(f"{key}:{self._of(value, '')}")
        self.clauses |= {name: " ".join(texts) for name, texts in parts.items()}

    def _of(self, value: Any, near: str) -> str:
        if isinstance(value, dict):
            return self._node(value, near)
        if isinstance(value, list):
            return "[" + ",".join(self._of(each, near) for each in value) + "]"
        return encode_basestring_ascii(value) if isinstance(value, str) else repr(value)

    def _node(self, tree: dict[str, Any], near: str) -> str:
        if len(tree) == 1:
            ((kind, inner),) = tree.items()
            if isinstance(inner, dict):
                special = self._special(kind, inner, near)
                if special is not None:
                    return special
        self.queries = self.queries or "ctename" in tree
        self.writes = self.writes or "intoClause" in tree
        self.temporary = self.temporary or tree.get("relpersistence") == "t"
        if "relname" in tree:
            schema = tree.get("schemaname")
            self.relations.add(f"{schema}.{tree['relname']}" if schema else tree["relname"])
        inside = "".join(
            f"{key}:{self._of(value, near)} " for key, value in tree.items() if key not in _PLACES
        )
        return f"({inside})"

    def _special(self, kind: str, inner: dict[str, Any], near: str) -> str | None:
        """Of nodes that are a value or tell what a value is for."""
        self.writes = self.writes or kind in _WRITING
        self.odd = self.odd or is_odd(kind, inner)
        value = _value(kind, inner)
        if value is not None:
            return self._slot(near, value)
        if kind == "ParamRef":
            self.slots.append(Slot(self._clause, near, None, inner.get("number", 0)))
            return "?"
        if kind == "TypeCast":
            return self._cast(inner, near)
        if kind == "FuncCall":
            names = [part["String"]["sval"] for part in inner["funcname"]]
            self.functions.add(".".join(names))
        elif kind == "A_Expr":
            column = _column(inner.get("lexpr")) or _column(inner.get("rexpr")) or near
            return f"(A_Expr {self._rest(inner, column)})"
        elif kind == "ResTarget":
            given = inner.get("name") if self._clause in ("SET", "ON CONFLICT") else None
            return f"(ResTarget {self._rest(inner, given or near)})"
        elif kind == "List" and self._columns and self._clause == "VALUES":
            return self._row(inner.get("items", []))
        return None

    def _rest(self, inner: dict[str, Any], near: str) -> str:
        return "".join(
            f"{key}:{self._of(value, near)} " for key, value in inner.items() if key not in _PLACES
        )

    def _row(self, items: list[Any]) -> str:
        names = [*self._columns, *[""] * len(items)]
        return "(" + ",".join(self._of(item, names[at]) for at, item in enumerate(items)) + ")"

    def _slot(self, near: str, value: Value) -> str:
        self.slots.append(Slot(self._clause, near, value))
        return "?"

    def _cast(self, inner: dict[str, Any], near: str) -> str | None:
        """A cast around a value belongs to the value: drivers write them."""
        ((kind, argument),) = inner["arg"].items()
        name = _type_name(inner["typeName"])
        if name is None:
            return None
        value = _value(kind, argument)
        if value is not None:
            if isinstance(value.value, list):
                return self._slot(near, Value([*value.value], name, False))
            return self._slot(near, Value(value.value, value.type, False, name))
        if kind == "ParamRef":
            self.slots.append(Slot(self._clause, near, None, argument.get("number", 0), name))
            return "?"
        return None


def _value(kind: str, inner: dict[str, Any]) -> Value | None:
    if kind == "A_Const":
        return _constant(inner)
    if kind == "A_ArrayExpr":
        items = []
        for element in inner.get("elements", ()):
            ((name, content),) = element.items()
            item = _value(name, content)
            if item is None:
                return None
            items.append(item)
        return Value(items, None)
    return None


def _constant(inner: dict[str, Any]) -> Value:
    if inner.get("isnull"):
        return Value(None)
    if "ival" in inner:
        return Value(str(inner["ival"].get("ival", 0)), "number")
    if "fval" in inner:
        return Value(inner["fval"]["fval"], "number")
    if "boolval" in inner:
        return Value("true" if inner["boolval"].get("boolval") else "false", "bool")
    if "bsval" in inner:
        return Value(inner["bsval"]["bsval"], "bit")
    return Value(inner.get("sval", {}).get("sval", ""), "string")


def _type_name(tree: dict[str, Any]) -> str | None:
    """``numeric(8,2)``, ``text[]``; None for what is stranger than that."""
    names = [part["String"]["sval"] for part in tree.get("names", ()) if "String" in part]
    if not names or (len(names) > 1 and names[0] != "pg_catalog"):
        return None
    name: str = names[-1]
    modifiers = [_value(*next(iter(each.items()))) for each in tree.get("typmods", ())]
    if any(each is None for each in modifiers):
        return None
    told = [str(each.value) for each in modifiers if each is not None]
    if name == "bpchar" and told == ["1"] and "names" in tree:
        told = ["1"]
    return name + (f"({','.join(told)})" if told else "") + "[]" * len(tree.get("arrayBounds", ()))


def _column(tree: Any) -> str:
    """The name, if it is a plain column."""
    if isinstance(tree, dict) and "ColumnRef" in tree:
        last = tree["ColumnRef"].get("fields", [{}])[-1]
        name: str = last.get("String", {}).get("sval", "")
        return name
    return ""


def _column_names(columns: Any) -> list[str]:
    return [each.get("ResTarget", {}).get("name", "") for each in columns or ()]
