"""How many statements a second one core makes of frames: the assembler alone, on tapes made in memory.

python bench/assembler.py [statements]
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from pgwitness.statements.assembler import SessionAssembler
from pgwitness.wire.codec import query
from support.dialogue import (
    Dialogue,
    bind,
    bound,
    complete,
    data_row,
    describe,
    execute,
    parse,
    parsed,
    ready,
    row_description,
    sync,
)

ROW = row_description(("abalance", 23))
Turn = tuple[bytes, bytes, int]
"""(what the client sends, what the server answers, statements in it)"""


def select_only(number: int) -> Iterator[Turn]:
    """pgbench -S, simple protocol."""
    for at in range(number):
        sql = f"SELECT abalance FROM pgbench_accounts WHERE aid = {at * 7919 % 100_000};"
        yield query(sql), ROW + data_row(b"%d" % at) + complete("SELECT 1") + ready(), 1


def extended(number: int) -> Iterator[Turn]:
    """pgbench -S -M extended."""
    for at in range(number):
        sql = "SELECT abalance FROM pgbench_accounts WHERE aid = $1;"
        sent = parse(sql) + bind((b"%d" % (at * 7919 % 100_000),)) + describe() + execute() + sync()
        answer = parsed() + bound() + ROW + data_row(b"%d" % at) + complete("SELECT 1") + ready()
        yield sent, answer, 1


def prepared(number: int) -> Iterator[Turn]:
    """pgbench -S -M prepared."""
    yield (
        parse("SELECT abalance FROM pgbench_accounts WHERE aid = $1;", "P_0") + sync(),
        parsed() + ready(),
        0,
    )
    for at in range(number):
        sent = bind((b"%d" % (at * 7919 % 100_000),), "P_0") + describe() + execute() + sync()
        yield sent, bound() + ROW + data_row(b"%d" % at) + complete("SELECT 1") + ready(), 1


def tpcb(number: int) -> Iterator[Turn]:
    """pgbench's default transaction of seven statements."""
    for at in range(number // 7):
        yield query("BEGIN;"), complete("BEGIN") + ready(b"T"), 1
        sql = f"UPDATE pgbench_accounts SET abalance = abalance + {at} WHERE aid = {at * 7919 % 100_000};"
        yield query(sql), complete("UPDATE 1") + ready(b"T"), 1
        sql = f"SELECT abalance FROM pgbench_accounts WHERE aid = {at * 7919 % 100_000};"
        yield query(sql), ROW + data_row(b"%d" % at) + complete("SELECT 1") + ready(b"T"), 1
        sql = f"UPDATE pgbench_tellers SET tbalance = tbalance + {at} WHERE tid = {at % 10};"
        yield query(sql), complete("UPDATE 1") + ready(b"T"), 1
        sql = f"UPDATE pgbench_branches SET bbalance = bbalance + {at} WHERE bid = 1;"
        yield query(sql), complete("UPDATE 1") + ready(b"T"), 1
        sql = (
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) "
            f"VALUES ({at % 10}, 1, {at * 7919 % 100_000}, {at}, CURRENT_TIMESTAMP);"
        )
        yield query(sql), complete("INSERT 0 1") + ready(b"T"), 1
        yield query("END;"), complete("COMMIT") + ready(), 1


def pipeline(number: int) -> Iterator[Turn]:
    """Batches of 100 inserts between two Syncs."""
    for batch in range(number // 100):
        sent, answer = parse("INSERT INTO t VALUES ($1, $2)", "s"), parsed()
        for at in range(100):
            sent += bind((b"%d" % (batch * 100 + at), b"text"), "s") + execute()
            answer += bound() + complete("INSERT 0 1")
        yield sent + sync(), answer + ready(), 100


def measure(name: str, turns: Callable[[int], Iterator[Turn]], number: int) -> None:
    talk, statements = Dialogue(), 0
    for sent, answer, count in turns(number):
        talk.client(sent).server(answer)
        statements += count
    assembler = SessionAssembler()
    began = time.process_time()
    events = 0
    for frame in talk.frames:
        events += len(assembler.feed(frame))
    seconds = time.process_time() - began
    assert events >= statements
    print(f"{name:<24}{statements / seconds:>12,.0f} statements/s{seconds / statements * 1e6:>8.1f} us each")


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    for name, turns in {
        "select, simple": select_only,
        "select, extended": extended,
        "select, prepared": prepared,
        "TPC-B, simple": tpcb,
        "pipelined inserts": pipeline,
    }.items():
        measure(name, turns, wanted)
