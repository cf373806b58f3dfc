"""What differs between a claim and the statement that it speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from pglast import parse_sql, parser
from pglast.stream import RawStream

from pgwitness.review.claims.model import Difference
from pgwitness.review.claims.sides import Claimed, Recorded, told
from pgwitness.review.claims.values import same

ALIKE: Final = 0.5
"""Below it, two statements are no altered version of each other."""
SHOWN: Final = 2000
"""Characters of a clause that differs."""
_WRITTEN: Final = 1 << 16
"""Characters of a text that is taken apart once more to show a clause of it."""


def likeness(claim: Claimed, record: Recorded) -> float:
    """0 to 1: how much of command, relations, clauses and values they have in common; 0 below ``ALIKE``."""
    left, right = claim.form, record.form
    if left.shape == right.shape:
        return 0.8 + 0.2 * _share_of_values(claim, record)
    one, other = left.template, right.template
    if one.command is None or other.command is None:
        return 0.0
    common = total = 0.0
    for equal, weight in (
        (one.command == other.command, 3.0),
        (one.relations == other.relations, 3.0 if one.relations or other.relations else 0.0),
    ):
        common += weight * equal
        total += weight
    for name in one.clauses.keys() | other.clauses.keys():
        if name in ("command", "table"):
            continue
        weight = 2.0 if name in ("WHERE", "SET", "columns", "VALUES") else 1.0
        common += weight * (one.clauses.get(name) == other.clauses.get(name))
        total += weight
    found = common / total if total else 0.0
    return 0.79 * found if found >= ALIKE else 0.0


def _share_of_values(claim: Claimed, record: Recorded) -> float:
    pairs = list(zip(claim.form.values, record.form.values, strict=True))
    return sum(same(a, b) is True for a, b in pairs) / len(pairs) if pairs else 1.0


def differences(claim: Claimed, record: Recorded, fetched: int | None = None) -> list[Difference]:
    """All of them, the texts' first. ``fetched``: the rows that came out of the cursor that it declares."""
    return [
        *_of_text(claim, record),
        *_of_copied(record),
        *_of_outcome(claim, record),
        *_of_rows(claim, record, fetched),
    ]


def _of_copied(record: Recorded) -> Iterator[Difference]:
    """No testimony says what a COPY brought in."""
    copy = record.statement.copy
    if copy is not None and copy.direction != "out" and record.statement.status == "ok":
        yield Difference(
            "unstated", "data that were copied in", None, f"{copy.rows:,} rows, {copy.bytes:,} bytes"
        )


def _of_text(claim: Claimed, record: Recorded) -> Iterator[Difference]:
    left, right = claim.form.template, record.form.template
    if record.statement.truncated and not record.statement.sql:
        yield Difference("unstated", "the text is not in the index")
        return
    if claim.form.shape == record.form.shape:
        yield from _of_values(claim, record)
        return
    if left.command != right.command:
        yield Difference("altered", "command", left.command, right.command)
    changed = [
        name
        for name in dict.fromkeys([*left.clauses, *right.clauses])
        if name != "command" and left.clauses.get(name) != right.clauses.get(name)
    ]
    for name in changed:
        yield Difference("altered", name, _clause(claim.sql, name), _clause(record.sql, name))
    yield from _of_values(claim, record, [name for name in left.clauses if name not in changed])


def _of_values(claim: Claimed, record: Recorded, clauses: list[str] | None = None) -> Iterator[Difference]:
    """Of all clauses, or of these, whose skeletons are the same."""
    left = [pair for pair in _slots(claim) if clauses is None or pair[0].clause in clauses]
    right = [pair for pair in _slots(record) if clauses is None or pair[0].clause in clauses]
    for (slot, one), (_, other) in zip(left, right, strict=False):
        equal = same(one, other)
        if equal is not True:
            what = f"value of {slot.near} in {slot.clause}" if slot.near else f"value in {slot.clause}"
            yield Difference("unstated" if equal is None else "altered", what, told(one), told(other))


def _slots(side: Claimed | Recorded) -> list[tuple[Any, Any]]:
    return list(zip(side.form.template.slots, side.form.values, strict=True))


def _of_outcome(claim: Claimed, record: Recorded) -> Iterator[Difference]:
    said, statement = claim.claim.result, record.statement
    became = statement.status
    why = " ".join(part for part in (became, statement.sqlstate, statement.error) if part)
    if said.status == "ok" and became != "ok":
        yield Difference("outcome", "success", "carried out", why)
        return
    if said.status == "error" and became == "ok":
        yield Difference("outcome", "success", f"failed: {said.error or 'an error'}", "carried out")
    outcome = statement.transaction.outcome
    unmoved = record.form.template.reads or record.form.template.own
    if claim.outcome is None or unmoved or became != "ok" or claim.outcome == outcome:
        return
    reason = statement.transaction.reason
    why = f" ({reason})" if reason and reason != _words(outcome) else ""
    yield Difference("outcome", "outcome", _words(claim.outcome), _words(outcome) + why)


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _of_rows(claim: Claimed, record: Recorded, fetched: int | None) -> Iterator[Difference]:
    said, rows = claim.claim.result, record.statement.rows
    if record.form.template.cursor:
        rows = fetched
    if said.rows is None or rows is None or record.statement.status != "ok":
        return
    shortened = said.partial and record.form.template.reads and said.rows < rows
    if said.rows == rows or shortened:
        return
    yield Difference("rows", "rows", f"{said.rows:,}", f"{rows:,}")


def silent(claim: Claimed, record: Recorded) -> str | None:
    """What the testimony keeps silent about, of a statement that it claims truly."""
    statement = record.statement
    if claim.claim.result.status is None and statement.status != "ok":
        return f"does not say that it failed: {statement.status} {statement.sqlstate or ''}".rstrip()
    rolled_back = statement.transaction.outcome == "rolled_back" and statement.status == "ok"
    if rolled_back and claim.outcome is None and not record.form.template.reads:
        return "does not say that it was rolled back"
    return None


# --- a clause, as text ---


_ATTRIBUTES: Final = {
    "WHERE": "whereClause",
    "FROM": "fromClause",
    "SET": "targetList",
    "columns": "targetList",
    "table": "relation",
    "USING": "usingClause",
    "RETURNING": "returningList",
    "WITH": "withClause",
    "GROUP BY": "groupClause",
    "HAVING": "havingClause",
    "ORDER BY": "sortClause",
    "LIMIT": "limitCount",
    "OFFSET": "limitOffset",
    "VALUES": "selectStmt",
    "ON CONFLICT": "onConflictClause",
}


def _clause(sql: str, name: str) -> str | None:
    """The clause as PostgreSQL's tree has it, written again; the whole text where that is not possible; None
    if there is no such clause."""
    attribute = _ATTRIBUTES.get(name)
    if attribute is None or len(sql) > _WRITTEN:
        return _cut(sql)
    statement = _parsed(sql)
    if statement is None:
        return _cut(sql)
    found = getattr(statement, attribute, None)
    if found is None and name == "columns":
        found = getattr(statement, "cols", None)
    if found is None or found == ():
        return None
    try:
        if isinstance(found, tuple):
            return _cut(", ".join(_written(statement, each) for each in found))
        return _cut(_written(statement, found))
    except Exception:  # pglast's printer knows no such node
        return _cut(sql)


def _written(statement: Any, node: Any) -> str:
    text: str = RawStream()(node)
    target = type(statement).__name__ == "UpdateStmt" and type(node).__name__ == "ResTarget"
    if target and node.name and not text.startswith(node.name):
        return f"{node.name} = {RawStream()(node.val)}"
    return text


@lru_cache(64)
def _parsed(sql: str) -> Any:
    try:
        found = parse_sql(sql)
    except (parser.ParseError, UnicodeError, ValueError, RecursionError):
        return None
    statement = found[0].stmt if len(found) == 1 else None
    inner = getattr(statement, "query", None)
    return inner if inner is not None and type(statement).__name__ == "DeclareCursorStmt" else statement


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
