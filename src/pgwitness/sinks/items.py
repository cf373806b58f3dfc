"""What a sink sends: one item for a statement, a session's start and end, an event, a refusal, a finding.

``id`` is stable: whatever is sent twice, because somebody died between taking it and saying so, has the same
id. A statement's final state is ``SESSION/SEQ``; what was said of it while its transaction was open is
``SESSION/SEQ/open``, and is overtaken by the final one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal

import msgspec
from msgspec import structs

from pgwitness.index.discretion import Text, withhold
from pgwitness.index.store import Session
from pgwitness.statements.model import Parameter, Statement

Kind = Literal["statement", "session_started", "session_ended", "session_event", "refusal", "finding", "test"]
TEXTS: Final[dict[str, Text]] = {"whole": "all", "normalised": "normalised", "withheld": "none"}


@dataclass(frozen=True, slots=True)
class Discretion:
    """How much of a statement a sink may send."""

    sql: Literal["whole", "normalised", "withheld"] = "whole"
    parameters: bool = True
    longest: int = 1 << 20
    """Characters of one text. Lists are cut where they would be about as long (``most``)."""


_EVERYTHING: Final = Discretion(longest=1 << 31)
_ENTRY: Final = 64
"""Characters of an entry of a list, roughly."""
_FEWEST: Final = 8
_STUB: Final = 200


@dataclass(frozen=True, slots=True)
class Address:
    """One side of a connection, as far as it is known."""

    host: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: Any) -> Address:
        """``10.0.0.7:51123``, ``[::1]:51123``, or the path of a Unix socket."""
        given = str(text or "")
        if not given or "/" in given:
            return cls(given or None)
        host, _, port = given.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            return cls(given)
        return cls(host.strip("[]"), int(port))


@dataclass(frozen=True, slots=True)
class Who:
    """The session that something belongs to."""

    session: Session
    client: Address = Address()
    server: Address = Address()
    application: str | None = None
    authentication: str | None = None

    @classmethod
    def of(cls, session: Session, header: dict[str, Any]) -> Who:
        client, claims = header.get("client") or {}, header.get("claims") or {}
        return cls(
            session,
            Address.parse(session.client),
            Address.parse((header.get("upstream") or {}).get("address")),
            claims.get("application_name"),
            client.get("authentication"),
        )


@dataclass(frozen=True, slots=True)
class Item:
    id: str
    kind: Kind
    at: str
    """RFC 3339: when it began, or happened."""
    who: Who | None = None
    statement: Statement | None = None
    """Already as the sink may send it."""
    details: dict[str, Any] = field(default_factory=dict)
    """Of an event, a refusal or a finding: its document."""
    final: bool = True

    @property
    def milliseconds(self) -> int:
        return nanoseconds(self.at) // 1_000_000


def statement_item(who: Who, statement: Statement, discretion: Discretion, *, final: bool = True) -> Item:
    """Changes the statement in place, to what may be sent of it."""
    name = f"{statement.session}/{statement.seq}" + ("" if final else "/open")
    return Item(name, "statement", statement.started_at, who, _discreet(statement, discretion), final=final)


def session_items(who: Who) -> tuple[Item, Item | None]:
    """Its start and, if it has ended, its end."""
    session = who.session
    start = Item(f"{session.session}/start", "session_started", session.started_at, who)
    if session.ended_at is None:
        return start, None
    return start, Item(f"{session.session}/end", "session_ended", session.ended_at, who)


def event_item(
    who: Who,
    position: int,
    ordinal: int,
    at: str,
    event: dict[str, Any],
    discretion: Discretion = _EVERYTHING,
) -> Item:
    """Something that happened in a session beside statements."""
    name = f"{who.session.session}/event/{position}.{ordinal}"
    return Item(name, "session_event", at, who, details=cut_details(event, discretion.longest))


def recorder_item(
    position: int, at: str, event: dict[str, Any], discretion: Discretion = _EVERYTHING
) -> Item:
    """A refused log-in or session, or a finding of the watch. Two gateways may use one position, hardly in
    one microsecond."""
    kind: Kind = "finding" if event.get("event") == "watch_finding" else "refusal"
    return Item(f"event/{at}/{position}", kind, at, details=cut_details(event, discretion.longest))


def document(item: Item) -> dict[str, Any]:
    """Our own format (docs/sinks.md): flat, the fields of a statement are those of docs/statements.md."""
    made: dict[str, Any] = {"id": item.id, "type": item.kind, "at": item.at}
    if item.statement is not None:
        made |= msgspec.to_builtins(item.statement)
        made["final"] = item.final
        return made
    if item.who is not None:
        made |= _about(item.who, ended=item.kind == "session_ended")
    return made | {name: value for name, value in item.details.items() if name not in ("id", "type", "at")}


def message(item: Item) -> str:
    """One line for a person."""
    statement, details = item.statement, item.details
    if statement is not None:
        what = statement.command or "statement"
        on = f" {statement.tables[0]}" if statement.tables else ""
        rows = f", {statement.rows:,} rows" if statement.rows is not None else ""
        outcome = statement.transaction.outcome.replace("_", " ")
        return f"{statement.identity or 'unknown'}: {what}{on}: {statement.status}{rows}, {outcome}"
    identity = item.who.session.identity if item.who else details.get("identity")
    if item.who is not None and item.kind == "session_started":
        return f"{identity or 'unknown'}: session on {item.who.session.connection} started"
    if item.who is not None and item.kind == "session_ended":
        return f"{identity or 'unknown'}: session on {item.who.session.connection} ended"
    if item.kind == "session_event":
        return f"{identity or 'unknown'}: {str(details.get('event', 'event')).replace('_', ' ')}"
    if item.kind == "refusal":
        return f"{identity or 'unknown'}: log-in refused: {str(details.get('reason')).replace('_', ' ')}"
    if item.kind == "finding":
        return f"{details.get('connection')}: {details.get('what')}"
    return "pgwitness sink test" if item.kind == "test" else item.kind.replace("_", " ")


def nanoseconds(at: str) -> int:
    """Since the epoch, of an RFC 3339 time with microseconds at most."""
    moment = datetime.fromisoformat(at)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def _about(who: Who, *, ended: bool) -> dict[str, Any]:
    session = who.session
    made: dict[str, Any] = {
        "session": session.session,
        "identity": session.identity,
        "kind": session.kind,
        "on_behalf_of": session.on_behalf_of,
        "run": session.run,
        "connection": session.connection,
        "database": session.database,
        "user": session.user,
        "application": who.application,
        "client": session.client,
        "started_at": session.started_at,
    }
    if ended:
        for name in ("ended_at", "end_reason", "end_detail", "statements", "errors", "rows_written"):
            made[name] = getattr(session, name)
        made["erased"] = session.erased_at is not None
    return made


def _discreet(statement: Statement, discretion: Discretion) -> Statement:
    given = statement.parameters
    statement = withhold(statement, TEXTS[discretion.sql])
    if discretion.parameters:
        statement.parameters = given
    else:
        statement.parameters = [Parameter(each.type, None, each.format, "withheld") for each in given]
    return cut(statement, discretion.longest)


def cut(statement: Statement, longest: int) -> Statement:
    """No text longer than that, and no list that would be. Changes it in place."""
    entries = most(longest)

    def shorter(text: str) -> str:
        if len(text) > longest:
            statement.truncated = True
        return text[:longest]

    def fewer(some: list[Any]) -> list[Any]:
        if len(some) > entries:
            statement.truncated = True
        return some[:entries]

    for name in ("sql", "prepared", "portal", "tag", "error", "error_detail"):
        text = getattr(statement, name)
        if text is not None:
            setattr(statement, name, shorter(text))
    statement.tables = [shorter(name) for name in fewer(statement.tables)]
    statement.parameters = fewer(statement.parameters)
    for parameter in statement.parameters:
        if parameter.value is not None:
            parameter.value = shorter(parameter.value)
    if statement.result is not None:
        statement.result.columns = fewer(statement.result.columns)
        for column in statement.result.columns:
            column.name = shorter(column.name)
    return statement


def most(longest: int) -> int:
    """Entries of a list, where a text has ``longest`` characters."""
    return max(_FEWEST, longest // _ENTRY)


def cut_details(details: dict[str, Any], longest: int) -> dict[str, Any]:
    """As ``cut``, of an event's document."""
    made: dict[str, Any] = _shorter(details, longest)
    return details if made == details else made | {"truncated": True}


def stub(item: Item) -> Item:
    """That there is such an item, where the other side takes no more of it."""
    statement = item.statement
    if statement is None:
        return replace(item, details=_shorter(item.details, _STUB) | {"truncated": True})
    empty = structs.replace(
        statement, sql="", prepared="", portal="", parameters=[], tables=[], result=None, truncated=True
    )
    return replace(item, statement=cut(empty, _STUB))


def _shorter(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return value[:longest]
    if isinstance(value, list):
        return [_shorter(each, longest) for each in value[: most(longest)]]
    if isinstance(value, dict):
        some = islice(value.items(), most(longest))
        return {name[:longest]: _shorter(each, longest) for name, each in some}
    return value
