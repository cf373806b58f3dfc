"""Invented sessions and statements of a realistic mix, written to an index by its real writer.

``populate(state, statements=5_000_000, sessions=50_000)``. The same seed gives the same index. A few dozen
sessions go on at a time, most are short and a few are very long; twelve identities share the work unequally,
and one has three sessions; half of the statements are prepared ones of some 2,000 texts, the others have
literals of their own. Some run for long and come late, some are settled by a later COMMIT.
"""

import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pgwitness.index import times
from pgwitness.index.batch import Batch
from pgwitness.index.follower import _session_row
from pgwitness.index.location import Location
from pgwitness.index.rows import to_row
from pgwitness.index.writer import IndexWriter
from pgwitness.statements.model import (
    Column,
    Parameter,
    Result,
    SessionStarted,
    Statement,
    Transaction,
    TransactionSettled,
)

BEGAN = 1_795_000_000_000_000_000  # 2026-11-18T11:06:40Z
DAYS = 30
AT_ONCE = 40
BATCH = 20_000

IDENTITIES = [
    ("billing-agent", "service", 30),
    ("report-agent", "service", 20),
    ("support-agent", "service", 14),
    ("etl-agent", "service", 10),
    ("search-agent", "service", 8),
    ("mail-agent", "service", 6),
    ("stock-agent", "service", 4),
    ("price-agent", "service", 3),
    ("audit-agent", "service", 2),
    ("ann", "human", 1),
    ("bob", "human", 1),
]
RARE = ("night-agent", "service")
READER = "report-agent"
"""Who only reads."""
PEOPLE = [f"person{n}@example.org" for n in range(40)]
CONNECTIONS = ["orders", "warehouse", "people"]
TABLES = [
    f"{schema}.{name}{n or ''}"
    for n in range(7)
    for schema in ("public", "shop", "archive")
    for name in ("orders", "lines", "customers")
]
RARE_TABLE = "public.refunds_2019"
COMMANDS = [
    ("SELECT", 62),
    ("INSERT", 14),
    ("UPDATE", 9),
    ("DELETE", 3),
    ("BEGIN", 5),
    ("COMMIT", 5),
    ("SET", 1),
    ("CREATE TABLE", 1),
]
ERRORS = [("42P01", 30), ("23505", 30), ("42501", 10), ("40001", 10), ("57014", 10), ("22012", 10)]
QUOTED = ["", "", "'', ", "'''', ", "E'', ", "$$it's$$, ", "/* it's */ "]
"""What stands before a literal, so that its quotes may be paired wrongly."""
WORDS = ["status", "region", "amount", "created", "owner", "note", "email", "total", "quantity", "label"]


@dataclass(slots=True)
class _Talk:
    number: int
    id: str
    identity: str
    left: int
    seq: int = 0
    transaction: int = 1
    inside: int = 0
    """The seq at which its open transaction began, 0 outside of one."""
    first: bool = True
    header: dict[str, object] = field(default_factory=dict)


class Population:
    def __init__(self, statements: int, sessions: int, seed: int = 5) -> None:
        self._random = random.Random(seed)
        self._wanted, self._sessions = statements, sessions
        self._step = DAYS * 86_400_000_000_000 // statements
        self._position = 64
        self._now = BEGAN
        self._numbered = 0
        self._made = 0
        self._late: list[tuple[int, int, Statement]] = []
        self._prepared = [self._text(n) for n in range(2000)]
        self._rare = set(self._random.sample(range(sessions // 10, sessions), 3))

    def batches(self, size: int = BATCH) -> Iterator[tuple[Batch, int]]:
        """(batch, position)"""
        talks: list[_Talk] = []
        batch, written = Batch(), 0
        while self._made < self._wanted or talks:
            while len(talks) < AT_ONCE and self._numbered < self._sessions:
                talks.append(self._begin(batch))
            if not talks:
                break
            talk = self._random.choice(talks)
            for _ in range(min(talk.left, self._random.randint(1, 20))):
                self._say(batch, talk)
                talk.left -= 1
                self._made += 1
            if not talk.left:
                self._end(batch, talk)
                talks.remove(talk)
            if batch.rows >= size:
                self._come_late(batch)
                yield batch, self._position
                written += 1
                batch = Batch()
        self._come_late(batch, everything=True)
        yield batch, self._position

    def _begin(self, batch: Batch) -> _Talk:
        r = self._random
        self._numbered += 1
        number = self._numbered
        average = self._wanted / self._sessions
        left = round(average * 0.8 * r.expovariate(1)) + 1
        if number % max(1, self._sessions // 10) == 7:
            left = round(self._wanted * 0.02)
        if self._sessions - number < AT_ONCE:
            left = max(left, (self._wanted - self._made) // AT_ONCE)
        name, kind, _ = r.choices(IDENTITIES, [weight for _, _, weight in IDENTITIES])[0]
        if number in self._rare:
            name, kind = RARE
        header = {
            "identity": name,
            "kind": kind,
            "on_behalf_of": r.choice(PEOPLE) if r.random() < 0.2 else None,
            "connection": r.choices(CONNECTIONS, [6, 3, 1])[0],
            "database": "shop",
            "user": "app",
            "claims": {"run": f"run-{number // 2}"},
            "client": {"address": f"10.0.{number % 200}.7:5{number % 1000:03}", "parameters": {}},
            "upstream": {"address": "db.example.org:5432", "pid": number, "parameters": {}},
        }
        id = str(uuid.UUID(int=r.getrandbits(128) >> 48 | (BEGAN // 1_000_000 + number * 50) << 80))
        talk = _Talk(number, id, name, left, header=header)
        at = times.of_nanoseconds(self._now)
        batch.started.append(_session_row(number, SessionStarted(id, self._position, at, header)))
        return talk

    def _end(self, batch: Batch, talk: _Talk) -> None:
        at = times.of_nanoseconds(self._now)
        self._count(batch, talk, at)
        batch.ended.append(
            {"of": talk.number, "new_ended": at, "new_end_reason": "terminated", "new_end_detail": None}
        )

    def _count(self, batch: Batch, talk: _Talk, at: str) -> None:
        batch.counts[talk.number] = {
            "of": talk.number,
            "new_statements": talk.seq,
            "new_errors": talk.seq // 100,
            "new_rows_written": talk.seq,
            "new_last_activity": at,
            "new_last_position": self._position,
        }

    def _say(self, batch: Batch, talk: _Talk) -> None:
        r = self._random
        self._position += 400 + int(r.random() * 200)
        self._now += int(self._step * 2 * r.random())
        talk.seq += 1
        command = r.choices(_COMMANDS, cum_weights=_COMMAND_WEIGHTS)[0]
        if talk.identity == READER and command in ("INSERT", "UPDATE", "DELETE", "CREATE TABLE"):
            command = "SELECT"
        if command in ("BEGIN", "COMMIT"):
            command = "COMMIT" if talk.inside else "BEGIN"
        statement = self._statement(talk, command)
        if command == "BEGIN":
            talk.inside = talk.seq
        if talk.inside:
            statement.transaction.outcome = "open"
        if r.random() < 0.002:
            self._late.append((self._made + int(r.expovariate(1 / 5000)), talk.number, statement))
        else:
            batch.add(talk.number, statement, to_row(talk.number, statement))
        if command == "COMMIT" or (talk.inside and talk.left == 1):
            outcome = "committed" if r.random() < 0.9 else "rolled_back"
            batch.settle(
                talk.number,
                TransactionSettled(
                    talk.id, self._position, talk.transaction, outcome, None, talk.inside, talk.seq
                ),
            )
            talk.inside = 0
        if not talk.inside:
            talk.transaction += 1

    def _come_late(self, batch: Batch, everything: bool = False) -> None:
        """Statements that ran for long; their outcome is known by then."""
        due = [each for each in self._late if everything or each[0] <= self._made]
        for each in due:
            self._late.remove(each)
            _, number, statement = each
            statement.transaction.outcome = "committed"
            batch.add(number, statement, to_row(number, statement))

    def _statement(self, talk: _Talk, command: str) -> Statement:
        r = self._random
        sql, table = command, None
        parameters = []
        if command in ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TABLE"):
            if r.random() < 0.5:
                sql, table = self._prepared[int(2000 * r.random() ** 3)][command]
                parameters = [
                    Parameter("int4", str(int(r.random() * 10_000_000)), "text"),
                    Parameter("text", r.choice(WORDS), "text"),
                ]
            else:
                table = TABLES[int(len(TABLES) * r.random() ** 3)]
                if r.random() < 0.00002:
                    table = RARE_TABLE
                sql = _literal(command, table, r.choice(WORDS), int(r.random() * 10_000_000))
        failed = r.random() < 0.01
        sqlstate = r.choices(_ERRORS, cum_weights=_ERROR_WEIGHTS)[0] if failed else None
        rows = 0 if failed or table is None else int(r.paretovariate(0.9))
        if r.random() < 0.0003:
            rows *= 1000
        rows = min(rows, 50_000_000)
        writes = command in ("INSERT", "UPDATE", "DELETE")
        if writes and r.random() < 0.9:
            rows = min(rows, 1)
        tag = None if failed else f"{command} {'0 ' if command == 'INSERT' else ''}{rows}"
        return Statement(
            session=talk.id, seq=talk.seq, message=talk.seq, identity=talk.identity, on_behalf_of=None,
            run=None, connection=None, database="shop", protocol="extended" if parameters else "simple",
            sql=sql, prepared="", portal="", parameters=parameters, command=command, tag=tag,
            rows=None if failed else rows, tables=[table] if table else [],
            status="error" if failed else "ok", sqlstate=sqlstate,
            error="it failed" if failed else None,
            transaction=Transaction(talk.transaction, "rolled_back" if failed else "committed"),
            started_at=times.of_nanoseconds(self._now), duration_us=int(r.lognormvariate(6.5, 1.5)),
            result=Result([Column("id", "int4")], 1, 40, True) if command == "SELECT" else None,
            copy=None, position=self._position,
        )  # fmt: skip

    def _text(self, number: int) -> dict[str, tuple[str, str]]:
        """One of 2,000 prepared texts a command."""
        table = TABLES[number % len(TABLES)]
        one, other = WORDS[number % 10], WORDS[number // 10 % 10]
        return {
            "SELECT": (f"SELECT id, {one} FROM {table} WHERE id = $1 AND {other} = $2 /* {number} */", table),
            "INSERT": (f"INSERT INTO {table} (id, {one}) VALUES ($1, $2) /* {number} */", table),
            "UPDATE": (f"UPDATE {table} SET {one} = $2 WHERE id = $1 /* {number} */", table),
            "DELETE": (f"DELETE FROM {table} WHERE id = $1 AND {one} = $2 /* {number} */", table),
            "CREATE TABLE": (f"CREATE TABLE scratch_{number} (LIKE {table})", table),
        }


def populate(
    state: Path, statements: int, sessions: int, told: Callable[[int], None] | None = None, seed: int = 5
) -> None:
    """A new index in ``state``. ``told``: how many statements are written, now and then."""
    location = Location(state)
    path = location.next()
    writer = IndexWriter(path)
    try:
        written = 0
        size = min(BATCH, max(1, statements // 7))
        for batch, position in Population(statements, sessions, seed).batches(size):
            with writer.transaction() as connection:
                writer.write(connection, batch, position)
            written += batch.rows
            if told:
                told(written)
    finally:
        writer.close()
    location.publish(path)


def _literal(command: str, table: str, word: str, number: int) -> str:
    if command == "SELECT":
        return f"SELECT id, {word} FROM {table} WHERE id = {number} ORDER BY {word} LIMIT 20"
    if command == "INSERT":
        before = QUOTED[number % len(QUOTED)]
        return f"INSERT INTO {table} (id, {word}) VALUES ({number}, {before}'value {number % 977}')"
    if command == "UPDATE":
        return f"UPDATE {table} SET {word} = 'void' WHERE id = {number}"
    if command == "DELETE":
        return f"DELETE FROM {table} WHERE id = {number}"
    return f"CREATE TABLE scratch_{number} (LIKE {table})"


def _cumulative(weighted: list[tuple[str, int]]) -> tuple[list[str], list[int]]:
    names, sums, total = [], [], 0
    for name, weight in weighted:
        total += weight
        names.append(name)
        sums.append(total)
    return names, sums


_COMMANDS, _COMMAND_WEIGHTS = _cumulative(COMMANDS)
_ERRORS, _ERROR_WEIGHTS = _cumulative(ERRORS)
