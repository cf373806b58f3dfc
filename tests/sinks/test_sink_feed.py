"""What is told, when, in which order and how often: from an index, with positions that are kept."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgwitness.index.catchup import rebuild
from pgwitness.index.store import IndexReader
from pgwitness.sinks import feed as feeding
from pgwitness.sinks.feed import Feed, Wanted
from pgwitness.sinks.items import Discretion, Item
from pgwitness.sinks.positions import Positions
from support import tapes
from support.dialogue import Dialogue, answers, complete, extended, query, ready, sync
from support.tape_files import RECORDER, ZERO
from support.tapes import Recording, dialogue, session_id

NEVER = 1e9
"""The conversations are of another day."""
WHOLE = Wanted(open_after=NEVER)


class Told:
    """A sink whose receiver is a list."""

    def __init__(self, state: Path, wanted: Wanted = WHOLE, begin: int = 0) -> None:
        self.index = IndexReader(state)
        self.positions = Positions(state / "sinks" / "one.sqlite", begin)
        self.feed = Feed(self.index, self.positions, wanted)
        self.items: list[Item] = []

    def take(self) -> list[str]:
        """Ids of what is new."""
        new: list[str] = []
        more = True
        while more:
            batch = self.feed.next()
            self.items += batch.items
            new += [item.id for item in batch.items]
            self.feed.keep(batch)
            more = batch.more
        return [_short(each) for each in new]

    def close(self) -> None:
        self.index.close()
        self.positions.close()


@contextmanager
def told(state: Path, wanted: Wanted = WHOLE, begin: int = 0) -> Iterator[Told]:
    one = Told(state, wanted, begin)
    try:
        yield one
    finally:
        one.close()


def _short(id: str) -> str:
    for number in range(20):
        id = id.replace(str(session_id(number)), str(number))
    return id


def catch_up(state: Path) -> None:
    tapes.index(state).close()


def settled(number: int, count: int = 3) -> Dialogue:
    talk = dialogue(number)
    for each in range(count):
        talk.run(f"UPDATE a SET b = {each}", "UPDATE 1")
    return talk.ended()


def test_a_session_in_order(tmp_path: Path) -> None:
    with Recording(tmp_path, [settled(1)]) as recording:
        recording.put_all()
        catch_up(tmp_path)
        with told(tmp_path) as sink:
            assert sink.take() == ["1/start", "1/1", "1/2", "1/3", "1/end"]
            assert sink.take() == []
            assert sink.items[1].statement is not None and sink.items[1].statement.sql == "UPDATE a SET b = 0"
            assert sink.positions.cursors() == {}


def test_told_when_the_transaction_is_settled(tmp_path: Path) -> None:
    talk = dialogue(1).run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 3", b"T")
    talk.run("COMMIT", "COMMIT").run("SELECT 1", "SELECT 1")
    with Recording(tmp_path, [talk]) as recording, told(tmp_path) as sink:
        recording.put(0, 5)
        catch_up(tmp_path)
        assert sink.take() == ["1/start"]
        recording.put(0, 2)
        catch_up(tmp_path)
        assert sink.take() == ["1/1", "1/2", "1/3"]
        assert [item.statement.transaction.outcome for item in sink.items[1:] if item.statement] == [
            "committed"
        ] * 3
        recording.put(0)
        catch_up(tmp_path)
        assert sink.take() == ["1/4"]


def test_announced_as_open_after_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = dialogue(1).run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 3", b"T")
    talk.run("SELECT 1", "SELECT 1", b"T").run("ROLLBACK", "ROLLBACK")
    now = talk.frames[0][3] / 1e9
    monkeypatch.setattr(feeding.time, "time", lambda: now)
    with Recording(tmp_path, [talk]) as recording, told(tmp_path, Wanted(open_after=60)) as sink:
        recording.put(0, 5)
        catch_up(tmp_path)
        assert sink.take() == ["1/start"]
        now += 59
        assert sink.take() == []
        now += 2
        assert sink.take() == ["1/1/open", "1/2/open"]
        assert sink.take() == []
        assert sink.items[-1].statement is not None
        assert sink.items[-1].statement.transaction.outcome == "open" and not sink.items[-1].final
        recording.put(0, 2)
        catch_up(tmp_path)
        assert sink.take() == ["1/3/open"]
        recording.put(0)
        catch_up(tmp_path)
        assert sink.take() == ["1/1", "1/2", "1/3", "1/4"]
        assert sink.items[-2].statement is not None
        assert sink.items[-2].statement.transaction.outcome == "rolled_back"


def test_what_runs_for_long_is_announced_and_told_once_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = dialogue(1).client(query("UPDATE a SET b = 1")).server(complete("UPDATE 9"), ready())
    now = talk.frames[0][3] / 1e9
    monkeypatch.setattr(feeding.time, "time", lambda: now)
    with Recording(tmp_path, [talk]) as recording, told(tmp_path, Wanted(open_after=5)) as sink:
        recording.put(0, 2)
        catch_up(tmp_path)
        now += 6
        assert sink.take() == ["1/start", "1/1/open"]
        assert sink.items[1].statement is not None and sink.items[1].statement.status == "unfinished"
        recording.put(0)
        catch_up(tmp_path)
        assert sink.take() == ["1/1"]
        assert sink.items[2].statement is not None and sink.items[2].statement.rows == 9


def test_one_that_waits_holds_up_no_other_session(tmp_path: Path) -> None:
    waiting = dialogue(1).run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 3", b"T")
    with Recording(tmp_path, [waiting, settled(2)]) as recording, told(tmp_path) as sink:
        recording.put_all()
        catch_up(tmp_path)
        assert sink.take() == ["1/start", "2/start", "2/1", "2/2", "2/3", "2/end"]


def test_a_session_that_ends_in_mid_transaction_is_told_whole(tmp_path: Path) -> None:
    talk = dialogue(1).run("BEGIN", "BEGIN", b"T").client(query("DELETE FROM a")).ended("client_lost")
    with Recording(tmp_path, [talk]) as recording, told(tmp_path) as sink:
        recording.put_all()
        catch_up(tmp_path)
        assert sink.take() == ["1/start", "1/1", "1/2", "1/end"]


def test_what_did_not_arrive_comes_again_under_the_same_id(tmp_path: Path) -> None:
    with Recording(tmp_path, [settled(1), settled(2)]) as recording, told(tmp_path) as sink:
        recording.put_all()
        catch_up(tmp_path)
        first = [item.id for item in sink.feed.next().items]
        sink.feed.rewind()
        assert [item.id for item in sink.feed.next().items] == first
    with told(tmp_path) as again:
        again.take()
        assert [item.id for item in again.items] == first


def test_in_batches_that_end_anywhere_and_processes_that_die_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and what comes twice has the same id."""
    chance = random.Random(5)
    talks = [settled(number, 7) for number in range(1, 9)]
    order = [chance.randrange(8) for _ in range(90)]
    monkeypatch.setattr(feeding, "TAKEN_IN", 2)
    monkeypatch.setattr(feeding, "UNTOLD", 3)
    arrived: list[str] = []
    with Recording(tmp_path, talks) as recording:
        sink = Told(tmp_path)
        for number in order:
            if recording._next[number] < len(talks[number].frames):
                recording.put(number, 1)
            if chance.random() < 0.2:
                catch_up(tmp_path)
            monkeypatch.setattr(feeding, "ITEMS", chance.randint(1, 4))
            batch = sink.feed.next()
            arrived += [_short(item.id) for item in batch.items]
            if chance.random() < 0.4:
                sink.close()
                sink = Told(tmp_path)
            else:
                sink.feed.keep(batch)
        recording.put_all()
        catch_up(tmp_path)
        arrived += sink.take()
        sink.close()
    first = list(dict.fromkeys(arrived))
    for number in range(1, 9):
        own = [id for id in first if id.split("/")[0] == str(number)]
        assert own == [f"{number}/start", *(f"{number}/{seq}" for seq in range(1, 8)), f"{number}/end"]
    assert len(arrived) > len(first), "no double: the test did not test"


def test_a_sink_that_is_new_begins_where_the_gateway_did(tmp_path: Path) -> None:
    with Recording(tmp_path, [settled(1), settled(2)]) as recording:
        recording.put(0)
        begin = recording.writer.number << 32 | recording.writer.offset
        recording.put(1)
        catch_up(tmp_path)
        with told(tmp_path, begin=begin) as sink:
            assert sink.take() == ["2/start", "2/1", "2/2", "2/3", "2/end"]
        with told(tmp_path, begin=1 << 40) as again:
            assert again.take() == [], "only a new one begins anywhere"


def test_an_index_made_anew_changes_nothing(tmp_path: Path) -> None:
    talk = dialogue(2).run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 3", b"T")
    talk.run("COMMIT", "COMMIT").ended()
    with Recording(tmp_path, [settled(1), talk, settled(3)]) as recording, told(tmp_path) as sink:
        recording.put(0)
        recording.put(1, 5)
        catch_up(tmp_path)
        assert sink.take() == ["1/start", "1/1", "1/2", "1/3", "1/end", "2/start"]
        rebuild(tmp_path)
        assert sink.take() == []
        recording.put_all()
        rebuild(tmp_path)
        assert sink.take() == ["2/1", "2/2", "2/3", "2/end", "3/start", "3/1", "3/2", "3/3", "3/end"]


def test_an_index_that_is_behind_is_waited_for(tmp_path: Path) -> None:
    with Recording(tmp_path, [settled(1)]) as recording, told(tmp_path) as sink:
        recording.put_all()
        catch_up(tmp_path)
        sink.take()
        progress = sink.positions.progress()
        progress.known += 1000
        sink.positions.save(progress, [], [])
        sink.feed.rewind()
        batch = sink.feed.next()
        assert not batch.items and batch.waits == 1000


def test_what_was_erased_is_not_told(tmp_path: Path) -> None:
    talk = dialogue(1).run("BEGIN", "BEGIN", b"T").run("DELETE FROM secrets", "DELETE 3", b"T").ended()
    with Recording(tmp_path, [talk]) as recording, told(tmp_path) as sink:
        recording.put(0, 5)
        catch_up(tmp_path)
        assert sink.take() == ["1/start"]
        recording.put(0)
        event = {"event": "session_erased", "session": str(session_id(1)), "by": "keeper"}
        recording.writer.append(ZERO, RECORDER, 9, json.dumps(event).encode())
        catch_up(tmp_path)
        assert sink.take() == ["1/end"]
        assert "secrets" not in str(sink.items)


def _recorder(recording: Recording, **event: Any) -> None:
    recording.writer.append(ZERO, RECORDER, 1_795_000_000_000_000_000, json.dumps(event).encode())


def test_refusals_findings_and_kills(tmp_path: Path) -> None:
    talk = dialogue(1).event(event="kill_requested", by="local:root", why="enough").ended("killed")
    with Recording(tmp_path, [talk]) as recording, told(tmp_path) as sink:
        _recorder(recording, event="login_refused", identity="mallory", reason="unknown_token")
        recording.put_all()
        _recorder(recording, event="watch_finding", connection="orders", what="a way in", change="new")
        _recorder(recording, event="administered", action="token.issue")
        catch_up(tmp_path)
        sink.take()
        assert [item.kind for item in sink.items] == [
            "refusal",
            "finding",
            "session_started",
            "session_event",
            "session_ended",
        ]
        assert sink.items[3].details["by"] == "local:root"
        _recorder(recording, event="session_refused", identity="mallory", reason="no_grant")
        catch_up(tmp_path)
        (id,) = sink.take()
        assert id.startswith("event/") and sink.items[-1].details["reason"] == "no_grant"


@pytest.mark.parametrize(
    ("send", "kinds"),
    [
        (("statements",), ["statement"]),
        (("sessions",), ["session_started", "session_ended"]),
        (("refusals",), ["refusal"]),
        (("findings",), []),
    ],
)
def test_only_what_is_wanted(tmp_path: Path, send: tuple[str, ...], kinds: list[str]) -> None:
    with (
        Recording(tmp_path, [settled(1, 1)]) as recording,
        told(tmp_path, Wanted(send, open_after=NEVER)) as sink,
    ):
        _recorder(recording, event="login_refused", identity="mallory", reason="unknown_token")
        recording.put_all()
        catch_up(tmp_path)
        sink.take()
        assert [item.kind for item in sink.items] == kinds


def test_more_sessions_than_are_looked_at_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "TAKEN_IN", 2)
    monkeypatch.setattr(feeding, "UNTOLD", 2)
    talks = [dialogue(number).ended() for number in range(1, 10)]
    with (
        Recording(tmp_path, talks) as recording,
        told(tmp_path, Wanted(("statements",), open_after=NEVER)) as quiet,
    ):
        recording.put_all()
        catch_up(tmp_path)
        assert quiet.take() == []
        assert quiet.positions.progress().last_session == str(session_id(9))
        assert quiet.positions.cursors() == {}


def test_a_batch_is_bounded_by_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "CHARACTERS", 50_000)
    talk = dialogue(1)
    for _ in range(10):
        talk.run("SELECT '" + "x" * 30_000 + "'", "SELECT 1")
    with Recording(tmp_path, [talk.ended()]) as recording, told(tmp_path) as sink:
        recording.put_all()
        catch_up(tmp_path)
        sizes = []
        more = True
        while more:
            batch = sink.feed.next()
            sizes.append(len(batch.items))
            sink.feed.keep(batch)
            more = batch.more
        assert max(sizes) <= 3 and sum(sizes) == 12


@pytest.mark.parametrize(
    ("discretion", "sql", "values"),
    [
        (Discretion(), "UPDATE a SET b = 'secret' WHERE c = $1", ["7"]),
        (Discretion("normalised", False), "UPDATE a SET b = ? WHERE c = $1", [None]),
        (Discretion("normalised", True), "UPDATE a SET b = ? WHERE c = $1", ["7"]),
        (Discretion("withheld", False), "", [None]),
        (Discretion("whole", False), "UPDATE a SET b = 'secret' WHERE c = $1", [None]),
        (Discretion("whole", True, 10), "UPDATE a S", ["7"]),
    ],
)
def test_how_much_of_a_statement_goes(
    tmp_path: Path, discretion: Discretion, sql: str, values: list[str | None]
) -> None:
    talk = dialogue(1).client(extended("UPDATE a SET b = 'secret' WHERE c = $1", (b"7",)), sync())
    talk.server(answers("UPDATE 1")).ended()
    with (
        Recording(tmp_path, [talk]) as recording,
        told(tmp_path, Wanted(discretion=discretion, open_after=NEVER)) as sink,
    ):
        recording.put_all()
        catch_up(tmp_path)
        sink.take()
        statement = sink.items[1].statement
        assert statement is not None
        assert statement.sql == sql and [each.value for each in statement.parameters] == values
        assert statement.command == "UPDATE" and statement.tables == ["public.a"]


def test_passwords_never_go(tmp_path: Path) -> None:
    talk = dialogue(1).run("ALTER ROLE app PASSWORD 'hunter2'", "ALTER ROLE").ended()
    with Recording(tmp_path, [talk]) as recording, told(tmp_path) as sink:
        recording.put_all()
        catch_up(tmp_path)
        sink.take()
        assert "hunter2" not in str(sink.items) and "'***'" in str(sink.items)
