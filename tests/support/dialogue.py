"""A scripted conversation: what the client says, what the server answers, and the statements that come of it.

talk = Dialogue().client(query("DELETE FROM a")).server(complete("DELETE 3"), ready())
(statement,) = talk.statements()
"""

from struct import pack

import msgspec

from pgwitness.statements.assembler import (
    CLIENT,
    ELIDED,
    EVENT,
    SERVER,
    SESSION_ENDED,
    SESSION_STARTED,
    Frame,
    SessionAssembler,
)
from pgwitness.statements.model import Event, SessionEvent, Statement, StatementRecorded, TransactionSettled
from pgwitness.wire.codec import error_response, message, query, ready_for_query

SESSION = bytes(range(16))
START = 1_795_000_000_000_000_000  # 2026-11-18T11:06:40Z
STEP = 1_000_000  # a frame a millisecond
HEADER = {
    "version": 1,
    "session": "0199aaaa-0000-7000-8000-000000000001",
    "identity": "billing-agent",
    "on_behalf_of": None,
    "connection": "orders",
    "database": "shop",
    "claims": {"run": "run-81"},
    "client": {"parameters": {}},
    "upstream": {"parameters": {"server_version": "15.6"}},
}


def text(value: str) -> bytes:
    return value.encode() + b"\0"


# --- the client's messages ---


def parse(sql: str, name: str = "", oids: tuple[int, ...] = ()) -> bytes:
    return message(b"P", text(name) + text(sql) + pack(f"!H{len(oids)}I", len(oids), *oids))


def bind(
    values: tuple[bytes | None, ...] = (),
    statement: str = "",
    portal: str = "",
    formats: tuple[int, ...] = (),
    results: tuple[int, ...] = (),
) -> bytes:
    body = text(portal) + text(statement) + pack(f"!H{len(formats)}H", len(formats), *formats)
    body += pack("!H", len(values))
    for value in values:
        body += pack("!i", -1) if value is None else pack("!I", len(value)) + value
    return message(b"B", body + pack(f"!H{len(results)}H", len(results), *results))


def describe(name: str = "", kind: bytes = b"P") -> bytes:
    return message(b"D", kind + text(name))


def close(name: str = "", kind: bytes = b"S") -> bytes:
    return message(b"C", kind + text(name))


def execute(portal: str = "", limit: int = 0) -> bytes:
    return message(b"E", text(portal) + pack("!I", limit))


def sync() -> bytes:
    return message(b"S")


def flush() -> bytes:
    return message(b"H")


def copy_data(data: bytes) -> bytes:
    return message(b"d", data)


def copy_done() -> bytes:
    return message(b"c")


def copy_fail(reason: str = "no") -> bytes:
    return message(b"f", text(reason))


def extended(
    sql: str, values: tuple[bytes | None, ...] = (), oids: tuple[int, ...] = (), **options: object
) -> bytes:
    """Parse, Bind, Describe, Execute, without Sync."""
    return parse(sql, oids=oids) + bind(values, **options) + describe() + execute()  # type: ignore[arg-type]


# --- the server's messages ---


def parsed() -> bytes:
    return message(b"1")


def bound() -> bytes:
    return message(b"2")


def closed() -> bytes:
    return message(b"3")


def no_data() -> bytes:
    return message(b"n")


def suspended() -> bytes:
    return message(b"s")


def row_description(*columns: tuple[str, int], format: int = 0) -> bytes:
    body = b"".join(text(name) + pack("!IhIhih", 0, 0, oid, -1, -1, format) for name, oid in columns)
    return message(b"T", pack("!H", len(columns)) + body)


def parameter_description(*oids: int) -> bytes:
    return message(b"t", pack(f"!H{len(oids)}I", len(oids), *oids))


def data_row(*values: bytes | None) -> bytes:
    body = b"".join(pack("!i", -1) if value is None else pack("!I", len(value)) + value for value in values)
    return message(b"D", pack("!H", len(values)) + body)


def complete(tag: str) -> bytes:
    return message(b"C", text(tag))


def empty() -> bytes:
    return message(b"I")


def error(sqlstate: str = "22012", severity: str = "ERROR", position: int | None = None) -> bytes:
    plain = error_response(severity, sqlstate, f"error {sqlstate}")
    if position is None:
        return plain
    return message(b"E", plain[5:-1] + b"P" + text(str(position)) + b"\0")


def ready(status: bytes = b"I") -> bytes:
    return ready_for_query(status)


def copy_in() -> bytes:
    return message(b"G", b"\0\0\0")


def copy_out() -> bytes:
    return message(b"H", b"\0\0\0")


def copy_both() -> bytes:
    return message(b"W", b"\0\0\0")


def answers(tag: str, status: bytes = b"I") -> bytes:
    """To Parse, Bind, Describe, Execute and Sync of a statement without rows."""
    return parsed() + bound() + no_data() + complete(tag) + ready(status)


class Dialogue:
    """One session's frames, one millisecond apart, and what is made of them."""

    def __init__(self, keep_results: bool = False, limit: int = 1 << 20, **header: object) -> None:
        self.frames: list[Frame] = []
        self._options = (keep_results, limit)
        self._append(SESSION_STARTED, msgspec.json.encode(HEADER | header))

    def _append(self, kind: int, payload: bytes) -> "Dialogue":
        number = len(self.frames)
        self.frames.append((SESSION, number, kind, START + number * STEP, 64 + number * 8, payload))
        return self

    def client(self, *messages: bytes) -> "Dialogue":
        return self._append(CLIENT, b"".join(messages))

    def server(self, *messages: bytes) -> "Dialogue":
        return self._append(SERVER, b"".join(messages))

    def elided(self, messages: int, size: int) -> "Dialogue":
        return self._append(ELIDED, pack("<QQ", messages, size))

    def event(self, **event: object) -> "Dialogue":
        return self._append(EVENT, msgspec.json.encode(event))

    def ended(self, reason: str = "terminated") -> "Dialogue":
        return self._append(SESSION_ENDED, msgspec.json.encode({"reason": reason, "detail": None}))

    def run(self, sql: str, tag: str, status: bytes = b"I") -> "Dialogue":
        """A simple Query of one statement without rows, and its answer."""
        return self.client(query(sql)).server(complete(tag), ready(status))

    def events(self) -> list[Event]:
        assembler = SessionAssembler(*self._options)
        return [event for frame in self.frames for event in assembler.feed(frame)]

    def told(self) -> list[dict[str, object]]:
        """What happened beside statements."""
        return [event.event for event in self.events() if isinstance(event, SessionEvent)]

    def statements(self) -> list[Statement]:
        """As a store holds them at the end: with the outcomes that were settled later."""
        return settled(self.events())

    def summary(self) -> list[tuple[str, str, str | None, str]]:
        """(SQL, status, tag, outcome) of each."""
        return [(each.sql, each.status, each.tag, each.transaction.outcome) for each in self.statements()]


def settled(events: list[Event]) -> list[Statement]:
    statements: list[Statement] = []
    for event in events:
        if isinstance(event, StatementRecorded):
            statements.append(event.statement)
        elif isinstance(event, TransactionSettled):
            for statement in statements:
                transaction = statement.transaction
                within = event.first_seq <= statement.seq <= event.last_seq
                if transaction.number == event.number and transaction.outcome == "open" and within:
                    transaction.outcome, transaction.reason = event.outcome, event.reason
    return statements
