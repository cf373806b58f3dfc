"""A tape that was released is not missed: the record gives back the same frames, in the same order."""

import random
import struct
from pathlib import Path

import pytest

from pgwitness.index.catchup import rebuild
from pgwitness.index.frames import FrameFollower, session_frames
from pgwitness.index.store import IndexReader
from pgwitness.record.ordering import SPAN_BYTES
from pgwitness.review.replay import replay
from support import tapes
from support.dialogue import (
    HEADER,
    complete,
    data_row,
    query,
    ready,
    row_description,
)
from support.sealing import drop_tape, on_tape, read_back, seal, verified
from support.tape_files import CLIENT, ENDED, EVENT, RECORDER, ROSTER, SERVER, STARTED, ZERO, TapeWriter


def _talks(count: int) -> list[tapes.Dialogue]:
    made = []
    for number in range(count):
        talk = tapes.dialogue(number, claims={"run": f"run-{number}"})
        for turn in range(16):
            talk.client(query(f"SELECT {turn}")).server(
                row_description(("n", 25))
                + data_row(f"{number} {turn}".encode())
                + complete("SELECT 1")
                + ready()
            )
        if number % 2:
            talk.ended()
        made.append(talk)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Eight sessions, half of them ended, on a tape of small segments that is sealed to its end."""
    order = list(range(8)) * 35
    random.Random(4).shuffle(order)
    with tapes.Recording(tmp_path, _talks(8), segment_bytes=4096) as recording:
        recording.writer.append_json(ZERO, RECORDER, 1, {"event": "started"})
        recording.put_all(order)
        recording.writer.append_json(ZERO, RECORDER, 2, {"event": "stopped"})
    seal(tmp_path)
    verified(tmp_path)
    return tmp_path


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_the_same_frames(state: Path, keep: int) -> None:
    wanted = on_tape(state)
    assert drop_tape(state, keep) > 2
    assert read_back(state) == wanted
    assert read_back(state, at_a_time=3) == wanted


def test_the_same_frames_from_any_position(state: Path) -> None:
    wanted = on_tape(state)
    drop_tape(state, 1)
    for at in range(0, len(wanted), 7):
        assert read_back(state, wanted[at][4]) == wanted[at:]


def test_the_tape_goes_on_after_the_record(state: Path) -> None:
    writer = TapeWriter(state / "tape")
    writer.append_json(tapes.session_id(99).bytes, STARTED, 7, HEADER)
    writer.close()
    wanted = on_tape(state)
    drop_tape(state, 2)
    assert read_back(state) == wanted


def test_an_index_made_anew_has_the_same_rows(state: Path) -> None:
    tapes.index(state).close()
    wanted = tapes.dump(state)
    drop_tape(state, 1)
    rebuild(state)
    assert tapes.differences(tapes.dump(state), wanted) == []
    (state / "index.sqlite").unlink()
    tapes.index(state).close()
    assert tapes.differences(tapes.dump(state), wanted) == []


def test_a_replay_has_the_same_results(state: Path) -> None:
    tapes.index(state).close()
    reader = IndexReader(state)
    sessions = [str(tapes.session_id(number)) for number in range(8)]
    wanted = {one: list(replay(reader, state / "tape", one, results=True)) for one in sessions}
    assert any(each.get("result") for each in wanted[sessions[0]])
    drop_tape(state, 1)
    assert {one: list(replay(reader, state / "tape", one, results=True)) for one in sessions} == wanted
    reader.close()


def test_one_session_alone(state: Path) -> None:
    session = tapes.session_id(3).bytes
    wanted = [frame for frame in on_tape(state) if frame[0] == session]
    first, last = wanted[0][4], wanted[-1][4]
    assert list(session_frames(state / "tape", session, first, last)) == wanted
    drop_tape(state, 2)
    assert list(session_frames(state / "tape", session, first, last)) == wanted
    middle = wanted[5][4]
    assert list(session_frames(state / "tape", session, first, middle)) == wanted[:6]


def test_a_chunk_that_cannot_be_read_is_named_and_the_rest_is_there(state: Path) -> None:
    wanted = on_tape(state)
    drop_tape(state)
    chunks = state / "record" / "segments" / "0000000001.chunks"
    damaged = bytearray(chunks.read_bytes())
    damaged[60] ^= 1
    chunks.write_bytes(damaged)
    rebuild(state)
    problems = tapes.dump(state)["problems"]
    assert any("the record cannot be read" in problem for _, _, problem in problems)
    assert len(tapes.all_statements(IndexReader(state))) > len(wanted) // 4


def test_spans_of_a_large_tape_are_put_in_order_again(tmp_path: Path) -> None:
    """Frames of 200 kB: several spans in a segment, and sessions whose chunks overlap."""
    writer = TapeWriter(tmp_path / "tape", segment_bytes=3 * SPAN_BYTES)
    ids = [tapes.session_id(number).bytes for number in range(3)]
    for session in ids:
        writer.append_json(session, STARTED, 1, HEADER)
    for turn in range(250):
        writer.append(ids[turn % 3], CLIENT if turn % 2 else SERVER, turn, struct.pack("<I", turn) * 50_000)
        if turn % 10 == 0:
            writer.append_json(ZERO, RECORDER, turn, {"event": "login_refused"})
            writer.append_json(ids[0], EVENT, turn, {"event": "notice"})
    writer.append_json(ids[0], ENDED, 300, {"reason": "terminated"})
    writer.close()
    assert seal(tmp_path) > 6
    wanted = on_tape(tmp_path)
    drop_tape(tmp_path)
    assert read_back(tmp_path) == wanted
    for at in (1, len(wanted) // 3, len(wanted) // 2, len(wanted) - 1):
        assert read_back(tmp_path, wanted[at][4]) == wanted[at:]


def test_released_while_it_is_read(state: Path) -> None:
    wanted = on_tape(state)
    follower = FrameFollower(state / "tape")
    found, _ = follower.read(1, 1)
    session = session_frames(state / "tape", wanted[1][0], wanted[1][4], wanted[-1][4])
    one = [next(session)]
    drop_tape(state, 2)
    while frames := follower.read(5, 1 << 20)[0]:
        found += frames
    assert [frame for frame in found if frame[2] != ROSTER] == wanted
    assert [*one, *session] == [frame for frame in wanted if frame[0] == wanted[1][0]]
