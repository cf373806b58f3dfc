"""The rows that an UPDATE or DELETE touches, as a SELECT; and the statement itself, made to tell them.

Both are made of the statement's parse tree and printed from it. What was printed is parsed again and compared
with the statement it came from: a text that does not say the same is refused, never run. With target ``t``,
condition ``w`` and further relations ``f``:

    SELECT [DISTINCT ON (t.tableoid, t.ctid)] t.tableoid, t.ctid, t.* FROM t, f WHERE w
    UPDATE t SET … FROM f, (SELECT tableoid, ctid FROM t) AS b
        WHERE w AND b.tableoid = t.tableoid AND b.ctid = t.ctid RETURNING b.tableoid, b.ctid, t.*
    DELETE FROM t USING f WHERE w RETURNING t.tableoid, t.ctid, t.*

``ctid`` says where a row is; joined with itself, an updated row tells where it was, so that rows are paired
without a key, also where the key changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pglast
from msgspec import Struct
from pglast import ast, enums
from pglast.parser import ParseError
from pglast.stream import RawStream
from pglast.visitors import Visitor

from pgwitness.errors import InvalidError
from pgwitness.statements.sql import PARSE_LIMIT

OWN_COLUMNS: Final = 2
"""In front of the row's own: where it is."""
_BEFORE, _TABLE, _PLACE = "pgwitness_before", "pgwitness_tableoid", "pgwitness_ctid"
_REASONS: Final[dict[type, str]] = {
    ast.InsertStmt: "an INSERT touches no row that was there before",
    ast.MergeStmt: "a MERGE decides row by row what it does: no SELECT tells its rows",
    ast.TruncateStmt: "TRUNCATE touches every row of its tables: a plain SELECT shows them",
    ast.CopyStmt: "COPY touches no row that was there",
    ast.SelectStmt: "a SELECT changes rows only through what it calls, and its text does not say which",
    ast.CallStmt: "what a procedure changes, its text does not say",
    ast.DoStmt: "what a DO block changes, its text does not say",
}
_CHANGES: Final = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


class Write(Struct):
    """An UPDATE or DELETE, understood."""

    tree: Any
    command: str
    relation: Any
    """RangeVar of its target."""
    others: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The target as the text has it, quoted as need be."""
        plain = ast.RangeVar(
            schemaname=self.relation.schemaname, relname=self.relation.relname, inh=True, relpersistence="p"
        )
        return str(RawStream()(plain))

    @property
    def only(self) -> bool:
        return not self.relation.inh

    @property
    def called(self) -> str:
        """What its columns are qualified with."""
        alias = self.relation.alias
        return str(alias.aliasname if alias is not None else self.relation.relname)


def understand(sql: str, prepared: Mapping[str, str] | None = None) -> Write:
    """``prepared``: texts of PREPARE by their names, for an EXECUTE. Raises InvalidError with the reason why
    there is no SELECT for it."""
    tree = _parse(sql)
    if isinstance(tree, ast.ExecuteStmt):
        tree = _executed(tree, prepared or {})
    if isinstance(tree, ast.UpdateStmt):
        write = Write(tree, "UPDATE", tree.relation, tree.fromClause or ())
    elif isinstance(tree, ast.DeleteStmt):
        write = Write(tree, "DELETE", tree.relation, tree.usingClause or ())
    else:
        raise _refused(_REASONS.get(type(tree), "it is neither an UPDATE nor a DELETE"))
    if any(isinstance(cte.ctequery, _CHANGES) for cte in (tree.withClause.ctes if tree.withClause else ())):
        raise _refused("its WITH changes data, too: what one part sees of the other no SELECT can tell")
    if isinstance(tree.whereClause, ast.CurrentOfExpr):
        raise _refused("WHERE CURRENT OF touches the row at which a cursor stood")
    return write


def select(write: Write, schema: str, order: list[str]) -> str:
    """Its rows. ``schema``: of the target, so that no WITH query of the same name stands in for it;
    ``order``: the columns of its primary key. Raises InvalidError."""
    target = _in(write.relation, schema)
    distinct = tuple(_own(write.called)) if write.others else ()
    by = distinct if distinct else tuple(_column(write.called, name) for name in order)
    made = ast.SelectStmt(
        distinctClause=distinct or None,
        targetList=(*_places(write.called), _all(write.called)),
        fromClause=(target, *write.others),
        whereClause=write.tree.whereClause,
        withClause=write.tree.withClause,
        sortClause=tuple(_sort(each) for each in by) or None,
        limitOption=enums.LimitOption.LIMIT_OPTION_DEFAULT,
        op=enums.SetOperation.SETOP_NONE,
    )
    printed = str(RawStream()(made))
    again: Any = _parse(printed)
    same = (
        _is(again, ast.SelectStmt)
        and _same(again.fromClause, made.fromClause)
        and _same(again.whereClause, made.whereClause)
        and _same(again.withClause, made.withClause)
    )
    return _checked(printed, same)


def change(write: Write, schema: str) -> str:
    """The statement itself, with where each row was and what it is then in RETURNING. Raises InvalidError."""
    tree, target = write.tree, _in(write.relation, schema)
    again: Any
    if write.command == "DELETE":
        returning = _returning((*_places(write.called), _all(write.called)))
        made: Any = ast.DeleteStmt(target, tree.usingClause, tree.whereClause, returning, tree.withClause)
        printed = str(RawStream()(made))
        again = _parse(printed)
        same = (
            _is(again, ast.DeleteStmt)
            and _same(again.usingClause, made.usingClause)
            and _same(again.whereClause, made.whereClause)
        )
    else:
        where = _and(tree.whereClause, [_equal(_BEFORE, name, write.called, own) for name, own in _PAIRS])
        others = (*write.others, _before(target))
        values = (*(_target(_column(_BEFORE, name)) for name, _ in _PAIRS), _all(write.called))
        made = ast.UpdateStmt(target, tree.targetList, where, others, _returning(values), tree.withClause)
        printed = str(RawStream()(made))
        again = _parse(printed)
        own = len(_PAIRS)
        same = (
            _is(again, ast.UpdateStmt)
            and _same(again.targetList, made.targetList)
            and _same(again.fromClause[:-1], write.others)
            and _same(again.whereClause.args[:-own], where.args[:-own])
        )
    same = same and _same(again.withClause, made.withClause) and _same(again.relation, target)
    return _checked(printed, same)


_PAIRS: Final = ((_TABLE, "tableoid"), (_PLACE, "ctid"))
_LOCATIONS: Final = frozenset({"location", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end"})


def _parse(sql: str) -> Any:
    if len(sql) > PARSE_LIMIT:
        raise _refused("its text is too long to be parsed")
    try:
        statements = pglast.parse_sql(sql)
    except (ParseError, UnicodeError, ValueError, RecursionError) as error:
        raise _refused(f"PostgreSQL's parser does not understand it: {error}") from None
    if len(statements) != 1:
        raise _refused("it is not one statement")
    return statements[0].stmt


def _executed(tree: Any, prepared: Mapping[str, str]) -> Any:
    """What an EXECUTE runs, its arguments in the place of the parameters."""
    text = prepared.get(tree.name)
    inner: Any = _parse(text) if text is not None else None
    if not _is(inner, ast.PrepareStmt):
        raise _refused(f"the PREPARE of {tree.name!r} is not on record")
    _Arguments(tree.params or (), inner.argtypes or ())(inner.query)
    return inner.query


class _Arguments(Visitor):
    """Puts values in the place of ``$n``, cast to the types that PREPARE named."""

    def __init__(self, values: tuple[Any, ...], types: tuple[Any, ...]) -> None:
        self._values, self._types = values, types

    def visit_ParamRef(self, ancestors: Any, node: Any) -> Any:  # noqa: N802  the library's name
        value = self._values[node.number - 1]
        if node.number <= len(self._types):
            return ast.TypeCast(arg=value, typeName=self._types[node.number - 1])
        return value


def _is(node: Any, kind: type) -> bool:
    """Without telling the type checker, to which every field of every node may be missing."""
    return isinstance(node, kind)


def _same(one: Any, other: Any) -> bool:
    """Wherever they stand in their texts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, ast.Node):
        names = [name for name in one if name not in _LOCATIONS]
        return all(_same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other)


def _refused(why: str) -> InvalidError:
    return InvalidError(f"the rows that it touches cannot be shown: {why}")


def _checked(printed: str, same: bool) -> str:
    if not same:
        raise _refused("the printed SELECT would not say the same as the statement")
    return printed


def _in(relation: Any, schema: str) -> Any:
    return ast.RangeVar(
        catalogname=relation.catalogname,
        schemaname=relation.schemaname or schema,
        relname=relation.relname,
        inh=relation.inh,
        relpersistence=relation.relpersistence,
        alias=relation.alias,
    )


def _column(qualifier: str, name: str) -> Any:
    return ast.ColumnRef(fields=(ast.String(qualifier), ast.String(name)))


def _own(qualifier: str) -> list[Any]:
    return [_column(qualifier, own) for _, own in _PAIRS]


def _places(qualifier: str) -> list[Any]:
    return [_target(_column(qualifier, own), name) for name, own in _PAIRS]


def _target(value: Any, name: str | None = None) -> Any:
    return ast.ResTarget(name=name, val=value)


def _all(qualifier: str) -> Any:
    return _target(ast.ColumnRef(fields=(ast.String(qualifier), ast.A_Star())))


def _sort(value: Any) -> Any:
    return ast.SortBy(
        node=value,
        sortby_dir=enums.SortByDir.SORTBY_DEFAULT,
        sortby_nulls=enums.SortByNulls.SORTBY_NULLS_DEFAULT,
    )


def _returning(values: tuple[Any, ...]) -> Any:
    return ast.ReturningClause(exprs=values)


def _before(target: Any) -> Any:
    """Where the target's rows are: ``(SELECT tableoid, ctid FROM t) AS b``."""
    bare = _in(target, "")
    bare.alias = None
    query = ast.SelectStmt(
        targetList=tuple(_places(bare.relname)),
        fromClause=(bare,),
        limitOption=enums.LimitOption.LIMIT_OPTION_DEFAULT,
        op=enums.SetOperation.SETOP_NONE,
    )
    return ast.RangeSubselect(lateral=False, subquery=query, alias=ast.Alias(aliasname=_BEFORE))


def _equal(left: str, name: str, right: str, other: str) -> Any:
    return ast.A_Expr(
        kind=enums.A_Expr_Kind.AEXPR_OP,
        name=(
            ast.String("pg_catalog"),
            ast.String("="),
        ),  # whatever the session's search_path has by that name
        lexpr=_column(left, name),
        rexpr=_column(right, other),
    )


def _and(where: Any, conditions: list[Any]) -> Any:
    """As the parser would have made it, which keeps no AND within an AND."""
    if where is None:
        first: tuple[Any, ...] = ()
    elif _is(where, ast.BoolExpr) and where.boolop == enums.BoolExprType.AND_EXPR:
        first = where.args
    else:
        first = (where,)
    return ast.BoolExpr(boolop=enums.BoolExprType.AND_EXPR, args=(*first, *conditions))
