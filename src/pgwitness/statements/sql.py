"""What an SQL text says, by PostgreSQL's own parser: its statements, their commands and the relations they
name.

It is the parser's view: what a view, a function, a rule or a trigger touches behind the name is the server's
knowledge. Texts that differ only in constants share one entry of a cache, found through pglast's
``normalize``.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from pglast import parser

from pgwitness.statements.commands import command_of
from pgwitness.statements.condense import condense

PARSE_LIMIT = 1 << 20
"""Characters. A parse tree takes up to two hundred times its text's memory, so a longer text is split by
PostgreSQL's scanner, and read without its comments and with its constants condensed: padding hides nothing.
Only what is longer even so stays unread."""
MAX_PARTS = 10_000
"""Statements that one text is split into; the last of them is all the rest."""
_NORMALIZED = 16 << 10
"""Characters. ``normalize`` may take eight kilobytes of memory for each token."""
_CACHED_TEXT = 4096
_CACHE_ENTRIES = 8192
_TREE_LIMIT = 16 << 20  # bytes of JSON that are turned into Python objects

Relation = tuple[str, str]
"""(schema, or "" if it was not named; relation)"""


class Effect(Struct, frozen=True, gc=False):
    """What a statement does to its session, if it succeeds."""

    kind: str
    """A transaction command (``begin``, ``commit``, ``rollback``, ``savepoint``, ``release``,
    ``rollback_to``, ``prepare_transaction``, ``commit_prepared``, ``rollback_prepared``), or ``prepare``,
    ``execute``, ``deallocate``, ``discard``, ``search_path``, ``create_temp``, ``drop``; ``immediate``: it
    commits by itself, as CONCURRENTLY does."""
    name: str | None = None
    names: tuple[str, ...] = ()
    flag: bool = False
    """AND CHAIN, or SET LOCAL. A ``search_path`` named ``default`` goes back to the server's."""


class Meaning(Struct, frozen=True, gc=False):
    command: str | None
    relations: tuple[Relation, ...] = ()
    effect: Effect | None = None


UNKNOWN = Meaning(None)


def split(sql: str) -> list[str]:
    """The statements of a Query message, without the semicolons between them. [] if it is empty. [sql] if
    PostgreSQL's parser does not understand it, or if it holds one statement: that is given as it was sent."""
    body = sql.rstrip("; \t\r\n")
    if body and ";" not in body and "--" not in body and "/*" not in body:
        return [sql]
    try:
        places = _split(sql)
    except (parser.ParseError, UnicodeError, ValueError):
        return [sql]
    if len(places) == 1:
        return [sql]
    parts = [sql[place] for place in places[: MAX_PARTS - 1]]
    if len(places) >= MAX_PARTS:
        parts.append(sql[places[MAX_PARTS - 1].start : places[-1].stop])
    return parts


def _split(sql: str) -> tuple[slice, ...]:
    if len(sql) > PARSE_LIMIT:
        return parser.split(sql, with_parser=False, only_slices=True)
    try:
        return parser.split(sql, only_slices=True)
    except parser.ParseError as error:
        if not _too_deep(error):
            raise
        return parser.split(sql, with_parser=False, only_slices=True)


def _too_deep(error: Exception) -> bool:
    """The parser gave up on a text that a server may still take."""
    return str(error.args[0]).startswith(("stack depth limit", "memory exhausted"))


def describe(sql: str) -> Meaning:
    """The meaning of one statement's text. ``UNKNOWN`` if the parser does not understand it."""
    if len(sql) <= _CACHED_TEXT:
        return _describe_cached(sql)
    # A text of megabytes may be executed a million times. Its hash is computed once, and is not foreseeable.
    key = (hash(sql), len(sql))
    meaning = _by_hash.get(key)
    if meaning is None:
        if len(_by_hash) >= _CACHE_ENTRIES:
            _by_hash.clear()
        meaning = _by_hash[key] = _describe(sql)
    return meaning


def _describe(sql: str) -> Meaning:
    if len(sql) > _NORMALIZED:
        text = sql if len(sql) <= PARSE_LIMIT else condense(sql)
        return _parse(text)[0] if len(text) <= PARSE_LIMIT else UNKNOWN
    try:
        key = parser.normalize(sql)
    except parser.ParseError as error:
        return _parse(sql)[0] if _too_deep(error) else UNKNOWN
    except (UnicodeError, ValueError):
        return UNKNOWN
    meaning = _by_shape.get(key)
    if meaning is None:
        meaning, depends_on_constants = _parse(sql)
        if not depends_on_constants and len(key) <= _CACHED_TEXT:
            if len(_by_shape) >= _CACHE_ENTRIES:
                _by_shape.clear()
            _by_shape[key] = meaning
    return meaning


_describe_cached = lru_cache(_CACHE_ENTRIES)(_describe)
_by_shape: dict[str, Meaning] = {}
_by_hash: dict[tuple[int, int], Meaning] = {}


def _parse(sql: str) -> tuple[Meaning, bool]:
    """The meaning, and whether it depends on constants, which are not part of a text's shape."""
    try:
        encoded = parser.parse_sql_json(sql)
    except (parser.ParseError, UnicodeError, ValueError):
        return UNKNOWN, False
    if len(encoded) > _TREE_LIMIT:
        return _scan(encoded), True
    try:
        statements = msgspec.json.decode(encoded)["stmts"]
    except RecursionError:
        return _scan(encoded), True
    if not statements:
        return Meaning(""), False
    ((node, tree),) = statements[0]["stmt"].items()
    relations = dict.fromkeys(_relations(node, tree))
    effect = _effect(node, tree)
    depends_on_constants = effect is not None and effect.kind == "search_path"
    if effect is _ANY_PARAMETER:
        effect = None
    return Meaning(command_of(node, tree), tuple(relations), effect), depends_on_constants


# --- relations ---

_RELATION_KINDS = {"TABLE", "VIEW", "MATVIEW", "FOREIGN_TABLE", "SEQUENCE"}
_MEMBER_KINDS = {"COLUMN", "TABCONSTRAINT", "TRIGGER", "POLICY", "RULE"}
_TARGETS = {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}


def _relations(node: str, tree: dict[str, Any]) -> Iterator[Relation]:
    """Every relation that the statement names, in the order of the tree, names of WITH queries excepted."""
    if node in ("DropStmt", "CommentStmt", "SecLabelStmt"):
        yield from _named_objects(node, tree)
        return
    if node == "CompositeTypeStmt":
        return
    nothing: frozenset[str] = frozenset()
    stack: list[tuple[Any, frozenset[str]]] = [({node: tree}, nothing)]
    while stack:
        item, hidden = stack.pop()
        if isinstance(item, list):
            stack.extend((element, hidden) for element in reversed(item) if isinstance(element, dict | list))
            continue
        if "relname" in item:
            schema, name = item.get("schemaname", ""), item["relname"]
            if schema or name not in hidden:
                yield schema, name
            continue
        children = list(item.items())
        if "withClause" in item:
            hidden, queries = _with(item["withClause"], hidden)
            children = [child for child in children if child[0] != "withClause"]
            stack.extend(reversed(queries))
        for key, value in reversed(children):
            if isinstance(value, dict | list):
                # the target of a change is a table, also where a WITH query has its name
                target = key == "relation" and "relname" in value
                stack.append((value, nothing if target else hidden))


def _with(
    clause: dict[str, Any], hidden: frozenset[str]
) -> tuple[frozenset[str], list[tuple[Any, frozenset[str]]]]:
    """The names hidden behind WITH queries in the statement's body, and each query with those hidden in
    it."""
    expressions = [element["CommonTableExpr"] for element in clause.get("ctes", ())]
    queries = []
    if clause.get("recursive"):
        hidden |= {expression["ctename"] for expression in expressions}
        return hidden, [(expression["ctequery"], hidden) for expression in expressions]
    for expression in expressions:
        queries.append((expression["ctequery"], hidden))
        hidden |= {expression["ctename"]}
    return hidden, queries


def _named_objects(node: str, tree: dict[str, Any]) -> Iterator[Relation]:
    kind = tree.get("removeType" if node == "DropStmt" else "objtype", "").removeprefix("OBJECT_")
    if kind not in _RELATION_KINDS and kind not in _MEMBER_KINDS:
        return
    for element in tree.get("objects", [tree.get("object")]):
        items = element.get("List", {}).get("items", []) if element else []
        names = [item["String"]["sval"] for item in items if "String" in item]
        if kind in _MEMBER_KINDS:
            names = names[:-1]
        if names:
            yield names[-2] if len(names) > 1 else "", names[-1]


_RELATION = re.compile(r'(?:"schemaname":("(?:[^"\\]|\\.)*"),)?"relname":("(?:[^"\\]|\\.)*")')
_WITH_NAME = re.compile(r'"ctename":("(?:[^"\\]|\\.)*")')
_NODE = re.compile(r'"stmt":\{"(\w+)":')


def _scan(encoded: str) -> Meaning:
    """The meaning of a tree that is too deep or too large to be held, from its text alone. A quote within
    a string of the tree is escaped, so these keys are never mistaken."""
    node = _NODE.search(encoded)
    hidden = {json.loads(name) for name in _WITH_NAME.findall(encoded)}
    relations: dict[Relation, None] = {}
    for schema, name in _RELATION.findall(encoded):
        relation = (json.loads(schema) if schema else "", json.loads(name))
        if relation[0] or relation[1] not in hidden:
            relations[relation] = None
    return Meaning(
        command_of(node[1], {}) if node and node[1] != "TransactionStmt" else None, tuple(relations)
    )


# --- effects ---

_ANY_PARAMETER = Effect("search_path", "other")
"""set_config() of another parameter: no effect, but the same shape with other constants may have one."""


def _effect(node: str, tree: dict[str, Any]) -> Effect | None:
    if node == "TransactionStmt":
        kind = tree["kind"].removeprefix("TRANS_STMT_").lower()
        kind = {"start": "begin", "prepare": "prepare_transaction"}.get(kind, kind)
        return Effect(kind, tree.get("savepoint_name") or tree.get("gid"), flag=tree.get("chain", False))
    if node == "VariableSetStmt":
        return _set_effect(tree)
    if node == "SelectStmt":
        return _set_config(tree) or _temporary(tree.get("intoClause", {}).get("rel"))
    if node in ("CreateStmt", "ViewStmt"):
        return _temporary(tree.get("relation") or tree.get("view"))
    if node == "CreateTableAsStmt":
        return _temporary(tree["into"]["rel"])
    if node == "DropStmt":
        if tree["removeType"] in ("OBJECT_TABLE", "OBJECT_VIEW"):
            return Effect("drop", names=tuple(name for _, name in _named_objects(node, tree)))
        return _concurrently(tree)
    if node in ("IndexStmt", "ReindexStmt"):
        return _concurrently(tree)
    if node == "DeclareCursorStmt":
        return Effect("declare", tree["portalname"])
    if node in ("PrepareStmt", "ExecuteStmt", "DeallocateStmt"):
        return Effect(node.removesuffix("Stmt").lower(), tree.get("name"))
    if node == "DiscardStmt":
        return Effect("discard", tree["target"].removeprefix("DISCARD_").lower())
    return None


def _concurrently(tree: dict[str, Any]) -> Effect | None:
    options = [option.get("DefElem", {}).get("defname") for option in tree.get("params", ())]
    return Effect("immediate") if tree.get("concurrent") or "concurrently" in options else None


def _temporary(relation: dict[str, Any] | None) -> Effect | None:
    if relation and (relation.get("relpersistence") == "t" or relation.get("schemaname") == "pg_temp"):
        return Effect("create_temp", names=(relation["relname"],))
    return None


def _constant(node: dict[str, Any]) -> str | None:
    value = node.get("A_Const", {}).get("sval", {}).get("sval")
    return value if isinstance(value, str) else None


def _set_effect(tree: dict[str, Any]) -> Effect | None:
    if tree.get("name") != "search_path" and tree["kind"] != "VAR_RESET_ALL":
        return None
    if tree["kind"] != "VAR_SET_VALUE":
        return Effect("search_path", "default", flag=tree.get("is_local", False))
    names = [_constant(argument) for argument in tree.get("args", ())]
    return Effect(
        "search_path", names=tuple(name for name in names if name), flag=tree.get("is_local", False)
    )


def _set_config(tree: dict[str, Any]) -> Effect | None:
    """``SELECT set_config('search_path', …, is_local)``, as pg_dump sends it."""
    for target in tree.get("targetList", ()):
        call = target.get("ResTarget", {}).get("val", {}).get("FuncCall")
        if not call or call["funcname"][-1].get("String", {}).get("sval") != "set_config":
            continue
        arguments = call.get("args", ())
        if len(arguments) == 3 and _constant(arguments[0]) == "search_path":
            local = bool(arguments[2].get("A_Const", {}).get("boolval", {}).get("boolval"))
            return Effect("search_path", names=tuple(split_path(_constant(arguments[1]) or "")), flag=local)
        return _ANY_PARAMETER
    return None


_PATH_ELEMENT = re.compile(r'\s*("(?:[^"]|"")*"|[^,"\s]+)\s*(?:,|$)')


def split_path(value: str) -> list[str]:
    """The elements of a ``search_path`` value as the server prints it."""
    elements = _PATH_ELEMENT.findall(value)
    return [
        element[1:-1].replace('""', '"') if element[0] == '"' else element.lower() for element in elements
    ]
