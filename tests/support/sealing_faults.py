"""A piece of sealing to be broken off anywhere: some spans, the edge of a tile, a tape released."""

from pathlib import Path

from pgwitness.record.chunks import Frame
from pgwitness.record.files import Files
from pgwitness.sealing.release import release
from pgwitness.sealing.sealer import Sealer
from support import tapes
from support.dialogue import HEADER
from support.sealing import drop_tape, on_tape, read_back, seal, seal_on, verified
from support.tape_files import CLIENT, ENDED, RECORDER, SERVER, STARTED, ZERO, TapeWriter

SESSIONS = 82
"""Three entries each: when they are sealed, the next are the last of the log's first tile."""


def make_state(state: Path) -> list[Frame]:
    """A record of ``SESSIONS`` sessions and a tape that has four segments more; what is on it."""
    writer = TapeWriter(state / "tape", segment_bytes=4096)
    for number in range(SESSIONS):
        session = tapes.session_id(number).bytes
        writer.append_json(session, STARTED, number, {"identity": "agent", "connection": "orders"})
        writer.append_json(session, ENDED, number, {"reason": "terminated"})
    writer.append(tapes.session_id(1000).bytes, STARTED, 1, b"{}")
    seal(state)
    until = writer.number + 4
    turn = 0
    while writer.number < until:
        turn += 1
        session = tapes.session_id(1000 + turn % 5).bytes
        if session in writer.open:
            writer.append(session, CLIENT, turn, b"request %d " % turn * 20)
            writer.append(session, SERVER, turn, b"answer %d " % turn * 20)
        else:
            writer.append_json(session, STARTED, turn, HEADER)
        writer.append_json(ZERO, RECORDER, turn, {"event": "login_refused", "turn": turn})
    writer.append_json(tapes.session_id(1002).bytes, ENDED, turn, {"reason": "killed"})
    writer.close()
    frames = on_tape(state)
    tapes.index(state).close()
    return frames


def work(state: Path, files: Files) -> None:
    """What a sealer does from its start on."""
    sealer = Sealer(state, files)
    try:
        seal_on(sealer)
        release(state, sealer.sealed, 0, files)
    finally:
        sealer.close()


def check(state: Path, wanted: list[Frame]) -> None:
    """The record is sound, whole, and needs no tape."""
    verified(state)
    drop_tape(state, 0)
    found = read_back(state)
    assert found == wanted, f"{len(found)} frames instead of {len(wanted)}"
    left = [path for path in (state / "record").rglob("*") if ".tmp" in path.name]
    assert left == [], left
