"""How many statements a second the indexer takes from the tape to the index, on one core.

    python bench/indexer.py [--statements 100000] [--sessions 40] [--profile]

A synthetic tape of the shapes that agents and pgbench send is written first and is not part of the
time: simple queries with their own literals, prepared statements with bound values, transactions, and
small results.
"""

import argparse
import cProfile
import itertools
import os
import pstats
import resource
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from pgwitness.index.catchup import rebuild
from pgwitness.wire.codec import message, query
from support.dialogue import (
    HEADER,
    bind,
    bound,
    complete,
    data_row,
    execute,
    parse,
    parsed,
    ready,
    row_description,
    sync,
)
from support.tape_files import CLIENT, ENDED, SERVER, STARTED, TapeWriter

PREPARED = "SELECT abalance FROM pgbench_accounts WHERE aid = $1"
COLUMNS = row_description(("aid", 23), ("abalance", 23))


def simple(n: int) -> tuple[bytes, bytes, int]:
    """A SELECT of pgbench -S."""
    sql = f"SELECT abalance FROM pgbench_accounts WHERE aid = {n};"
    return query(sql), COLUMNS + data_row(b"1", b"0") + complete("SELECT 1") + ready(), 1


def prepared(n: int) -> tuple[bytes, bytes, int]:
    """The same, prepared before."""
    answer = message(b"2") + data_row(b"1", b"0") + complete("SELECT 1") + ready()
    return bind((str(n).encode(),), "P_0") + execute() + sync(), answer, 1


def transaction(n: int) -> tuple[bytes, bytes, int]:
    """A write in a transaction, as an ORM sends it: three round trips would be three frames each way;
    here one.
    """
    asked = (
        query("BEGIN") + query(f"UPDATE public.orders SET status = 'void' WHERE id = {n}") + query("COMMIT")
    )
    answer = (
        complete("BEGIN") + ready(b"T") + complete("UPDATE 1") + ready(b"T") + complete("COMMIT") + ready()
    )
    return asked, answer, 3


def extended(n: int) -> tuple[bytes, bytes, int]:
    """Parse, Bind, Execute with three values."""
    values = (str(n).encode(), b"void", None)
    asked = parse("INSERT INTO shop.lines (id, status, note) VALUES ($1, $2, $3)", oids=(20, 25, 25))
    return asked + bind(values) + execute() + sync(), parsed() + bound() + complete("INSERT 0 1") + ready(), 1


MIXES = {
    "simple": [simple],
    "prepared": [prepared],
    "transactions": [transaction],
    "mixed": [simple, prepared, prepared, transaction, extended],
}


def write_tape(directory: Path, mix: str, statements: int, sessions: int) -> int:
    """Returns the number of statements on it."""
    writer = TapeWriter(directory, segment_bytes=64 << 20)
    clock = itertools.count(time.time_ns(), 20_000)
    ids = [uuid.uuid4() for _ in range(sessions)]
    for id in ids:
        writer.append_json(id.bytes, STARTED, next(clock), HEADER | {"session": str(id)})
        writer.append(id.bytes, CLIENT, next(clock), parse(PREPARED, "P_0", (23,)) + sync())
        writer.append(id.bytes, SERVER, next(clock), parsed() + ready())
    made = 0
    for n, shape in zip(itertools.count(), itertools.cycle(MIXES[mix])):
        if made >= statements:
            break
        id = ids[n % sessions].bytes
        asked, answer, count = shape(n)
        writer.append(id, CLIENT, next(clock), asked)
        writer.append(id, SERVER, next(clock), answer)
        made += count
    for id in ids:
        writer.append_json(id.bytes, ENDED, next(clock), {"reason": "terminated", "detail": None})
    writer.close()
    return made


def measure(mix: str, statements: int, sessions: int, profile: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory)
        made = write_tape(state / "tape", mix, statements, sessions)
        size = sum(path.stat().st_size for path in (state / "tape").glob("*.tape"))
        profiler = cProfile.Profile()
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        if profile:
            profiler.enable()
        rebuild(state)
        profiler.disable()
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        index = sum(path.stat().st_size for path in state.glob("index-*.sqlite"))
        print(
            f"{mix:>13}: {made / seconds:8,.0f} statements/s  {cpu / made * 1e6:5.1f} us CPU each  "
            f"tape {size / made:4.0f} B, index {index / made:4.0f} B each  "
            f"peak memory {after.ru_maxrss / 1024:.0f} MiB"
        )
        if profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--statements", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--mix", choices=MIXES)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for mix in [options.mix] if options.mix else MIXES:
        measure(mix, options.statements, options.sessions, options.profile)


if __name__ == "__main__":
    main()
