"""The record's outcomes against the table itself: random conversations with a real server.

Every writing statement inserts a number of its own. At the end, the numbers in the table must be exactly
those of the statements that the assembler calls committed, whatever blocks, savepoints, pipelines and
errors there were.
"""

import random
import re
import select
import time
from collections.abc import Iterator

import psycopg
import pytest

from pgwitness.statements.assembler import SessionAssembler
from pgwitness.statements.model import Event
from pgwitness.wire.codec import query, terminate
from support.dialogue import (
    Dialogue,
    bind,
    close,
    copy_data,
    copy_done,
    copy_fail,
    describe,
    execute,
    flush,
    parse,
    sync,
)
from support.raw import RawClient
from support.servers import PASSWORD, Server

CONTROL = (
    *["BEGIN", "COMMIT"] * 3,
    "START TRANSACTION",
    "ROLLBACK",
    "END",
    "ABORT",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    *["SAVEPOINT a", "SAVEPOINT b", "ROLLBACK TO a", "ROLLBACK TO SAVEPOINT b", "RELEASE a", "RELEASE b"] * 2,
)
ERRORS = ("SELECT 1/0", "SELECT * FROM nowhere", "SELEC", "INSERT INTO outcomes VALUES (-1), (-1)")
INSERTED = re.compile(r"INSERT INTO outcomes VALUES \((\d+)\)|COPY outcomes FROM STDIN /\* (\d+) \*/")


class Talker:
    """Makes random messages; each insert has its own number."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0
        self.named: set[str] = set()

    def sql(self) -> str:
        dice = self.random.random()
        if dice < 0.35:
            return self.random.choice(CONTROL)
        if dice < 0.45:
            return self.random.choice(ERRORS)
        if dice < 0.5:
            return "SELECT 1"
        self.number += 1
        return f"INSERT INTO outcomes VALUES ({self.number})"

    def simple(self) -> bytes:
        return query("; ".join(self.sql() for _ in range(self.random.choice((1, 1, 1, 2, 3, 5)))))

    def extended(self) -> bytes:
        wire = b""
        for _ in range(self.random.choice((1, 1, 2, 4, 8))):
            sql = self.sql()
            wire += self._named(sql) if self.random.random() < 0.3 else self._unnamed(sql)
        return wire + self.random.choice((sync(), sync(), sync(), flush(), b""))

    def _unnamed(self, sql: str) -> bytes:
        wire = parse(sql) + bind()
        if self.random.random() < 0.5:
            wire += describe()
        return wire + execute()

    def _named(self, sql: str) -> bytes:
        name = self.random.choice("pqr")
        reuse = self.random.random() < 0.3
        wire = b"" if reuse else close(name) + parse(sql, name)
        return wire + bind((), name, name) + execute(name, self.random.choice((0, 0, 1)))

    def copy(self) -> bytes:
        """A COPY whose data follows at once, sometimes bad or given up; a Sync may stand before it."""
        self.number += 1
        sql = f"COPY outcomes FROM STDIN /* {self.number} */"
        end = self.random.choice((copy_done(), copy_done(), copy_done(), copy_fail()))
        line = self.random.choice((f"{self.number}\n", f"{self.number}\n", "bad\n")).encode()
        data = copy_data(line[:1]) + copy_data(line[1:]) + end
        if self.random.random() < 0.5:
            return query(sql) + data
        return parse(sql) + bind() + execute() + self.random.choice((sync(), flush(), b"")) + data + sync()

    def batch(self) -> bytes:
        if self.random.random() < 0.15:
            return self.copy()
        parts = [self.simple() if self.random.random() < 0.5 else self.extended()]
        if self.random.random() < 0.3:
            parts.append(self.extended())
        return b"".join(parts)


def converse(server: Server, talker: Talker, batches: int, orderly: bool) -> Dialogue:
    """Frames as the gateway would record them: chunks of what arrived. Not ``orderly`` hangs up on the last
    batch."""
    talk = Dialogue()
    with RawClient(server.port) as client:
        client.login("app", PASSWORD, "shop")
        for number in range(batches):
            last = number == batches - 1
            wire = sync() + terminate() if last and orderly else talker.batch()
            talk.client(wire)
            client.send(wire)
            if last and not orderly:
                return talk.ended("client_lost")
            while select.select([client.socket], [], [], 5 if last else 0.004)[0]:
                chunk = client.socket.recv(65536)
                if not chunk:
                    break
                talk.server(chunk)
    return talk.ended("terminated")


def outcomes(talk: Dialogue, outcome: str) -> set[int]:
    """The numbers that statements of this outcome inserted."""
    numbers = set()
    for statement in talk.statements():
        inserted = INSERTED.fullmatch(statement.sql)
        ran = statement.status in ("ok", "unfinished")
        if inserted and ran and statement.transaction.outcome == outcome:
            numbers.add(int(inserted[1] or inserted[2]))
    return numbers


def restored(talk: Dialogue) -> list[Event]:
    """What a reader tells that is stored and restored before every frame."""
    assembler, events = SessionAssembler(), []
    for frame in talk.frames:
        assembler = SessionAssembler.restore(assembler.snapshot())
        events += assembler.feed(frame)
    return events


@pytest.fixture
def connection(server: Server) -> Iterator[psycopg.Connection[tuple[int]]]:
    with psycopg.connect(server.dsn("shop", "app"), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS outcomes")
        connection.execute(
            "CREATE TABLE outcomes (n int CONSTRAINT one UNIQUE DEFERRABLE INITIALLY DEFERRED)"
        )
        yield connection


def there(connection: psycopg.Connection[tuple[int]]) -> set[int]:
    return {number for (number,) in connection.execute("SELECT n FROM outcomes").fetchall()}


@pytest.mark.parametrize("seed", [2, 5, 7])
def test_committed_is_what_is_in_the_table(
    server: Server, connection: psycopg.Connection[tuple[int]], seed: int
) -> None:
    talk = converse(server, Talker(seed), 250, orderly=True)
    assert outcomes(talk, "committed") == there(connection)
    statements = talk.statements()
    assert {each.transaction.outcome for each in statements} <= {"committed", "rolled_back"}
    assert {each.status for each in statements} <= {"ok", "error", "skipped"}
    assert restored(talk) == talk.events()
    in_order = sorted(statements, key=lambda each: each.seq)
    assert [each.seq for each in in_order] == list(range(1, len(statements) + 1))
    assert [each.message for each in in_order] == sorted(each.message for each in statements)


def test_a_client_that_hangs_up_leaves_only_what_is_in_doubt_open(
    server: Server, connection: psycopg.Connection[tuple[int]]
) -> None:
    for seed in range(100, 120):
        connection.execute("TRUNCATE outcomes")
        talk = converse(server, Talker(seed), 12, orderly=False)
        while [pid for pid in server.backends() if pid != connection.info.backend_pid]:
            time.sleep(0.01)
        present = there(connection)
        committed, doubtful = outcomes(talk, "committed"), outcomes(talk, "in_doubt")
        # a named statement that ran twice may have been rolled back once
        rolled_back = outcomes(talk, "rolled_back") - committed - doubtful
        assert committed <= present <= committed | doubtful
        assert not rolled_back & present
