"""Statements that drivers, poolers and ORMs issue by themselves, which no agent would think of claiming.

What is on this list is decided from PostgreSQL's parse tree and never from how a text looks. All of it
changes no data, reads no rows of any table of the database, and changes no meaning of what follows; what may
change that, by what was run before, is asked there (``before``). So nobody can hide behind it:

- transaction control says nothing by itself; whether the work was committed is compared at each statement;
- SET only of parameters of transactions, names and how long to wait, and of those that say how values are
  read and written where they have the value that they have anyhow; RESET and DISCARD where nothing was set
  before that would be lost: not ``search_path``, ``role``,
  ``session_authorization``, ``session_replication_role`` or ``row_security``;
- SELECT only from catalogs that describe the schema, with functions of a fixed list that only describe;
  ``pg_authid``, ``pg_stats``, ``pg_stat_activity``, ``pg_largeobject`` and their like are not on it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

TRANSACTION_KINDS: Final = {
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "ROLLBACK_TO",
}
PARAMETERS: Final = {
    "application_name",
    "client_min_messages",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "default_transaction_deferrable",
    "idle_in_transaction_session_timeout",
    "jit",
    "lock_timeout",
    "session characteristics",
    "statement_timeout",
    "synchronize_seqscans",
    "transaction",
    "transaction_isolation",
    "transaction_read_only",
}
READING: Final[dict[str, frozenset[str]]] = {
    "bytea_output": frozenset({"hex"}),
    "client_encoding": frozenset({"utf8", "utf-8", "unicode"}),
    "datestyle": frozenset({"iso"}),
    "extra_float_digits": frozenset({"1", "2", "3"}),
    "intervalstyle": frozenset(),
    "lc_monetary": frozenset(),
    "standard_conforming_strings": frozenset({"on", "true"}),
    "timezone": frozenset(),
    "xmloption": frozenset({"content"}),
}
"""How values are read and written, and values that leave it as it is by PostgreSQL's defaults."""
CATALOGS: Final = {
    "pg_aggregate",
    "pg_am",
    "pg_attrdef",
    "pg_attribute",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_database",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_extension",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_language",
    "pg_matviews",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_range",
    "pg_sequence",
    "pg_tables",
    "pg_tablespace",
    "pg_trigger",
    "pg_type",
    "pg_views",
}
FUNCTIONS: Final = {
    "array_agg",
    "array_length",
    "array_position",
    "array_to_string",
    "bool_and",
    "bool_or",
    "cardinality",
    "col_description",
    "count",
    "current_database",
    "current_schema",
    "current_schemas",
    "current_setting",
    "format_type",
    "generate_subscripts",
    "has_schema_privilege",
    "has_table_privilege",
    "json_agg",
    "json_build_object",
    "lower",
    "max",
    "min",
    "now",
    "obj_description",
    "pg_advisory_unlock_all",
    "pg_backend_pid",
    "pg_collation_is_visible",
    "pg_encoding_to_char",
    "pg_function_is_visible",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_indexdef",
    "pg_get_keywords",
    "pg_get_partkeydef",
    "pg_get_serial_sequence",
    "pg_get_userbyid",
    "pg_get_viewdef",
    "pg_is_in_recovery",
    "pg_table_is_visible",
    "pg_type_is_visible",
    "quote_ident",
    "row_number",
    "shobj_description",
    "string_agg",
    "to_regclass",
    "to_regtype",
    "unnest",
    "upper",
    "version",
}
Setting = tuple[str, str | None]
_ARGUMENTS: Final[dict[str, frozenset[int]]] = {
    **dict.fromkeys(("array_position", "array_to_string", "generate_subscripts"), frozenset({2, 3})),
    "current_setting": frozenset({1, 2}),
    "count": frozenset({0, 1}),
    "json_build_object": frozenset(),
    "pg_get_expr": frozenset({2, 3}),
    "pg_get_indexdef": frozenset({1, 3}),
    **dict.fromkeys(("obj_description", "pg_get_constraintdef", "pg_get_viewdef"), frozenset({1, 2})),
    **dict.fromkeys(("has_schema_privilege", "has_table_privilege"), frozenset({2, 3})),
    **dict.fromkeys(
        (
            "array_length",
            "col_description",
            "format_type",
            "pg_get_serial_sequence",
            "shobj_description",
            "string_agg",
        ),
        frozenset({2}),
    ),
    **dict.fromkeys(
        (
            "current_database",
            "current_schema",
            "now",
            "pg_advisory_unlock_all",
            "pg_backend_pid",
            "pg_get_keywords",
            "pg_is_in_recovery",
            "row_number",
            "version",
        ),
        frozenset({0}),
    ),
}
"""With how many a name without a schema is the built-in function; one if it is not here."""
_TYPE_NAMES: Final = """
    bool bpchar char cidr date float4 float8 inet int2 int2vector int4 int8 integer
    interval json jsonb name numeric oid oidvector pg_node_tree regclass regnamespace regoper regoperator
    regproc regprocedure regrole regtype text time timestamp timestamptz timetz uuid varchar xid
"""
_TYPES: Final = frozenset(_TYPE_NAMES.split())
_ALWAYS: Final = {
    "ClosePortalStmt",
    "DeallocateStmt",
    "DiscardStmt",
    "FetchStmt",
    "UnlistenStmt",
    "VariableShowStmt",
}


def is_chore(
    node: str, tree: dict[str, Any], relations: Collection[str], functions: Collection[str], reads: bool
) -> bool:
    """``node`` is the statement's, ``relations`` and ``functions`` are the names it has anywhere; ``reads``:
    nothing in it writes."""
    if node == "TransactionStmt":
        return tree["kind"].removeprefix("TRANS_STMT_") in TRANSACTION_KINDS
    if node == "VariableSetStmt":
        name = tree.get("name", "").lower()
        return tree["kind"] == "VAR_RESET_ALL" or name in PARAMETERS or name in READING
    if node in _ALWAYS:
        return True
    if node != "SelectStmt" or not reads or "lockingClause" in tree:
        return False
    return all(_describes(name) for name in relations) and all(_harmless(name) for name in functions)


def depends(node: str, tree: dict[str, Any]) -> bool:
    """Of a chore: whether what was run before says if it changes what follows."""
    if node == "VariableSetStmt":
        return tree["kind"] == "VAR_RESET_ALL" or tree.get("name", "").lower() in READING
    return node in ("DiscardStmt", "FetchStmt")


def setting_of(node: str, tree: dict[str, Any]) -> Setting | None:
    """What a SET sets, of ``READING``; a value of None is that of the log-in."""
    name = tree.get("name", "").lower() if node == "VariableSetStmt" else ""
    if name not in READING:
        return None
    if tree["kind"] in ("VAR_RESET", "VAR_SET_DEFAULT"):
        return name, None
    constants = [each.get("A_Const", {}) for each in tree.get("args", ())]
    values = [_word(each) for each in constants]
    return name, ", ".join(values).lower()


def _word(constant: dict[str, Any]) -> str:
    if "ival" in constant:
        return str(constant["ival"].get("ival", 0))
    return str(constant.get("sval", {}).get("sval", "?"))


def _describes(relation: str) -> bool:
    """A catalog of the schema. A bare name that begins with ``pg_`` is a catalog's: that schema is searched
    first."""
    schema, _, name = relation.rpartition(".")
    return schema == "information_schema" or (schema in ("", "pg_catalog") and name in CATALOGS)


def is_odd(kind: str, inner: dict[str, Any]) -> bool:
    """An operator, a type or a call that may be of somebody's own."""
    if kind == "TypeCast":
        names = _names(inner["typeName"].get("names"))
        return not names or (len(names) > 1 and names[0] != "pg_catalog") or names[-1] not in _TYPES
    if kind == "FuncCall":
        names = _names(inner["funcname"])
        arguments = len(inner.get("args", ()))
        return len(names) == 1 and arguments not in _ARGUMENTS.get(names[0], frozenset({1}))
    return any(
        len(names) > 1 and names[0] != "pg_catalog"
        for names in (_names(inner.get(key)) for key in ("name", "operName", "useOp"))
    )


def _names(parts: Any) -> list[str]:
    if not isinstance(parts, list):
        return []
    return [each.get("String", {}).get("sval", "") for each in parts if isinstance(each, dict)]


def _harmless(function: str) -> bool:
    schema, _, name = function.rpartition(".")
    return schema in ("", "pg_catalog") and name in FUNCTIONS
