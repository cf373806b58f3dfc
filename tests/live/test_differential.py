"""Random conversations through a gateway, compared with the database itself and with the server's log.

Each INSERT has its own number. Afterwards the numbers in the table must be exactly those of the statements
that the record calls committed; every number must be in the record as often as it was sent, with its values,
in the order in which it was sent; and the server's log must hold nothing that the record does not.
"""

import random
import re
from collections.abc import Iterator
from struct import pack

import pytest

from support.compare import Record
from support.live import Live
from support.raw import SYNC, RawClient, bind, execute, message, parse, query

CONTROL = (
    *["BEGIN", "COMMIT"] * 3,
    *[
        "ROLLBACK",
        "COMMIT AND CHAIN",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "RELEASE a",
        "SAVEPOINT b",
        "ROLLBACK TO b",
    ],
)
FAULTS = ("SELECT 1/0", "SELECT * FROM nowhere", "SELEC", "INSERT INTO {table} VALUES (-1), (-1)")
INSERT = re.compile(r"INSERT INTO \w+ VALUES \((?:(\d+)|\$1)\)|COPY \w+ FROM STDIN -- (\d+)")


class Talker:
    """Whole messages at random, up to a Sync. ``sent`` are the numbers in the order in which they went."""

    def __init__(self, seed: int, table: str, first: int) -> None:
        self.random = random.Random(seed)
        self.table = table
        self.number = first
        self.sent: list[int] = []

    def next(self) -> int:
        self.number += 1
        self.sent.append(self.number)
        return self.number

    def sql(self) -> str:
        dice = self.random.random()
        if dice < 0.35:
            return self.random.choice(CONTROL)
        if dice < 0.45:
            return self.random.choice(FAULTS).format(table=self.table)
        if dice < 0.5:
            return "SELECT generate_series(1, 5)"
        return f"INSERT INTO {self.table} VALUES ({self.next()})"

    def simple(self) -> tuple[bytes, int]:
        if self.random.random() < 0.05:
            return query(self.random.choice(("", " ; ", "-- nothing"))), 1
        parts = [self.sql() for _ in range(self.random.choice((1, 1, 1, 2, 3, 6)))]
        return query(";\n".join(parts)), 1

    def pipeline(self) -> tuple[bytes, int]:
        wire = b"".join(self.step() for _ in range(self.random.choice((1, 1, 2, 5))))
        return wire + SYNC, 1

    def step(self) -> bytes:
        dice = self.random.random()
        if dice < 0.4:
            return parse("", self.sql()) + bind("", "") + execute()
        if dice < 0.7:  # a statement of its own name, executed with text or binary values
            number = self.next()
            return self.described(f"INSERT INTO {self.table} VALUES ($1)") + self.bound(number) + execute("p")
        if dice < 0.8:  # one statement, several portals
            name = self.random.choice("st")
            wire = close("S", name) + typed(name, f"INSERT INTO {self.table} VALUES ($1)")
            for _ in range(self.random.choice((1, 2, 3))):
                wire += bind("", name, str(self.next()).encode()) + execute()
            return wire
        if dice < 0.9:  # pages, with other statements between them
            rows = (
                close("P", "q") + parse("", "SELECT generate_series(1, 4)") + bind("q", "") + execute("q", 2)
            )
            between = parse("", f"INSERT INTO {self.table} VALUES ({self.next()})") + bind("", "") + execute()
            return rows + between + execute("q", 2) + execute("q", self.random.choice((0, 2)))
        return close("P", "nowhere") + bind("", "nowhere") + execute()

    def described(self, sql: str) -> bytes:
        return close("S", "n") + typed("n", sql) + message("D", b"Sn\0")

    def bound(self, number: int) -> bytes:
        if self.random.random() < 0.5:
            return bind("p", "n", str(number).encode())
        return message("B", b"p\0n\0" + pack("!hhhiih", 1, 1, 1, 4, number, 0))

    def copy(self) -> tuple[bytes, int]:
        """COPY and its data at once; in the extended protocol the first Sync is swallowed."""
        number = self.next()
        sql = f"COPY {self.table} FROM STDIN -- {number}"
        data = message("d", f"{number}\n".encode())
        end = self.random.choice((message("c"), message("c"), message("f", b"no\0")))
        if self.random.random() < 0.5:
            return query(sql) + data + end, 1
        return parse("", sql) + bind("", "") + execute() + data + end + SYNC, 1

    def batch(self) -> tuple[bytes, int]:
        """Messages, and how many ReadyForQuery answer them."""
        return self.random.choice((self.simple, self.simple, self.pipeline, self.pipeline, self.copy))()


def typed(name: str, sql: str) -> bytes:
    """Parse with one int4 parameter: of a known type, values are compared to the letter."""
    return message("P", f"{name}\0{sql}\0".encode() + pack("!hi", 1, 23))


def close(kind: str, name: str) -> bytes:
    return message("C", f"{kind}{name}\0".encode())


def converse(live: Live, talker: Talker, batches: int) -> None:
    with RawClient(live.gateway.port) as client:
        client.login(
            live.identity, live.token, live.connection, application_name=live.run, options=live.options
        )
        left = batches
        while left > 0:  # several batches under way at once, at times
            ahead = min(left, talker.random.choice((1, 1, 2, 4)))
            left -= ahead
            wires, answers = zip(*(talker.batch() for _ in range(ahead)), strict=True)
            client.send(*wires)
            for _ in range(sum(answers)):
                client.until()
        client.send(query("ROLLBACK") + message("X"))
        assert client.closed()


def number_of(statement: Record) -> int | None:
    found = INSERT.fullmatch(statement["sql"].strip())
    if not found:
        return None
    return int(found[1] or found[2] or statement["parameters"][0]["value"])


@pytest.fixture
def numbers(live: Live) -> Iterator[str]:
    """A table of unique numbers, checked at commit."""
    name = f"numbers_{live.run.replace('-', '_')}"
    made = f"CREATE TABLE {name} (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"
    live.server.sql(made, f"ALTER TABLE {name} OWNER TO app", database="shop")
    yield name
    live.server.sql(f"DROP TABLE {name}", database="shop")


@pytest.mark.parametrize("seed", range(1, 7))
def test_the_record_is_what_the_database_holds(live: Live, numbers: str, seed: int) -> None:
    talker = Talker(seed, numbers, 1000 * seed)
    converse(live, talker, 120)
    record = live.check(lambda found: bool(found) and found[-1]["sql"] == "ROLLBACK" and all_settled(found))
    present = {n for (n,) in live.server.sql(f"SELECT n FROM {numbers}", database="shop")}
    committed = {
        number
        for each in record
        if (number := number_of(each))
        and each["status"] == "ok"
        and each["transaction"]["outcome"] == "committed"
    }
    assert committed == set(map(int, map(str, present)))
    whole = "\n".join(each["sql"] for each in record if number_of(each) is None)
    recorded = [number for each in record if (number := number_of(each)) is not None]
    # A message with an error of syntax is one statement: its numbers are in its text.
    expected = [n for n in talker.sent if not re.search(rf"\({n}\)", whole)]
    assert recorded == expected
    assert {each["status"] for each in record} <= {"ok", "error", "skipped"}


def all_settled(record: list[Record]) -> bool:
    return all(each["transaction"]["outcome"] in ("committed", "rolled_back") for each in record)
