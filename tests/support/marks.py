"""What an index's marks, blocks, passages and counts must be, by its rows alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import create_engine, text

from pgwitness.index.blocks import SLOT_BITS, Kind, block_of, slot_of, step, term, unpack
from pgwitness.index.location import Location
from pgwitness.index.passages import BY_SLOT, GRAM_BYTES, Needle, Section, bound, folded, name_of
from pgwitness.index.rows import Rest

_SESSION_KINDS = {
    "identity": Kind.IDENTITY,
    "kind": Kind.IDENTITY_KIND,
    "on_behalf_of": Kind.ON_BEHALF_OF,
    "run": Kind.RUN,
    "connection": Kind.CONNECTION,
}


def wrong(state: Path) -> list[str]:
    """What does not agree; empty when all is well."""
    engine = create_engine(f"sqlite:///{Location(state).current()}")
    with engine.begin() as connection:

        def rows(query: str) -> list[Any]:
            return list(connection.execute(text(query)))

        statements = rows(_STATEMENTS)
        blocks = {row.number: row for row in rows("SELECT * FROM blocks")}
        marks = {(row.block, row.kind, row.value): unpack(row.bits) for row in rows("SELECT * FROM marks")}
        passages: dict[tuple[int, int], list[bytes]] = {}
        for row in rows("SELECT * FROM passages ORDER BY place"):
            key = (block_of(row.place), slot_of(row.place) >> SLOT_BITS - 2)
            passages.setdefault(key, []).append(row.data)
        grams = {row.block: row.bits for row in rows("SELECT * FROM grams")}
        activity = {
            (row.identity, row.connection): Counter(
                statements=row.n, errors=row.errors, rows_written=row.written
            )
            for row in rows(_ACTIVITY)
        }
    engine.dispose()
    return [
        *_wrong_blocks(blocks, statements),
        *_wrong_marks(marks, statements),
        *_wrong_passages(marks, passages, grams, statements),
        *_wrong_counts(activity, statements),
    ]


def _wrong_blocks(blocks: dict[int, Any], statements: list[Any]) -> list[str]:
    found = []
    held = Counter(block_of(row.place) for row in statements)
    for number, block in blocks.items():
        if held[number] != block.statements:
            found.append(f"block {number} says {block.statements} statements, and has {held[number]}")
    for row in statements:
        number = block_of(row.place)
        block, following = blocks[number], blocks.get(number + 1)
        key = (row.position, row.seq)
        if key < (block.first_position, block.first_seq) and number > 1:
            found.append(f"{key} is before its block {number}")
        if following and key >= (following.first_position, following.first_seq):
            found.append(f"{key} is behind its block {number}")
        if not block.began <= row.started <= block.ended or slot_of(row.place) >= block.slots:
            found.append(f"block {number} does not know of {key}")
    if len({row.number for row in statements}) != len(statements):
        found.append("a number was given twice")
    return found


def _wrong_marks(marks: dict[tuple[int, int, int], int], statements: list[Any]) -> list[str]:
    expected: dict[tuple[int, int, int], int] = {}
    for row in statements:
        rest = msgspec.json.decode(row.rest, type=Rest)
        values = [(Kind.SESSION, row.session), (Kind.STATUS, term(row.status))]
        values += [(Kind.OUTCOME, term(row.outcome)), *((Kind.TABLE, term(name)) for name in rest.tables)]
        values += [
            (kind, term(value)) for name, kind in _SESSION_KINDS.items() if (value := getattr(row, name))
        ]
        if row.command is not None:
            values.append((Kind.COMMAND, term(row.command)))
        if rest.sqlstate:
            values += [(Kind.SQLSTATE, term(rest.sqlstate)), (Kind.SQLSTATE, term(rest.sqlstate[:2]))]
        for kind, number in ((Kind.ROWS, row.rows), (Kind.DURATION, row.duration)):
            if number is not None:
                values.append((kind, step(number)))
        if row.written:
            values.append((Kind.WRITTEN, step(row.written)))
        for kind, value in values:
            key = (block_of(row.place), int(kind), value)
            expected[key] = expected.get(key, 0) | 1 << slot_of(row.place)
    told = {key: bits for key, bits in marks.items() if key[1] < Kind.TEXT}
    return [
        f"mark {key}: {told.get(key, 0):b} instead of {expected.get(key, 0):b}"
        for key in told.keys() | expected.keys()
        if told.get(key, 0) != expected.get(key, 0)
    ]


def _wrong_passages(
    marks: dict[tuple[int, int, int], int],
    passages: dict[tuple[int, int], list[bytes]],
    grams: dict[int, bytes],
    statements: list[Any],
) -> list[str]:
    found = []
    there: dict[int, set[int]] = {}
    for row in statements:
        there.setdefault(block_of(row.place), set()).add(slot_of(row.place))
        contents = (folded(row.sql), bound(msgspec.json.decode(row.rest, type=Rest).parameters))
        found += [
            f"{content!r} of {row.session}, {row.seq} is not searched"
            for content in contents
            if content and not _is_there(row, content, marks, passages, grams)
        ]
    return found


def _is_there(
    row: Any,
    content: bytes,
    marks: dict[tuple[int, int, int], int],
    passages: dict[tuple[int, int], list[bytes]],
    grams: dict[int, bytes],
) -> bool:
    block, slot = block_of(row.place), slot_of(row.place)
    needle = Needle(content)
    for run in needle.runs():
        marked = marks.get((block, Kind.WORD, name_of(run.content)), 0) >> slot & 1
        if not marked and not run.may_be_in(grams.get(block, bytes(GRAM_BYTES))):
            return False
    if any(needle.slots(data, [slot]) for each in BY_SLOT for data in passages.get((block, each), [])):
        return True
    names = [name for data in passages.get((block, Section.SHARED), []) for name in needle.names(data)]
    return any(marks.get((block, Kind.TEXT, each), 0) >> slot & 1 for each in names)


def _wrong_counts(activity: dict[Any, Counter[str]], statements: list[Any]) -> list[str]:
    expected: dict[Any, Counter[str]] = {}
    for row in statements:
        count = expected.setdefault((row.identity or "", row.connection or ""), Counter())
        count["statements"] += 1
        count["errors"] += row.status == "error"
        count["rows_written"] += (row.written or 0) if row.outcome == "committed" else 0
    return [
        f"activity of {key}: {activity.get(key)} instead of {expected.get(key)}"
        for key in activity.keys() | expected.keys()
        if activity.get(key, Counter()) != expected.get(key, Counter())
    ]


_STATEMENTS = """
    SELECT s.*, t.sql, n.identity, n.kind, n.on_behalf_of, n.run, n.connection
    FROM statements s JOIN texts t ON t.number = s.text JOIN sessions n ON n.number = s.session
"""
_ACTIVITY = """
    SELECT identity, connection, sum(statements) AS n, sum(errors) AS errors, sum(rows_written) AS written
    FROM activity GROUP BY identity, connection HAVING sum(statements) > 0
"""
