"""An erased session in the index: its content goes, that it was stays."""

import sqlite3
from pathlib import Path
from typing import Any

from pgwitness.index.blocks import term
from pgwitness.index.filters import Filters
from pgwitness.index.follower import Pace
from pgwitness.index.location import Location
from pgwitness.index.passages import Needle
from pgwitness.index.store import IndexReader
from support import marks, tapes
from support.dialogue import START, answers, extended, sync
from support.tape_files import RECORDER, ZERO

ONE, TWO = str(tapes.session_id(1)), str(tapes.session_id(2))


def _event(session: str) -> dict[str, Any]:
    return {
        "event": "session_erased",
        "session": session,
        "by": "anna",
        "reason": "why",
        "position": [1, 2],
        "identity": "billing-agent",
        "connection": "orders",
        "started_at": "2026-01-01T00:00:00.000000Z",
        "ended_at": "2026-01-01T00:01:00.000000Z",
    }


def _record(state: Path, erased: str = ONE, more: int = 0) -> None:
    """Two sessions with a text of their own and one in common; one is erased, and a third says the same."""
    talks = []
    for number in (1, 2, 3):
        talk = tapes.dialogue(number, user="app", client={"address": "10.0.0.7:5", "parameters": {}})
        for row in range(more):
            talk.run(f"SELECT 'own {number}, {row}', '{row * 7919 % 1000:0200}'", "SELECT 1")
        talks.append(
            talk.run(f"SELECT 'own {number}'", "SELECT 1").run("SELECT 'common'", "SELECT 1").ended()
        )
    with tapes.Recording(state, talks) as recording:
        recording.put(0)
        recording.put(1)
        recording.writer.append_json(ZERO, RECORDER, START, _event(erased))
        recording.put(2)


def test_its_content_goes_and_that_it_was_stays(tmp_path: Path) -> None:
    _record(tmp_path)
    reader = tapes.index(tmp_path)
    found = reader.session(ONE)
    assert found.session.erased_at and found.session.identity == "billing-agent"
    assert (found.session.statements, found.session.end_reason) == (2, "terminated")
    assert (found.session.user, found.session.client, found.session.run) == (None, None, None)
    assert found.header == {} and found.events == []
    listed = [(each.session, each.sql) for each in tapes.all_statements(reader)]
    three = str(tapes.session_id(3))
    assert listed == [
        (TWO, "SELECT 'own 2'"),
        (TWO, "SELECT 'common'"),
        (three, "SELECT 'own 3'"),
        (three, "SELECT 'common'"),
    ]
    reader.close()
    assert reader.session(TWO).session.erased_at is None
    reader.close()


def test_no_text_of_its_own_is_left_in_any_file(tmp_path: Path) -> None:
    """Also where it was written, read by somebody, and only then erased."""
    _record(tmp_path, more=400)
    with tapes.following(tmp_path, Pace(rows=50, frames=50, snapshot_seconds=0)) as follower:
        while follower.step():
            pass
        follower.snapshot()
        files = [file for file in tmp_path.glob("index*") if file.is_file()]
        assert len(files) > 1, "the write-ahead log is there as long as somebody writes"
        kept = b"".join(file.read_bytes() for file in files)
    assert b"own 1" not in kept and b"own 2" in kept
    assert Location(tmp_path).current()
    assert marks.wrong(tmp_path) == []


def test_no_search_finds_what_was_erased(tmp_path: Path) -> None:
    """Nor is there a word, a gram or a mark left that only the erased session had."""
    talks = [
        tapes.dialogue(number, claims={"run": f"run-{number}"})
        .run(f"SELECT 'secret{number}' FROM only{number}", "SELECT 1")
        .run("SELECT 'common'", "SELECT 1")
        .client(extended("SELECT $1", (f"bound{number}".encode(),), (25,)), sync())
        .server(answers("SELECT 1"))
        .ended()
        for number in (1, 2)
    ]
    with tapes.Recording(tmp_path, talks) as recording:
        recording.put_all([0, 1] * 9)
        recording.writer.append_json(ZERO, RECORDER, START, _event(ONE))
    with tapes.following(tmp_path, Pace(rows=2, frames=2, snapshot_seconds=0)) as follower:
        while follower.step():
            pass
        follower.snapshot()
    reader = IndexReader(tmp_path)
    for number, left in ((1, 0), (2, 1)):
        for wanted in (f"secret{number}", f"bound{number}", f"only{number}"):
            for filters in (Filters(match=wanted), Filters(words=wanted), Filters(match=wanted[:-2])):
                found = [each for each in reader.iterate(filters) if each.session == (ONE, TWO)[number - 1]]
                assert len(found) == left, wanted
        assert len(list(reader.iterate(Filters(run=f"run-{number}")))) == 3 * left
    reader.close()
    assert marks.wrong(tmp_path) == []
    current = Location(tmp_path).current()
    assert current is not None
    with sqlite3.connect(current) as file:
        assert not file.execute("SELECT 1 FROM words WHERE instr(word, 'only1')").fetchall()
        ((mark,),) = file.execute("SELECT count(*) FROM marks WHERE value = ?", (term("run-1"),)).fetchall()
        grams = [bits for (bits,) in file.execute("SELECT bits FROM grams")]
        kept = b"".join(data for (data,) in file.execute("SELECT data FROM passages"))
    file.close()
    assert mark == 0
    assert b"bound1" not in kept and b"bound2" in kept
    (run,), (other,) = Needle.words("bound1")[0].runs(), Needle.words("bound2")[0].runs()
    assert not any(run.may_be_in(bits) for bits in grams) and any(other.may_be_in(bits) for bits in grams)


def test_a_session_that_cannot_be_read_any_more_is_listed_from_its_erasure(tmp_path: Path) -> None:
    """As when the index is made again after the tape was released."""
    unknown = str(tapes.session_id(9))
    _record(tmp_path, erased=unknown)
    reader = tapes.index(tmp_path)
    found = reader.session(unknown).session
    assert (found.identity, found.connection, found.statements) == ("billing-agent", "orders", 0)
    assert found.started_at == "2026-01-01T00:00:00.000000Z" and found.erased_at
    assert len(tapes.all_statements(reader)) == 6
    reader.close()


def test_indexed_in_one_go_or_frame_by_frame_it_is_the_same(tmp_path: Path) -> None:
    dumps = []
    for name, pace in (("one", None), ("many", Pace(rows=1, frames=1))):
        state = tmp_path / name
        _record(state)
        with tapes.following(state, pace) as follower:
            while follower.step():
                pass
            follower.snapshot()
        dumps.append(tapes.dump(state))
    assert tapes.differences(*dumps) == []
