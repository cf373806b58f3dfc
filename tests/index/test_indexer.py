"""The indexer as a process, and what it does when the tape or the index is not as it should be."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgwitness.errors import ConflictError, UnavailableError
from pgwitness.index.catchup import catch_up, rebuild
from pgwitness.index.filters import Filters
from pgwitness.index.follower import Pace
from pgwitness.index.indexer import Indexer
from pgwitness.index.location import Location
from pgwitness.index.status import index_status
from pgwitness.index.store import IndexReader
from pgwitness.statements.assembler import SessionAssembler
from pgwitness.statements.model import Event
from pgwitness.wire.codec import query
from support import tape_files, tapes
from support.dialogue import complete, ready


def _wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _count(state: Path) -> int:
    reader = IndexReader(state)
    try:
        return len(list(reader.iterate(Filters())))
    finally:
        reader.close()


@contextmanager
def _running(state: Path) -> Iterator[Indexer]:
    """In a thread of this process."""
    indexer = Indexer(state, pace=Pace(show_after_seconds=0.2))
    thread = threading.Thread(target=indexer.run)
    thread.start()
    try:
        yield indexer
    finally:
        indexer.stop()
        thread.join()


def _spawn(state: Path, parent: str = "") -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pgwitness.index.indexer", "--state", str(state)]
    if parent:
        command = [sys.executable, "-c", parent, *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_process_follows_and_ends_in_order(tmp_path: Path) -> None:
    talk = tapes.dialogue(1).run("SELECT 1", "SELECT 1")
    with tapes.Recording(tmp_path, [talk]) as recording:
        recording.put_all()
        process = _spawn(tmp_path)
        _wait(lambda: _count(tmp_path) == 1)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + 10
        )
        assert index_status(tmp_path)["pid"] == process.pid
        talk.run("SELECT 2", "SELECT 1")
        began = time.monotonic()
        recording.put(0)
        _wait(lambda: _count(tmp_path) == 2)
        assert time.monotonic() - began < 2
        second = _spawn(tmp_path)
        assert (second.wait(20), b"index_busy" in second.communicate()[1]) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.communicate() == (b"", b"")
    assert index_status(tmp_path)["pid"] is None


def test_a_process_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    tapes.record(tmp_path, tapes.dialogue(1))
    parent = "import subprocess, sys; subprocess.Popen(sys.argv[1:]); sys.stdin.read()"
    command = [sys.executable, "-m", "pgwitness.index.indexer", "--state", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", parent, *command], stdin=subprocess.PIPE) as between:
        _wait(lambda: Location(tmp_path).indexer() is not None)
        between.kill()
    _wait(lambda: Location(tmp_path).indexer() is None)


def test_a_statement_that_runs_is_shown_and_then_replaced(tmp_path: Path) -> None:
    talk = tapes.dialogue(1).run("SELECT 1", "SELECT 1")
    talk.client(query("UPDATE orders SET a = pg_sleep(60)"))
    with tapes.Recording(tmp_path, [talk]) as recording, _running(tmp_path):
        recording.put_all()
        _wait(lambda: _count(tmp_path) == 2)
        reader = IndexReader(tmp_path)
        running = reader.statement(str(tapes.session_id(1)), 2)
        assert (running.status, running.transaction.outcome, running.duration_us) == (
            "unfinished",
            "open",
            None,
        )
        assert running.tables == ["public.orders"]
        assert reader.sessions(Filters()).items[0].statements == 2
        talk.server(complete("UPDATE 3"), ready())
        recording.put(0)
        _wait(lambda: reader.statement(str(tapes.session_id(1)), 2).status == "ok")
        assert reader.sessions(Filters()).items[0].statements == 2
        reader.close()


def test_a_rebuild_beside_a_running_indexer(tmp_path: Path) -> None:
    """Readers and the indexer go on with the new index by themselves."""
    talk = tapes.dialogue(1)
    for n in range(20):
        talk.run(f"SELECT {n}", "SELECT 1")
    reader = IndexReader(tmp_path)
    with tapes.Recording(tmp_path, [talk]) as recording:
        recording.put_all()
        with _running(tmp_path):
            _wait(lambda: _count(tmp_path) == 20)
            assert len(list(reader.iterate(Filters()))) == 20
            told: list[tuple[int, int]] = []
            assert rebuild(tmp_path, lambda done, total: told.append((done, total)))["bytes"] > 0
            assert told[-1][0] == told[-1][1]
            assert Location(tmp_path).link.readlink().name == "index-2.sqlite"
            assert len(list(reader.iterate(Filters()))) == 20
            talk.run("SELECT 'after'", "SELECT 1")
            recording.put(0)
            _wait(lambda: len(list(reader.iterate(Filters()))) == 21)
    reader.close()
    assert sorted(path.name for path in tmp_path.glob("index-*.sqlite")) == ["index-2.sqlite"]


def test_one_rebuild_at_a_time(tmp_path: Path) -> None:
    tapes.record(tmp_path, tapes.dialogue(1))
    with Location(tmp_path).lock("index-rebuild.lock"), pytest.raises(ConflictError):
        rebuild(tmp_path)


def test_a_rebuild_that_broke_off_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    tapes.record(tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1"))
    tapes.index(tmp_path).close()
    for name in ("index-2.sqlite", "index-2.sqlite-wal", "index-7.sqlite"):
        (tmp_path / name).write_bytes(b"half a database")
    rebuild(tmp_path)
    assert _count(tmp_path) == 1
    assert [path.name for path in tmp_path.glob("index-*.sqlite")] == ["index-2.sqlite"]


def test_commands_without_a_gateway_index_what_is_new(tmp_path: Path) -> None:
    talk = tapes.dialogue(1).run("SELECT 1", "SELECT 1")
    with tapes.Recording(tmp_path, [talk]) as recording:
        recording.put_all()
        catch_up(tmp_path)
        assert _count(tmp_path) == 1
        talk.run("SELECT 2", "SELECT 1")
        recording.put(0)
        assert index_status(tmp_path)["lag_bytes"] > 0
        assert index_status(tmp_path)["lag_seconds"] > 0
        catch_up(tmp_path)
        assert _count(tmp_path) == 2
        assert index_status(tmp_path)["lag_bytes"] == 0
        with Location(tmp_path).lock():
            catch_up(tmp_path)


def test_no_tape_is_no_index(tmp_path: Path) -> None:
    catch_up(tmp_path)
    assert index_status(tmp_path)["problems"] == []
    with pytest.raises(UnavailableError):
        rebuild(tmp_path)


def _two_segments(state: Path) -> Path:
    """A tape of two segments; damage hits the second statement of the first."""
    talk = tapes.dialogue(1)
    for n in range(60):
        talk.run(f"SELECT {n}", "SELECT 1")
    with tapes.Recording(state, [talk], segment_bytes=4096) as recording:
        recording.put_all()
    first = state / "tape" / "0000000001.tape"
    data = bytearray(first.read_bytes())
    data[data.index(b"SELECT 5\0")] ^= 1
    first.write_bytes(data)
    return first


def test_damage_is_passed_over_and_never_in_silence(tmp_path: Path) -> None:
    _two_segments(tmp_path)
    reader = tapes.index(tmp_path)
    found = [each.sql for each in reader.iterate(Filters())]
    detail = reader.session(str(tapes.session_id(1)))
    reader.close()
    assert found[:5] == [f"SELECT {n}" for n in range(5)], "all before the damage"
    assert found[-1] == "SELECT 59", "and all after its segment"
    assert len(found) < 60
    problems = index_status(tmp_path)["problems"]
    assert any("segment 1" in problem["problem"] for problem in problems)
    assert any("sequence_gap" in problem["problem"] for problem in problems)
    assert [event["event"] for event in detail.events] == ["sequence_gap"]


def test_damage_in_the_segment_that_is_written_is_waited_for(tmp_path: Path) -> None:
    first = _two_segments(tmp_path)
    later = [path for path in sorted((tmp_path / "tape").iterdir()) if path != first]
    hidden = [path.rename(path.with_suffix(".later")) for path in later]
    with tapes.following(tmp_path) as follower:
        for _ in range(3):
            follower.step()
        assert len(index_status(tmp_path)["problems"]) == 1
        assert _count(tmp_path) == 5
        for path in hidden:
            path.rename(path.with_suffix(".tape"))
        while follower.step():
            pass
    assert _count(tmp_path) > 30


def test_a_session_whose_start_is_gone(tmp_path: Path) -> None:
    """The oldest segment was removed: what is left is indexed, and the loss is told."""
    talk = tapes.dialogue(1)
    for n in range(60):
        talk.run(f"SELECT {n}", "SELECT 1")
    with tapes.Recording(tmp_path, [talk], segment_bytes=4096) as recording:
        recording.put_all()
    (tmp_path / "tape" / "0000000001.tape").unlink()
    reader = tapes.index(tmp_path)
    (session,) = reader.sessions(Filters()).items
    assert session.identity is None
    assert session.statements > 20
    reader.close()
    assert any("start is not on the tape" in each["problem"] for each in index_status(tmp_path)["problems"])


@pytest.mark.parametrize("what", ["schema", "another tape", "a shorter tape", "no database", "snapshot"])
def test_an_index_that_does_not_fit_is_begun_anew_and_said_so(
    tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    tapes.record(tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1"))
    tapes.index(tmp_path).close()
    current = Location(tmp_path).current()
    assert current is not None
    segment = tmp_path / "tape" / "0000000001.tape"
    if what == "schema":
        _execute(current, "UPDATE meta SET value = '0' WHERE name = 'schema'")
        reader = IndexReader(tmp_path)
        with pytest.raises(UnavailableError, match="schema 0"):
            reader.sessions(Filters())
        reader.close()
    elif what == "another tape":
        segment.unlink()
        talk = tapes.dialogue(2).run("SELECT 2", "SELECT 1").run("SELECT 1", "SELECT 1")
        writer = tape_files.TapeWriter(tmp_path / "tape", instance=b"\x99" * 16)
        for _, _, kind, at, _, payload in talk.frames:
            writer.append(tapes.session_id(2).bytes, kind, at, payload)
        writer.close()
    elif what == "a shorter tape":
        data = segment.read_bytes()
        segment.write_bytes(data[: data.index(b"SELECT 1\0") - 53])
    elif what == "no database":
        current.write_bytes(b"something else entirely" * 1000)
        with pytest.raises(UnavailableError, match="cannot be read"):
            IndexReader(tmp_path).sessions(Filters())
    else:
        _execute(current, "UPDATE snapshots SET state = x'93010203'")
    with _running(tmp_path):
        _wait(lambda: Location(tmp_path).current() != current)
        _wait(lambda: index_status(tmp_path)["lag_bytes"] == 0)
    assert _count(tmp_path) == {"another tape": 2, "a shorter tape": 0}.get(what, 1)
    assert "index_rebuilt" in capfd.readouterr().err


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_events_of_the_recorder_are_kept(tmp_path: Path) -> None:
    writer = tape_files.TapeWriter(tmp_path / "tape")
    writer.append_json(
        tape_files.ZERO, tape_files.RECORDER, 10**18, {"event": "login_refused", "user": "eve"}
    )
    writer.append(tape_files.ZERO, tape_files.RECORDER, 10**18, b"no JSON")
    writer.close()
    tapes.index(tmp_path).close()
    assert [row[2] for row in tapes.dump(tmp_path)["events"]] == ["login_refused"]
    assert "no JSON" in index_status(tmp_path)["problems"][0]["problem"]


def test_what_the_server_says_fits_or_is_cut(tmp_path: Path) -> None:
    tapes.record(tmp_path, tapes.dialogue(1).run("DELETE FROM a", f"DELETE {10**30}"))
    reader = tapes.index(tmp_path)
    (found,) = tapes.all_statements(reader)
    reader.close()
    assert (found.rows, found.tag) == (2**63 - 1, f"DELETE {10**30}")


def test_one_session_that_is_not_understood_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should meaning have a bug that a session finds: the rest is indexed, and it is not kept quiet."""
    bad, good = tapes.dialogue(1), tapes.dialogue(2)
    bad.run("SELECT 1", "SELECT 1").run("SELECT 'poison'", "SELECT 1").run("SELECT 3", "SELECT 1").ended()
    good.run("SELECT 4", "SELECT 1").run("SELECT 5", "SELECT 1")
    feed = SessionAssembler.feed

    def poisoned(self: SessionAssembler, frame: tape_files.Frame) -> list[Event]:
        if b"poison" in frame[5]:
            raise RuntimeError("a bug")
        return feed(self, frame)

    monkeypatch.setattr(SessionAssembler, "feed", poisoned)
    with tapes.Recording(tmp_path, [bad, good]) as recording:
        recording.put_all([0, 1] * 10)
    reader = tapes.index(tmp_path)
    assert [each.sql for each in tapes.all_statements(reader)] == ["SELECT 1", "SELECT 4", "SELECT 5"]
    assert reader.sessions(Filters(session=str(tapes.session_id(1)))).items[0].end_reason == "not understood"
    reader.close()
    (problem,) = index_status(tmp_path)["problems"]
    assert (problem["session"], "RuntimeError: a bug" in problem["problem"]) == (
        str(tapes.session_id(1)),
        True,
    )
