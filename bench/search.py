"""How fast searches of a large index are answered: p50, p95 and the longest; what memory the reader takes.

    python -m bench.search [--statements 5000000] [--sessions 50000] [--state DIR] [--rounds 5]

An index of invented statements is made first (some minutes), unless there is one in DIR; it is not part of
the time. Every question is asked as the API asks it, in a process of its own whose peak memory is told. Cold
means that the page cache of the index was dropped before the question and the reader was opened anew.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import HERE
from pgwitness.index.database import MAPPED
from pgwitness.index.filters import Filters, Scope, parse
from pgwitness.index.location import Location
from pgwitness.index.status import index_status
from pgwitness.index.store import IndexReader
from support.population import BEGAN, DAYS, RARE, RARE_TABLE, READER, populate

LIMIT_MS = 200.0
PAGE = 100

_BEGAN = datetime.fromtimestamp(BEGAN / 1e9, UTC)
_MIDDLE = _BEGAN + timedelta(days=DAYS / 2)

Ask = Callable[[IndexReader, Filters], Any]


def newest(index: IndexReader, filters: Filters) -> Any:
    return index.statements(filters, limit=PAGE, newest=True).items


def first(index: IndexReader, filters: Filters) -> Any:
    return index.statements(filters, limit=PAGE).items


def sessions(index: IndexReader, filters: Filters) -> Any:
    return index.sessions(filters, limit=PAGE).items


def _parse(given: dict[str, str]) -> Filters:
    return parse(given, _BEGAN + timedelta(days=DAYS + 1))


def _days(first: float, last: float) -> dict[str, str]:
    return {
        "since": (_BEGAN + timedelta(days=first)).isoformat(),
        "until": (_BEGAN + timedelta(days=last)).isoformat(),
    }


QUESTIONS: list[tuple[str, Ask, dict[str, str]]] = [
    ("the newest", newest, {}),
    ("the first", first, {}),
    ("one identity", newest, {"identity": "billing-agent"}),
    ("an identity of three sessions", newest, {"identity": RARE[0]}),
    ("an identity that nobody is", newest, {"identity": "nobody"}),
    ("a reader's writes: nothing", newest, {"identity": READER, "command": "UPDATE"}),
    ("two that never meet", first, {"identity": RARE[0], "connection": "people", "kind": "human"}),
    ("a run", newest, {"run": "run-777"}),
    ("on behalf of somebody", newest, {"on_behalf_of": "person7@example.org", "command": "DELETE"}),
    ("people only", newest, {"kind": "human", "status": "error"}),
    ("a rare table", newest, {"table": RARE_TABLE}),
    ("a rare table, a common command", newest, {"table": RARE_TABLE, "command": "SELECT"}),
    ("a table of any schema", newest, {"table": "orders6", "command": "DELETE"}),
    ("a table that there is not", newest, {"table": "public.nowhere"}),
    ("large writes rolled back", newest, {"command": "UPDATE", "outcome": "rolled_back", "min_rows": "1000"}),
    ("rows between two steps", newest, {"min_rows": "1234567"}),
    ("more rows than ever", newest, {"min_rows": "60000000"}),
    ("slow ones", newest, {"min_duration": "250ms"}),
    ("slow ones, between two steps", newest, {"min_duration": "287ms", "command": "DELETE"}),
    ("errors of one code", newest, {"sqlstate": "42501", "connection": "people"}),
    ("errors of a class", newest, {"sqlstate": "23", "identity": "price-agent"}),
    ("skipped: nothing", newest, {"status": "skipped"}),
    ("an hour", first, _days(15, 15 + 1 / 24)),
    ("a week of one command", newest, {"command": "DELETE", **_days(10, 17)}),
    ("before there was anything", newest, {"until": "2026-01-01", "command": "SELECT"}),
    ("everything that holds for most", newest, {"status": "ok", "outcome": "committed", **_days(0, 30)}),
    ("a text that all have", newest, {"match": "where id ="}),
    ("a value that nobody has", newest, {"match": "73510642987"}),
    ("a number of seven digits", newest, {"match": "4711223"}),
    ("a prepared text", newest, {"match": "/* 1234 */"}),
    ("a text that nobody has", newest, {"match": "drop database production"}),
    ("common words in an order that nobody has", newest, {"match": "from orders set status"}),
    ("a text, and writes", newest, {"match": "status = 'void'", "command": "UPDATE", "table": "orders"}),
    ("a text that this command never has", newest, {"match": "order by", "command": "INSERT"}),
    ("a text of a reader's writes: nothing", newest, {"match": "set", "identity": READER}),
    ("words", newest, {"words": "update void orders"}),
    ("words that never meet", newest, {"words": "insert void"}),
    ("one session", first, {"session": "*"}),
    ("one session's failures", first, {"session": "*", "status": "error"}),
    ("seven filters", newest, {"identity": "billing-agent", "connection": "orders", "command": "UPDATE",
                               "table": "public.orders", "status": "ok", "outcome": "committed",
                               "min_rows": "1000"}),
    ("sessions: the newest", sessions, {}),
    ("sessions of an identity", sessions, {"identity": "ann", "connection": "people"}),
    ("sessions of a day", sessions, _days(3, 4)),
    ("sessions with deletes of a table", sessions, {"command": "DELETE", "table": "archive.orders3"}),
    ("sessions with large writes", sessions, {"command": "UPDATE", "min_rows": "100000"}),
    ("sessions of a reader with writes: none", sessions, {"identity": READER, "command": "INSERT"}),
    ("sessions with a rare table", sessions, {"table": RARE_TABLE}),
    ("sessions with a text", sessions, {"match": "status = 'void'"}),
    ("sessions with a value that nobody has", sessions, {"match": "73510642987"}),
]  # fmt: skip
"""(name, how it is asked, filters); ``*`` is a session in the middle."""


def asked(index: IndexReader) -> list[tuple[str, Callable[[], Any]]]:
    """All questions of this index, ready to be asked."""
    some = index.sessions(_parse({"until": _MIDDLE.isoformat()}), limit=1).items
    session = some[0].session if some else ""
    found = []
    for name, ask, given in QUESTIONS:
        filters = _parse({key: session if value == "*" else value for key, value in given.items()})
        found.append((name, lambda ask=ask, filters=filters: ask(index, filters)))
    return [*found, *_others(index)]


def _others(index: IndexReader) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Those that are no listing's first page."""
    deep = _deep(index)
    far = index.sessions(_parse({"until": _MIDDLE.isoformat()}), limit=1).next
    narrowed = Filters(scope=Scope("audit-agent", ("orders", "people")), command="DELETE")
    everything = _parse({})
    yield "the page at the millionth row", lambda: index.statements(everything, limit=PAGE, cursor=deep)
    yield "and backwards", lambda: index.statements(everything, limit=PAGE, cursor=deep, newest=True)
    updates = _parse({"command": "UPDATE"})
    yield "updates from the millionth row on", lambda: index.statements(updates, limit=PAGE, cursor=deep)
    yield "sessions: a page in the middle", lambda: index.sessions(everything, limit=PAGE, cursor=far)
    yield (
        "sessions with updates, a page in the middle",
        lambda: index.sessions(updates, limit=PAGE, cursor=far),
    )
    yield "a narrowed reader", lambda: newest(index, narrowed)
    for days in (1 / 24, 1, 7):
        since, until = _MIDDLE, _MIDDLE + timedelta(days=days)
        yield f"activity of {days:.2g} days", lambda s=since, u=until: index.activity(s, u, 120)
    week = _parse(_days(10, 17))
    yield "largest writes of a week", lambda: index.largest_writes(week, 10)
    yield "errors of a week", lambda: index.errors(week, 10)


def _deep(index: IndexReader) -> str | None:
    """A cursor a fifth of the way through: the millionth of five million."""
    since = _parse({"since": (_BEGAN + timedelta(days=DAYS / 5)).isoformat()})
    return index.statements(since, limit=1).next


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--statements", type=int, default=5_000_000)
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--state", type=Path, help="where the index is, or is to be made and kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(_ask(options.state, options.rounds)))
        return 0
    with contextlib.ExitStack() as stack:
        state = options.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgw-search-")))
        print("\n".join(section(measured(state, options.statements, options.sessions, options.rounds))))
    return 0


def measured(state: Path, statements: int, sessions: int, rounds: int) -> dict[str, Any]:
    """Makes the index if there is none; then asks in a process of its own."""
    seconds = 0.0
    if Location(state).current() is None:
        state.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        populate(state, statements, sessions, lambda done: print(f"{done:,}", end="\r", file=sys.stderr))
        seconds = time.monotonic() - began
    command = [sys.executable, "-m", "bench.search", "--ask", "--state", str(state), "--rounds", str(rounds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent)
    found: dict[str, Any] = json.loads(done.stdout)
    current = Location(state).current()
    assert current is not None
    found["made in"], found["bytes"] = seconds, current.stat().st_size
    return found


def _ask(state: Path, rounds: int) -> dict[str, Any]:
    index = IndexReader(state)
    current = Location(state).current()
    assert current is not None
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that was the parent's
    base = _memory("RssAnon")
    questions = asked(index)
    cold: dict[str, float] = {}
    for name, ask in questions:
        index.close()
        _drop(current)
        cold[name], _ = _seconds(ask)
    warm: dict[str, list[float]] = {name: [] for name, _ in questions}
    cpu: dict[str, list[float]] = {name: [] for name, _ in questions}
    for _ in range(rounds):
        for name, ask in questions:
            seconds, processor = _seconds(ask)
            warm[name].append(seconds)
            cpu[name].append(processor)
    peak, own = _memory("VmHWM"), _memory("RssAnon")
    index.close()
    counted = index_status(state)
    return {
        "cold": cold,
        "warm": warm,
        "cpu": cpu,
        "rounds": rounds,
        "statements": counted["statements"],
        "sessions": counted["sessions"],
        "peak": peak,
        "own": own,
        "base": base,
        "mapped": MAPPED / 2**20,
    }


def _memory(name: str) -> float:
    """Of this process, in MiB: see proc(5)."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _seconds(ask: Callable[[], Any]) -> tuple[float, float]:
    """(on the clock, of the processor)"""
    began, processor = time.perf_counter(), time.process_time()
    ask()
    return time.perf_counter() - began, time.process_time() - processor


def _drop(path: Path) -> None:
    """Its pages out of the kernel's cache."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def section(found: dict[str, Any]) -> list[str]:
    """For RESULTS.md."""
    lines = ["## Search", ""]
    size = f"{found['statements']:,} statements in {found['sessions']:,} sessions"
    lines += [
        f"{len(found['warm'])} questions, {found['rounds']} times each, of an index of {size}",
        f"({found['bytes'] / 1e9:.1f} GB), as the API asks them, a page of {PAGE} where it is a listing.",
        "Cold: the index was out of the page cache and opened anew, so that these times are the disk's.",
        "",
        "| all questions, ms | p50 | p95 | longest | target |",
        "|---|--:|--:|--:|---|",
    ]
    for name, row in summary(found).items():
        target = ""
        if name == "warm":
            target = f"{'holds' if row['p95'] <= LIMIT_MS else '**misses**'} p95 ≤ {LIMIT_MS:g}"
        lines.append(f"| {name} | {row['p50']:.0f} | {row['p95']:.0f} | {row['longest']:.0f} | {target} |")
    own = f"{found['own']:.0f} MiB, {found['base']:.0f} before the first question"
    lines += [
        "",
        f"Peak memory of the reading process: {found['peak']:.0f} MiB. Its own of that are {own}; the others",
        f"are pages of files that it maps, of the index {found['mapped']:.0f} MiB at most, which the kernel",
        "may take back.",
        "",
        "| question | filters | warm, median ms | longest | of it CPU, median | cold |",
        "|---|---|--:|--:|--:|--:|",
    ]
    given = {name: filters for name, _, filters in QUESTIONS}
    for name, times in found["warm"].items():
        told = " ".join(f"{key}={value}" for key, value in given.get(name, {}).items())
        filters = f"`{told}`" if told else ""
        lines.append(
            f"| {name} | {filters} | {statistics.median(times) * 1e3:.1f} | {max(times) * 1e3:.1f} "
            f"| {statistics.median(found['cpu'][name]) * 1e3:.1f} | {found['cold'][name] * 1e3:.1f} |"
        )
    return lines


def summary(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Milliseconds over all questions."""
    warm = sorted(seconds * 1e3 for times in found["warm"].values() for seconds in times)
    cold = sorted(seconds * 1e3 for seconds in found["cold"].values())
    return {
        name: {"p50": _quantile(times, 0.5), "p95": _quantile(times, 0.95), "longest": times[-1]}
        for name, times in (("warm", warm), ("cold", cold))
    }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


if __name__ == "__main__":
    sys.exit(main())
