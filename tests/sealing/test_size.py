"""How much room the record takes: what pgbench sends, at a quarter of the wire's bytes at most."""

import random
from pathlib import Path

from pgwitness.wire.codec import message
from support import tapes
from support.dialogue import (
    HEADER,
    bind,
    bound,
    complete,
    data_row,
    execute,
    ready,
    row_description,
    sync,
)
from support.sealing import seal, verified
from support.tape_files import CLIENT, ENDED, SERVER, STARTED, TapeWriter

SESSIONS, STATEMENTS = 8, 12_000
LARGEST_RATIO = 0.25


def test_a_quarter_of_the_wire(tmp_path: Path) -> None:
    """One second of pgbench -S -M prepared -c 8, as the tape has it: ids and times as random as they are."""
    chance = random.Random(7)
    writer = TapeWriter(tmp_path / "tape", segment_bytes=64 << 20)
    ids = [tapes.session_id(number).bytes for number in range(SESSIONS)]
    time = 1_764_000_000_000_000_000
    for session in ids:
        writer.append_json(session, STARTED, time, HEADER)
    wire = 0
    for number in range(STATEMENTS):
        session = ids[number % SESSIONS] if chance.random() < 0.7 else chance.choice(ids)
        key, found = str(chance.randint(1, 1_000_000)).encode(), str(chance.randint(-5000, 5000)).encode()
        asked = bind((key,), "P_0") + message(b"D", b"P\0") + execute() + sync()
        answer = (
            bound() + row_description(("abalance", 23)) + data_row(found) + complete("SELECT 1") + ready()
        )
        time += int(chance.expovariate(1 / 50_000))
        writer.append(session, CLIENT, time, asked)
        time += int(chance.expovariate(1 / 30_000))
        writer.append(session, SERVER, time, answer)
        wire += len(asked) + len(answer)
    for session in ids:
        writer.append_json(session, ENDED, time, {"reason": "terminated"})
    writer.close()
    seal(tmp_path)
    verified(tmp_path)
    stored = sum(path.stat().st_size for path in (tmp_path / "record").rglob("*") if path.is_file())
    assert stored <= LARGEST_RATIO * wire, f"{stored / STATEMENTS:.1f} bytes a statement, {stored / wire:.3f}"
    assert stored > 5 * STATEMENTS, "such a tape cannot be packed so well: something is missing"
