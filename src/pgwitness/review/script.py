"""A session as an SQL script: to be read, and to be run with psql on a restored copy.

- What the server carried out is there as statements, bound values in place. What it refused, skipped or never
  finished, and function calls of the protocol, are comments.
- COPY from the client stands with its data: see ``copying``.
- Transactions end as they ended: a COMMIT that was answered by ROLLBACK is a ROLLBACK, statements that shared
  an implicit transaction stand between BEGIN and its end.
- The text is an agent's, so it must not reach psql's own commands: a statement with a backslash outside of
  its bound values is run by a DO block, within dollar quotes, where psql and the server cannot read it
  differently.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import count, groupby
from typing import Any

from pgwitness.index.store import Session
from pgwitness.review import copying
from pgwitness.review.values import literal, pieces
from pgwitness.statements.model import Parameter, Statement
from pgwitness.statements.sql import describe

_TYPE = re.compile(r"[a-z_][a-z0-9_ ]*(\[\])?")
_LINE = re.compile(r"\r\n|\r|\n")
_BEGINS = ("BEGIN", "START TRANSACTION")


def script(session: Session, header: dict[str, Any], statements: Iterable[Statement]) -> Iterator[str]:
    """The script's text in pieces."""
    yield from _head(session, header)
    in_block = False
    for _, group in groupby(statements, key=lambda statement: statement.transaction.number):
        first, *ahead = _two(group)
        if in_block:
            yield "ROLLBACK;\n"
            in_block = False
        yield f"\n-- transaction {first.transaction.number}\n"
        implicit = bool(ahead) and first.command not in _BEGINS
        if implicit:
            yield "BEGIN; -- implicit\n"
        last = first
        for last in _chain(first, ahead, group):
            yield from _statement(last)
            in_block = _in_block(last, in_block)
        if implicit:
            yield "COMMIT;\n" if last.transaction.outcome == "committed" else "ROLLBACK;\n"
    if in_block:
        yield "ROLLBACK;\n"
    ended = f"ended {session.ended_at}: {session.end_reason}" if session.ended_at else "still open"
    yield f"\n{_comment(f'session {session.session} {ended}')}\n"


def _head(session: Session, header: dict[str, Any]) -> Iterator[str]:
    behalf = f" on behalf of {session.on_behalf_of}" if session.on_behalf_of else ""
    run = f", run {session.run}" if session.run else ""
    about = (
        f"pgwitness session {session.session}\n{session.identity} ({session.kind}){behalf}{run}\n"
        f"connection {session.connection}, database {session.database}, from {session.client}\n"
        f"started {session.started_at}, {session.statements} statements\n"
        "\nWhat the server did not carry out is commented out. Run it on a restored copy, never on the\n"
        "database itself: psql --no-psqlrc --file THIS"
    )
    yield _comment(about) + "\n"
    encoding = ((header.get("client") or {}).get("parameters") or {}).get("client_encoding")
    if encoding:
        yield _comment(f"the client's encoding was {encoding}, this file is UTF-8") + "\n"
    yield "SET client_encoding = 'UTF8';\n"


def _two(group: Iterator[Statement]) -> list[Statement]:
    return [statement for _, statement in zip(range(2), group, strict=False)]


def _chain(first: Statement, ahead: list[Statement], rest: Iterator[Statement]) -> Iterator[Statement]:
    yield first
    yield from ahead
    yield from rest


def _in_block(statement: Statement, before: bool) -> bool:
    """Whether an explicit transaction is open after it."""
    effect = describe(statement.sql).effect
    if statement.status != "ok" or effect is None:
        return before
    if effect.kind == "begin":
        return True
    if effect.kind in ("commit", "rollback", "prepare_transaction"):
        return effect.flag
    return before


def _statement(statement: Statement) -> Iterator[str]:
    tag = statement.tag or statement.status
    duration = "" if statement.duration_us is None else f"  {statement.duration_us / 1000:.3f} ms"
    outcome = statement.transaction.outcome
    yield f"-- {statement.seq}  {statement.started_at}  {tag}{duration}  {outcome}\n"
    why = _why_not(statement)
    if why:
        yield _comment(f"{why}\n{_rendered(statement).rstrip().rstrip(';')};") + "\n"
    elif statement.command == "COMMIT" and statement.tag == "ROLLBACK":
        yield "ROLLBACK; -- sent as COMMIT\n"
    elif statement.copy is not None:
        yield copying.block(statement.sql, statement.copy)
    else:
        yield _runnable(statement)


def _why_not(statement: Statement) -> str | None:
    """Why it stays a comment."""
    if statement.status == "error":
        return f"failed: {statement.sqlstate} {statement.error}"
    if statement.status != "ok":
        return {"cancelled": "cancelled", "skipped": "never ran: what came before it failed"}.get(
            statement.status, "did not finish while it was recorded"
        )
    if statement.truncated and statement.copy is None:
        return "not whole here: its text or its values are too long for the index or kept out of it"
    if statement.copy is not None:
        copy = statement.copy
        why = copying.why_not(statement.sql, copy, statement.truncated)
        return f"COPY {copy.direction}, {copy.rows} rows, {copy.bytes} bytes: {why}" if why else None
    return "a function call of the protocol" if statement.protocol == "function" else None


def _runnable(statement: Statement) -> str:
    parts = pieces(statement.sql, statement.parameters, _typed)
    text = "".join(part for part, _ in parts).rstrip().rstrip(";")
    if any("\\" in part for part, bound in parts if not bound):
        outer, inner = _dollar(text, "do"), _dollar(text, "sql")
        return f"DO {outer}BEGIN EXECUTE {inner}{text}{inner}; END{outer};\n"
    # On a line of its own where the text may end in a comment.
    return f"{text}\n;\n" if "--" in text.rpartition("\n")[2] else f"{text};\n"


def _typed(parameter: Parameter) -> str:
    text = literal(parameter)
    return f"{text}::{parameter.type}" if parameter.type and _TYPE.fullmatch(parameter.type) else text


def _rendered(statement: Statement) -> str:
    return "".join(part for part, _ in pieces(statement.sql, statement.parameters, _typed))


def _dollar(text: str, name: str) -> str:
    """A dollar quote that the text does not hold."""
    return next(quote for n in count() if (quote := f"${name}{n or ''}$") not in text)


def _comment(text: str) -> str:
    return "\n".join(f"-- {line}".rstrip() for line in _LINE.split(text))
