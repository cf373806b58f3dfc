"""Items of every kind and shape: statements as the assembler makes them of invented conversations, and with
fields of their own; sessions, events, refusals and findings."""

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pgwitness.index.store import Session
from pgwitness.sinks.items import (
    Discretion,
    Item,
    Who,
    event_item,
    recorder_item,
    session_items,
    statement_item,
)
from pgwitness.statements.model import Copy, Parameter, Result, Statement, Transaction
from pgwitness.wire.codec import query
from support import dialogue as talk
from support.dialogue import Dialogue

TIMES = st.datetimes().map(
    lambda at: at.replace(year=2000 + at.year % 60).isoformat("T", "microseconds") + "Z"
)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a busy machine, time says nothing."""

_TEXT = st.text(max_size=60)
_SOME = st.none() | _TEXT

_COMMANDS = ["SELECT", "UPDATE", "CREATE TABLE", "DROP INDEX", "COPY", "FETCH", "GRANT", "MERGE", "DO", ""]
_VERBS = ["SELECT 1", "INSERT 0 1", "UPDATE 40000", "DELETE 0", "BEGIN", "COMMIT", "ROLLBACK", "CREATE TABLE"]


@st.composite
def conversations(draw: st.DrawFn) -> list[Statement]:
    """Statements as the assembler makes them of what client and server said."""
    dialogue = Dialogue()
    for _ in range(draw(st.integers(1, 4))):
        sql, tag = draw(_TEXT.filter(lambda text: "\0" not in text)), draw(st.sampled_from(_VERBS))
        values = tuple(draw(st.lists(st.none() | st.binary(max_size=8), max_size=3)))
        how = draw(st.integers(0, 3))
        if how == 0:
            dialogue.run(sql, tag, draw(st.sampled_from([b"I", b"T"])))
        elif how == 1:
            dialogue.client(talk.extended(sql, values), talk.sync()).server(talk.answers(tag))
        elif how == 2:
            dialogue.client(query(sql)).server(talk.error(), talk.ready(b"E"))
        else:
            dialogue.client(query(sql))
    if draw(st.booleans()):
        dialogue.ended()
    return dialogue.statements()


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    """With fields that have nothing to do with each other: whatever a later version may say."""
    base = draw(conversations().filter(bool))[0]
    base.sql = draw(_TEXT)
    base.command = draw(st.none() | st.sampled_from(_COMMANDS))
    base.tables = draw(st.lists(_TEXT, max_size=4))
    base.rows = draw(st.none() | st.integers(0, 2**70))
    base.status = draw(st.sampled_from(["ok", "error", "cancelled", "skipped", "unfinished"]))
    base.sqlstate, base.error, base.error_detail, base.tag = (draw(_SOME) for _ in range(4))
    base.identity, base.run, base.on_behalf_of, base.database = (draw(_SOME) for _ in range(4))
    base.duration_us = draw(st.none() | st.integers(0, 10**12))
    base.started_at = draw(TIMES)
    outcome = draw(st.sampled_from(["committed", "rolled_back", "open", "in_doubt"]))
    base.transaction = Transaction(draw(st.integers(1, 10**9)), outcome, draw(_SOME))
    base.parameters = draw(
        st.lists(st.builds(Parameter, type=_SOME, value=_SOME, format=st.just("text")), max_size=3)
    )
    base.result = draw(
        st.none() | st.builds(Result, st.just([]), st.integers(0, 9), st.integers(0, 2**62), st.booleans())
    )
    base.copy = draw(
        st.none()
        | st.builds(
            Copy, st.sampled_from(["in", "out", "both"]), st.integers(0, 9), st.integers(0, 9), st.booleans()
        )
    )
    return base


def a_session(**fields: Any) -> Session:
    given = {
        "session": "0199aaaa-0000-7000-8000-000000000001",
        "identity": "billing-agent",
        "kind": "service",
        "on_behalf_of": None,
        "run": "run-81",
        "connection": "orders",
        "database": "shop",
        "user": "app",
        "client": "10.0.0.7:51123",
        "started_at": "2026-11-22T06:45:31.000123Z",
        "ended_at": None,
        "end_reason": None,
        "end_detail": None,
        "statements": 1,
        "errors": 0,
        "rows_written": 40000,
        "last_activity": "2026-11-22T06:45:31.000123Z",
    }
    return Session(**(given | fields))


HEADER = {
    "client": {"address": "10.0.0.7:51123", "authentication": "SCRAM-SHA-256"},
    "upstream": {"address": "10.0.0.9:5432"},
    "claims": {"application_name": "psql"},
}


@st.composite
def sessions(draw: st.DrawFn) -> Who:
    address = (
        st.none()
        | st.sampled_from(["10.0.0.7:51123", "[::1]:5432", "/tmp/.s.PGSQL", "db.internal:1"])
        | _TEXT
    )
    ended = draw(st.none() | TIMES)
    session = a_session(
        identity=draw(_SOME),
        kind=draw(st.sampled_from(["service", "human", None])),
        on_behalf_of=draw(_SOME),
        run=draw(_SOME),
        connection=draw(_SOME),
        database=draw(_SOME),
        client=draw(address),
        started_at=draw(TIMES),
        ended_at=ended,
        end_reason=draw(_SOME) if ended else None,
    )
    upstream = {"address": draw(address)}
    return Who.of(session, {"upstream": upstream, "claims": {"application_name": draw(_SOME)}})


def discretions() -> st.SearchStrategy[Discretion]:
    return st.builds(
        Discretion, st.sampled_from(["whole", "normalised", "withheld"]), st.booleans(), st.integers(1, 500)
    )


_PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _TEXT
_MORE = st.dictionaries(_TEXT, _PLAIN | st.lists(_TEXT, max_size=2), max_size=3)


@st.composite
def items(
    draw: st.DrawFn, kinds: tuple[str, ...] = ("statement", "session", "event", "refusal", "finding", "test")
) -> Item:
    kind = draw(st.sampled_from(kinds))
    who = draw(sessions())
    at, position = draw(TIMES), draw(st.integers(64, 2**62))
    if kind == "statement":
        statement = draw(statements() | conversations().filter(bool).map(lambda found: found[-1]))
        return statement_item(who, statement, draw(discretions()), final=draw(st.booleans()))
    if kind == "session":
        start, end = session_items(who)
        return end or start
    if kind == "event":
        event = draw(st.sampled_from(["kill_requested", "sequence_gap", "malformed"]))
        return event_item(who, position, 1, at, {**draw(_MORE), "event": event})
    if kind == "refusal":
        said = {
            "event": "login_refused",
            "identity": draw(_SOME),
            "address": draw(_SOME),
            "reason": draw(_SOME),
        }
        return recorder_item(position, at, {**draw(_MORE), **said, "database": draw(_SOME)})
    if kind == "finding":
        said = {
            "event": "watch_finding",
            "change": draw(st.sampled_from(["new", "again", "more", "gone"])),
            "connection": draw(_TEXT),
            "key": draw(_TEXT),
            "kind": draw(_TEXT),
            "level": draw(st.sampled_from(["alarm", "weakness", "note"])),
            "what": draw(_TEXT),
            "details": draw(_MORE),
            "first_seen": draw(TIMES),
            "last_seen": draw(TIMES),
        }
        return recorder_item(position, at, said)
    return Item("test/1", "test", at)


def settled_item(sql: str, tag: str, discretion: Discretion | None = None, **fields: Any) -> Item:
    """A statement that the server completed, as its sink sends it."""
    (statement,) = Dialogue().run(sql, tag).statements()
    if statement.command == "COPY":
        statement.copy = Copy("in", 10, 1, True)
    statement = msgspec.structs.replace(statement, **fields)
    who = Who.of(a_session(), HEADER)
    return replace(statement_item(who, statement, discretion or Discretion()))
