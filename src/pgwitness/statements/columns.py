"""Which columns a statement's result is made of, as far as its text tells.

The server says it in RowDescription by numbers (of a table, of an attribute), and their names are in its
catalog, which is not on the record. The text has names: a column is known where the text says of which
relation it is. ``*`` stands for all columns.
"""

from collections.abc import Iterator
from typing import Any

from pgwitness.statements.sql import Relation

Columns = tuple[tuple[Relation, tuple[str, ...]], ...]

_RETURNING = {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}


class _NotTold(Exception):
    """The text alone does not say whose a column is."""


def columns_of(node: str, tree: dict[str, Any]) -> tuple[bool, Columns | None]:
    """Whether rows come back, and of which columns; None where the text does not tell."""
    try:
        if node == "SelectStmt":
            gives = "intoClause" not in tree
            return gives, _frozen(_select(tree, _hidden(tree))) if gives else ()
        if node == "CopyStmt":
            return _copy(tree)
        if node in _RETURNING and returned(tree):
            sources = [{"RangeVar": tree["relation"]}]
            sources += [*tree.get("fromClause", ()), *tree.get("usingClause", ())]
            sources += [tree["sourceRelation"]] if "sourceRelation" in tree else []
            return True, _frozen(_targets(returned(tree), sources, _hidden(tree)))
    except _NotTold:
        return True, None
    return False, ()


def returned(tree: dict[str, Any]) -> list[Any]:
    """What stands behind RETURNING."""
    found: list[Any] = tree.get("returningClause", {}).get("exprs", [])
    return found


def _copy(tree: dict[str, Any]) -> tuple[bool, Columns | None]:
    if tree.get("is_from") or "filename" in tree:
        return False, ()
    if "query" in tree:
        ((node, query),) = tree["query"].items()
        return True, columns_of(node, query)[1]
    names = tuple(each["String"]["sval"] for each in tree.get("attlist", ())) or ("*",)
    variable = tree["relation"]
    return True, (((variable.get("schemaname", ""), variable["relname"]), names),)


def _hidden(tree: dict[str, Any]) -> set[str]:
    return {each["CommonTableExpr"]["ctename"] for each in tree.get("withClause", {}).get("ctes", ())}


def _frozen(found: dict[Relation, dict[str, None]]) -> Columns:
    return tuple((relation, tuple(names)) for relation, names in found.items())


def _select(tree: dict[str, Any], hidden: set[str]) -> dict[Relation, dict[str, None]]:
    hidden = hidden | _hidden(tree)
    if tree.get("op", "SETOP_NONE") == "SETOP_NONE":
        return _targets(tree.get("targetList", ()), tree.get("fromClause", ()), hidden)
    found = _select(tree["larg"], hidden)
    for relation, names in _select(tree["rarg"], hidden).items():
        found.setdefault(relation, {}).update(names)
    return found


def _targets(targets: Any, sources: Any, hidden: set[str]) -> dict[Relation, dict[str, None]]:
    known = dict(_sources(sources, hidden))
    found: dict[Relation, dict[str, None]] = {}
    for target in targets:
        for fields in _references(target):
            for relation, name in _whose(fields, known):
                found.setdefault(relation, {})[name] = None
    return found


def _sources(items: Any, hidden: set[str]) -> Iterator[tuple[str, Relation]]:
    """(alias, relation); all of them plain relations."""
    for item in items:
        ((node, tree),) = item.items()
        if node == "JoinExpr" and "alias" not in tree:
            yield from _sources([tree["larg"], tree["rarg"]], hidden)
            continue
        if node != "RangeVar" or "colnames" in tree.get("alias", {}):
            raise _NotTold
        schema, name = tree.get("schemaname", ""), tree["relname"]
        if not schema and name in hidden:
            raise _NotTold
        yield tree.get("alias", {}).get("aliasname", name), (schema, name)


def _references(item: Any) -> Iterator[list[str]]:
    """The fields of each column that an expression names; ``*`` is one."""
    stack = [item]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            if "SubLink" in item:
                raise _NotTold
            if "ColumnRef" in item:
                yield [
                    each["String"]["sval"] if "String" in each else "*"
                    for each in item["ColumnRef"]["fields"]
                ]
            else:
                stack.extend(item.values())


def _whose(fields: list[str], known: dict[str, Relation]) -> Iterator[tuple[Relation, str]]:
    *owner, name = fields
    if not owner and (name == "*" or name in known):
        # A relation's own name stands for its whole row.
        yield from ((relation, "*") for alias, relation in known.items() if name in ("*", alias))
    elif not owner and len(known) == 1:
        yield next(iter(known.values())), name
    elif owner and owner[-1] in known:
        yield known[owner[-1]], name
    else:
        raise _NotTold
