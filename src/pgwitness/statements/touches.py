"""What one statement's text writes and reads, by PostgreSQL's own parser: which relations it changes and how,
whose rows it gives back, which columns of them, and which functions it calls that may do more.

Only what the text says: what lies behind a name (a view, a trigger, a function) is the server's knowledge.
Readers ask for it, the indexer does not; texts that differ only in constants share one entry of a cache.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct
from pglast import parser

from pgwitness.statements.builtins import HARMLESS
from pgwitness.statements.columns import Columns, columns_of, returned
from pgwitness.statements.condense import condense
from pgwitness.statements.sql import PARSE_LIMIT, Relation

_NORMALIZED: Final = 16 << 10
_CACHED_TEXT: Final = 4096
_CACHE_ENTRIES: Final = 8192
_TREE_LIMIT: Final = 16 << 20


class Write(Struct, frozen=True, gc=False):
    verb: str
    """INSERT, UPDATE, DELETE, MERGE, COPY, TRUNCATE, CREATE TABLE AS, REFRESH MATERIALIZED VIEW."""
    relation: Relation
    counted: bool
    """The count in the statement's tag is that of this write."""


class Touches(Struct, frozen=True, gc=False):
    understood: bool = True
    writes: tuple[Write, ...] = ()
    reads: tuple[Relation, ...] = ()
    gives_rows: bool = False
    """What it counts came back to the client: SELECT, RETURNING, COPY TO."""
    columns: Columns | None = ()
    """Of what came back; None where the text alone does not tell whose they are."""
    functions: tuple[str, ...] = ()
    """Functions that are not known to do nothing but compute."""
    marks: frozenset[str] = frozenset()
    """``upsert``, ``cascade``, ``do``, ``call``, ``execute``, ``fetch``, ``program``."""


UNKNOWN: Final = Touches(understood=False)
_NOTHING: Final = Touches()

_CHANGES = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
}
_MARKED = {"DoStmt": "do", "CallStmt": "call", "ExecuteStmt": "execute", "FetchStmt": "fetch"}
_WALKED = {*_CHANGES, *_MARKED, "SelectStmt", "CopyStmt", "CreateTableAsStmt", "DeclareCursorStmt"}


def touches(sql: str) -> Touches:
    """``UNKNOWN`` if the parser does not understand it."""
    return _cached(sql) if len(sql) <= _CACHED_TEXT else _touches(sql)


def _touches(sql: str) -> Touches:
    if len(sql) > _NORMALIZED:
        text = sql if len(sql) <= PARSE_LIMIT else condense(sql)
        return _read(text) if len(text) <= PARSE_LIMIT else UNKNOWN
    try:
        shape = parser.normalize(sql)
    except (parser.ParseError, UnicodeError, ValueError):
        return _read(sql)
    # What EXPLAIN does depends on a constant: EXPLAIN (ANALYZE 0).
    return _read(sql) if shape[:7].upper() == "EXPLAIN" else _by_shape(shape, _Text(sql))


_cached = lru_cache(_CACHE_ENTRIES)(_touches)


class _Text:
    """A text that is not part of the cache's key."""

    def __init__(self, sql: str) -> None:
        self.sql = sql

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Text)

    def __hash__(self) -> int:
        return 0


@lru_cache(_CACHE_ENTRIES)
def _by_shape(shape: str, text: _Text) -> Touches:
    return _read(text.sql)


def _read(sql: str) -> Touches:
    try:
        encoded = parser.parse_sql_json(sql)
        if len(encoded) > _TREE_LIMIT:
            return UNKNOWN
        statements = msgspec.json.decode(encoded)["stmts"]
        if not statements:
            return _NOTHING
        ((node, tree),) = statements[0]["stmt"].items()
        return _of(node, tree)
    except (parser.ParseError, UnicodeError, ValueError, RecursionError):
        return UNKNOWN


def _of(node: str, tree: dict[str, Any]) -> Touches:
    if node == "ExplainStmt":
        ((inner, query),) = tree["query"].items()
        if not _analyzes(tree):
            return _NOTHING
        found = _of(inner, query)
        return msgspec.structs.replace(found, writes=_uncounted(found.writes), gives_rows=False, columns=())
    if node == "TruncateStmt":
        cascade = tree.get("behavior") == "DROP_CASCADE"
        targets = (_relation(each["RangeVar"]) for each in tree["relations"])
        return Touches(
            writes=tuple(Write("TRUNCATE", target, False) for target in targets),
            marks=frozenset({"cascade"} if cascade else ()),
        )
    if node == "RefreshMatViewStmt":
        return Touches(writes=(Write("REFRESH MATERIALIZED VIEW", _relation(tree["relation"]), False),))
    if node == "DropStmt" and tree.get("behavior") == "DROP_CASCADE":
        return Touches(marks=frozenset({"cascade"}))
    return _Walk().of(node, tree) if node in _WALKED else _NOTHING


def _analyzes(tree: dict[str, Any]) -> bool:
    """The last one given holds, as for the server."""
    found = False
    for option in tree.get("options", ()):
        element = option.get("DefElem", {})
        if element.get("defname") == "analyze":
            given = element.get("arg", {})
            word = str(given.get("String", {}).get("sval", "")).lower()
            off = word in ("false", "off") or ("Integer" in given and not given["Integer"].get("ival"))
            found = not off
    return found


def _uncounted(writes: tuple[Write, ...]) -> tuple[Write, ...]:
    return tuple(msgspec.structs.replace(write, counted=False) for write in writes)


def _relation(variable: dict[str, Any]) -> Relation:
    return variable.get("schemaname", ""), variable["relname"]


class _Walk:
    """Goes through one statement that does what it says when it runs."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.reads: dict[Relation, None] = {}
        self.functions: dict[str, None] = {}
        self.marks: set[str] = set()

    def of(self, node: str, tree: dict[str, Any]) -> Touches:
        gives, columns = columns_of(node, tree)
        if node in _MARKED:
            self.marks.add(_MARKED[node])
        self._target(node, tree)
        stack: list[tuple[Any, frozenset[str]]] = [({node: tree}, frozenset())]
        while stack:
            item, hidden = stack.pop()
            children = (
                self._children(item, hidden, top=item.get(node) is tree)
                if isinstance(item, dict)
                else ((element, hidden) for element in item)
            )
            stack.extend(child for child in children if isinstance(child[0], dict | list))
        return Touches(
            writes=tuple(self.writes),
            reads=tuple(self.reads),
            gives_rows=gives,
            columns=columns,
            functions=tuple(self.functions),
            marks=frozenset(self.marks),
        )

    def _target(self, node: str, tree: dict[str, Any]) -> None:
        """What the statement itself writes beside its queries."""
        if node == "CopyStmt":
            if tree.get("is_program"):
                self.marks.add("program")
            if tree.get("is_from"):
                self.writes.append(Write("COPY", _relation(tree["relation"]), True))
            elif "relation" in tree:
                self.reads[_relation(tree["relation"])] = None
        elif node == "CreateTableAsStmt":
            into = tree["into"]
            self.writes.append(Write("CREATE TABLE AS", _relation(into["rel"]), not into.get("skipData")))
        elif node == "SelectStmt" and "intoClause" in tree:
            self.writes.append(Write("CREATE TABLE AS", _relation(tree["intoClause"]["rel"]), True))

    def _children(
        self, item: dict[str, Any], hidden: frozenset[str], top: bool
    ) -> Iterator[tuple[Any, frozenset[str]]]:
        if "relname" in item:
            self._read(item, hidden)
            return
        for key, value in item.items():
            if key in _CHANGES:
                self._change(key, value, top)
            elif key == "FuncCall":
                self._call(value)
            elif key in ("lockedRels", "into", "intoClause"):
                continue  # aliases, and what is written
            if key in ("CopyStmt", *_CHANGES) and isinstance(value, dict):
                value = {name: each for name, each in value.items() if name != "relation"}
            if isinstance(value, dict) and "withClause" in value:
                inner, queries = _with(value["withClause"], hidden)
                yield from queries
                yield {name: each for name, each in value.items() if name != "withClause"}, inner
            else:
                yield value, hidden

    def _change(self, node: str, tree: dict[str, Any], top: bool) -> None:
        relation = _relation(tree["relation"])
        self.writes.append(Write(_CHANGES[node], relation, top))
        if tree.get("onConflictClause", {}).get("action") == "ONCONFLICT_UPDATE":
            self.marks.add("upsert")
        if top and returned(tree):
            self.reads[relation] = None

    def _read(self, variable: dict[str, Any], hidden: frozenset[str]) -> None:
        schema, name = _relation(variable)
        if schema or name not in hidden:
            self.reads[schema, name] = None

    def _call(self, tree: dict[str, Any]) -> None:
        names = [part["String"]["sval"] for part in tree["funcname"] if "String" in part]
        own = len(names) > 1 and names[-2] != "pg_catalog"
        if own or names[-1] not in HARMLESS:
            self.functions[".".join(names)] = None


def _with(
    clause: dict[str, Any], hidden: frozenset[str]
) -> tuple[frozenset[str], list[tuple[Any, frozenset[str]]]]:
    """The names hidden behind WITH queries in the body, and each query with those that are hidden in it."""
    queries = []
    expressions = [element["CommonTableExpr"] for element in clause.get("ctes", ())]
    if clause.get("recursive"):
        hidden |= {expression["ctename"] for expression in expressions}
    for expression in expressions:
        queries.append((expression["ctequery"], hidden))
        hidden |= {expression["ctename"]}
    return hidden, queries
