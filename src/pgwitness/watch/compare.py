"""(c) Reconciliation: what the server counted between two moments against what the record says was sent.

``compare`` is pure. As a program, ``python -m pgwitness.watch.compare`` reads a question from standard input
and the record from the index, in a process of its own: parsing a hundred thousand statements must not hold up
the gateway.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter as Counts
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import Connection, func, select

from pgwitness.index import tables
from pgwitness.index.store import IndexReader
from pgwitness.watch import shapes
from pgwitness.watch.counters import Counter, Counters
from pgwitness.watch.tally import Bucket, Route, Tally, tally

INDEX_SECONDS: Final = 45.0
"""What the indexer gets to catch up."""
SECOND_THOUGHTS: Final = 2.5
"""After so long, what was still under way at the first count is in the index too."""
NICE: Final = 10


class Question(msgspec.Struct):
    state: str
    user: str
    connections: list[str]
    """Names of the connections that are known to lead to this server."""
    before: Counters
    now: Counters
    last: int
    """The tape's position just after the counters were read."""
    connectors: tuple[str, ...] = ()
    """Through whom the server was reached: its address is what they call it."""


class Difference(msgspec.Struct):
    database: str
    shape: str
    query: str
    calls: int
    rows: int


class Comparison(msgspec.Struct):
    since: str
    until: str
    behind: bool = False
    """The index has not read the tape that far: nothing was compared."""
    server: int = 0
    """Calls that the server counted."""
    record: int = 0
    """Statements that the record says the server carried out."""
    own: int = 0
    """The watch's own questions among the server's calls."""
    unrecorded: list[Difference] = []
    more_rows: list[Difference] = []
    """As many calls as recorded, and more rows."""
    uncounted: int = 0
    """Recorded calls that the server has no count of."""
    explained: list[str] = []
    removed: int = 0
    """Counters that somebody removed one by one."""
    reset: str | None = None
    """When all counters were reset, if that was since."""
    restarted: bool = False
    """The server was started anew since."""


def compare(before: Counters, now: Counters, recorded: Tally) -> Comparison:
    """Pure."""
    result = Comparison(before.moment, now.moment, record=sum(recorded.sure.values()))
    result.unrecorded, result.more_rows, result.explained = [], [], []
    result.restarted = before.boot is not None and now.boot is not None and before.boot != now.boot
    if before.stats_reset != now.stats_reset:
        result.reset = now.stats_reset
    calls, rows, texts = _growth(before, now, recorded, result)
    own = {shapes.shape(sql) for sql in (*before.own, *now.own)}
    checks = 0
    untold = recorded.untold.copy()
    for bucket, count in calls.items():
        database, shape = bucket
        result.server += count
        spare = count - recorded.calls[bucket]
        if shape in own:
            result.own += max(spare, 0)
        elif spare > 0 and shapes.server_check(texts[bucket]):
            checks += spare
        elif spare > 0:
            excused = min(spare, untold[database])
            untold[database] -= excused
            if spare > excused:
                result.unrecorded.append(_difference(bucket, texts, spare - excused, rows[bucket]))
        elif (
            bucket not in recorded.rows_unknown
            and rows[bucket] > recorded.rows[bucket]
            and not any(untold.values())
        ):
            result.more_rows.append(_difference(bucket, texts, 0, rows[bucket] - recorded.rows[bucket]))
    result.uncounted = sum(
        max(0, sure - calls[bucket]) for bucket, sure in recorded.sure.items() if bucket[1] not in _FAMILIES
    )
    if checks:
        result.explained.append(f"{checks} are the server's own checks of foreign keys")
    if result.own:
        result.explained.append(f"{result.own} are the watch's own")
    if recorded.untold:
        result.explained.append(
            f"{recorded.untold.total()} recorded statements have no text in the index (index.text), and were "
            "for any of the server's"
        )
    result.unrecorded.sort(key=lambda one: -one.calls)
    return result


_FAMILIES: Final = {shapes.EXECUTE, shapes.DEALLOCATE, shapes.DECLARE}
"""Of which the server counts fewer than are sent, depending on its version."""


def _growth(
    before: Counters, now: Counters, recorded: Tally, result: Comparison
) -> tuple[Counts[Bucket], Counts[Bucket], dict[Bucket, str]]:
    calls: Counts[Bucket] = Counts()
    rows: Counts[Bucket] = Counts()
    texts: dict[Bucket, str] = {}
    nothing = Counter("", "", 0, 0)
    for name, counter in now.counters.items():
        prior = nothing if result.reset else before.counters.get(name, nothing)
        if counter.calls < prior.calls:
            result.removed += 1
            prior = nothing
        if counter.calls > prior.calls:
            bucket = (counter.database, _shape(counter.query, recorded))
            calls[bucket] += counter.calls - prior.calls
            rows[bucket] += max(0, counter.rows - prior.rows)
            texts.setdefault(bucket, counter.query)
    if not result.reset:
        result.removed += len(before.counters.keys() - now.counters.keys())
    gave_up = (now.dealloc or 0) - (before.dealloc or 0)
    if result.removed and (gave_up > 0 or result.reset):
        result.removed = 0
    if gave_up > 0:
        result.explained.append(
            f"{gave_up} times the server gave up the least used counters (pg_stat_statements.max)"
        )
    return calls, rows, texts


def _shape(query: str, recorded: Tally) -> str:
    """A text that only the server writes so is matched by its tokens."""
    found = shapes.shape(query)
    return recorded.loose.get(found, found) if found.startswith("text:") else found


def _difference(bucket: Bucket, texts: dict[Bucket, str], calls: int, rows: int) -> Difference:
    database, shape = bucket
    return Difference(database, shape, shapes.masked(texts[bucket]), calls, rows)


def answer(question: Question) -> Comparison:
    """With the record as it is in the index. What the first count does not explain is counted once more."""
    reader = IndexReader(Path(question.state))
    try:
        if not _caught_up(reader, question.last):
            return Comparison(question.before.moment, question.now.moment, behind=True)
        found = _once(reader, question)
        if found.unrecorded or found.more_rows:
            time.sleep(SECOND_THOUGHTS)
            found = _once(reader, question)
        return found
    finally:
        reader.close()


def _once(reader: IndexReader, question: Question) -> Comparison:
    since = datetime.fromisoformat(question.before.moment)
    with reader.connection() as connection:
        recorded = (
            tally(
                connection,
                _route(connection, question, since),
                question.before.position,
                question.last,
                since,
            )
            if connection is not None
            else Tally()
        )
    return compare(question.before, question.now, recorded)


def _route(connection: Connection, question: Question, since: datetime) -> Route:
    """Also by connections that go there under another name, or that were removed meanwhile."""
    session = tables.sessions.c
    connector = func.json_extract(session.header, "$.upstream.connector")
    names = connection.scalars(
        select(session.connection)
        .distinct()
        .where(
            session.user == question.user,
            session.last_activity >= since.strftime("%Y-%m-%dT%H:%M:%S"),
            func.json_extract(session.header, "$.upstream.address") == question.now.address,
            connector.in_(question.connectors) if question.connectors else connector.is_(None),
        )
    )
    return Route(question.user, tuple({*question.connections, *names}))


def _caught_up(reader: IndexReader, position: int) -> bool:
    deadline = time.monotonic() + INDEX_SECONDS
    query = select(tables.meta.c.value).where(tables.meta.c.name == "position")
    while True:
        with reader.connection() as connection:
            read = connection.scalar(query) if connection is not None else None
        if read is not None and int(read) >= position:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def main(arguments: Sequence[str] = ()) -> int:
    os.nice(NICE)
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(answer(question)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
