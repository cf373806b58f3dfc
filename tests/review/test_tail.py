"""What a stream of live statements tells, over a tape that grows, an indexer that restarts, and cursors."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgwitness.errors import InvalidError, NotFoundError
from pgwitness.index.catchup import rebuild
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.follower import Follower, Pace
from pgwitness.index.store import IndexReader
from pgwitness.review import tail as module
from pgwitness.review.tail import Seen, Tail
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import Dialogue, error, ready

ONE, TWO = str(tapes.session_id(1)), str(tapes.session_id(2))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000


class Growing:
    """A tape of dialogues that grow, the index of it, and a reader."""

    def __init__(self, state: Path, *dialogues: Dialogue) -> None:
        self.state = state
        self.dialogues = dialogues
        self.recording = tapes.Recording(state, dialogues)
        self.now = 0
        self.following = tapes.following(state, Pace(), clock=lambda: self.now)
        self.follower: Follower = self.following.__enter__()
        self.index = IndexReader(state)
        self.step()

    def step(self) -> None:
        """All that was said is indexed."""
        for number in range(len(self.dialogues)):
            self.recording.put(number)
        while self.follower.step():
            pass

    def restart(self, *, killed: bool = False) -> None:
        """Of the indexer."""
        if not killed:
            self.follower.snapshot()
        self.following.__exit__(None, None, None)
        self.following = tapes.following(self.state, Pace(), clock=lambda: self.now)
        self.follower = self.following.__enter__()
        self.step()

    def close(self) -> None:
        self.index.close()
        self.following.__exit__(None, None, None)
        self.recording.writer.crash()


def told(tail: Tail) -> list[tuple[Any, ...]]:
    """All that is new: (seq, status, outcome), or (transaction, outcome, first, last) of one that settled."""
    found: list[tuple[Any, ...]] = []
    while events := tail.poll():
        for event in events:
            if event["kind"] == "statement":
                found.append((event["seq"], event["status"], event["transaction"]["outcome"]))
            else:
                found.append((event["transaction"], event["outcome"], event["first_seq"], event["last_seq"]))
    return found


@pytest.fixture
def one() -> Dialogue:
    return tapes.dialogue(1)


@pytest.fixture
def growing(tmp_path: Path, one: Dialogue) -> Any:
    grown = Growing(tmp_path, one, tapes.dialogue(2, identity="ann"))
    yield grown
    grown.close()


def test_it_begins_now_and_tells_each_statement_once(growing: Growing, one: Dialogue) -> None:
    one.run("SELECT 1", "SELECT 1")
    growing.step()
    tail = Tail(growing.index, Filters())
    assert told(tail) == []
    one.run("SELECT 2", "SELECT 1")
    growing.step()
    assert told(tail) == [(2, "ok", "committed")]
    assert told(tail) == []


def test_an_open_transaction_is_told_and_what_became_of_it(growing: Growing, one: Dialogue) -> None:
    tail = Tail(growing.index, Filters())
    one.run("BEGIN", "BEGIN", b"T").run("UPDATE a SET x = 1", "UPDATE 3", b"T")
    growing.step()
    assert told(tail) == [(1, "ok", "open"), (2, "ok", "open")]
    one.run("SAVEPOINT s", "SAVEPOINT", b"T").run("DELETE FROM a", "DELETE 1", b"T")
    growing.step()
    assert told(tail) == [(3, "ok", "open"), (4, "ok", "open")]
    one.run("ROLLBACK TO s", "ROLLBACK", b"T").run("COMMIT", "COMMIT")
    growing.step()
    assert told(tail) == [
        (5, "ok", "committed"),
        (6, "ok", "committed"),
        (1, "committed", 1, 6),
        (1, "rolled_back", 4, 4),
    ]


def test_a_statement_that_runs_is_told_again_when_it_is_over(growing: Growing, one: Dialogue) -> None:
    tail = Tail(growing.index, Filters(status="error"))
    every = Tail(growing.index, Filters())
    one.client(query("SELECT slow()"))
    growing.step()
    growing.now = one.frames[-1][3] + 5 * SECOND
    growing.step()
    assert told(every) == [(1, "unfinished", "open")] and told(tail) == []
    growing.now += 5 * SECOND
    growing.step()
    assert told(every) == [], "that it still runs is no news"
    one.server(error(), ready())
    growing.step()
    assert told(every) == [(1, "error", "rolled_back")] == told(tail)


def test_the_outcome_as_a_filter_waits_for_it(growing: Growing, one: Dialogue) -> None:
    rolled, kept, still = (
        Tail(growing.index, Filters(outcome=outcome)) for outcome in ("rolled_back", "committed", "open")
    )
    one.run("BEGIN", "BEGIN", b"T").run("UPDATE a SET x = 1", "UPDATE 3", b"T")
    growing.step()
    assert told(rolled) == told(kept) == [] and told(still) == [(1, "ok", "open"), (2, "ok", "open")]
    one.run("ROLLBACK", "ROLLBACK")
    growing.step()
    assert sorted(told(rolled)) == [(seq, "ok", "rolled_back") for seq in (1, 2, 3)]
    assert told(kept) == []
    assert told(still) == [(1, "rolled_back", 1, 3)]


def test_a_long_transaction_settles_in_pages(
    growing: Growing, one: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    tail = Tail(growing.index, Filters(outcome="committed"))
    one.run("BEGIN", "BEGIN", b"T")
    for _ in range(10):
        one.run("UPDATE a SET x = 1", "UPDATE 3", b"T")
    growing.step()
    assert told(tail) == []
    one.run("COMMIT", "COMMIT")
    growing.step()
    assert sorted(seq for seq, *_ in told(tail)) == [*range(1, 13)]


def test_filters_and_scope(growing: Growing, one: Dialogue) -> None:
    tails = {
        "command": Tail(growing.index, Filters(command="UPDATE")),
        "table": Tail(growing.index, Filters(table="public.a")),
        "match": Tail(growing.index, Filters(match="void")),
        "rows": Tail(growing.index, Filters(min_rows=100)),
        "identity": Tail(growing.index, Filters(identity="billing-agent")),
        "session": Tail(growing.index, Filters(session=ONE)),
        "none": Tail(growing.index, Filters(identity="nobody")),
        "ann": Tail(growing.index, Filters(scope=Scope("ann", None))),
    }
    one.run("UPDATE a SET x = 'void'", "UPDATE 100").run("SELECT 1", "SELECT 1").run(
        "SELECT 2 FROM a", "SELECT 1"
    )
    growing.dialogues[1].run("UPDATE b SET x = 1", "UPDATE 1")
    growing.step()
    found = {name: [seq for seq, *_ in told(tail)] for name, tail in tails.items()}
    assert found == {
        "command": [1, 1],
        "table": [1, 3],
        "match": [1],
        "rows": [1],
        "identity": [1, 2, 3],
        "session": [1, 2, 3],
        "none": [],
        "ann": [1],
    }


def test_since_begins_in_the_past_and_goes_on(growing: Growing, one: Dialogue) -> None:
    one.run("SELECT 1", "SELECT 1").run("BEGIN", "BEGIN", b"T")
    growing.step()
    tail = Tail(growing.index, Filters(since=LONG_AGO))
    assert tail.cursor is None, "in the middle of the past there is nowhere to go on from"
    one.run("SELECT 2", "SELECT 1", b"T").run("COMMIT", "COMMIT")
    growing.step()
    found = told(tail)
    assert sorted(seq for seq, status, *_ in found if status == "ok") == [1, 2, 3, 4]
    assert told(tail) == [] and tail.cursor


def test_a_cursor_goes_on_without_loss_and_without_doubles(growing: Growing, one: Dialogue) -> None:
    one.run("BEGIN", "BEGIN", b"T")
    broken, whole = Tail(growing.index, Filters()), Tail(growing.index, Filters())
    parts: list[tuple[Any, ...]] = []
    for number in range(30):
        if number % 7 == 6:
            one.run("COMMIT", "COMMIT").run("BEGIN", "BEGIN", b"T")
        else:
            one.run(f"UPDATE a SET x = {number}", "UPDATE 1", b"T")
        growing.step()
        parts += told(broken)
        broken = Tail(growing.index, Filters(), broken.cursor)
    one.run("COMMIT", "COMMIT")
    growing.step()
    parts += told(broken)
    assert [each for each in parts if each[1] == "ok"] == [
        (seq, "ok", "committed" if seq in (8, 16, 24, 32, 36) else "open") for seq in range(1, 37)
    ]
    assert [each for each in parts if each[1] != "ok"] == [
        (number, "committed", first, last)
        for number, (first, last) in enumerate([(1, 8), (9, 16), (17, 24), (25, 32), (33, 36)], 1)
    ]
    assert {seq for seq, status, _ in told(whole) if status == "ok"} == {*range(1, 37)}


def test_an_indexer_that_restarts_or_is_killed_makes_no_doubles(growing: Growing, one: Dialogue) -> None:
    tail = Tail(growing.index, Filters())
    one.run("SELECT 1", "SELECT 1")
    growing.step()
    assert told(tail) == [(1, "ok", "committed")]
    growing.restart()
    one.run("SELECT 2", "SELECT 1")
    growing.step()
    assert told(tail) == [(2, "ok", "committed")]
    growing.restart(killed=True)
    one.run("SELECT 3", "SELECT 1")
    growing.step()
    assert told(tail) == [(3, "ok", "committed")]


def test_an_index_made_anew_loses_nothing(growing: Growing, one: Dialogue) -> None:
    tail = Tail(growing.index, Filters())
    for _ in range(5):
        one.run("SELECT 1", "SELECT 1")
    growing.step()
    assert len(told(tail)) == 5
    growing.following.__exit__(None, None, None)
    one.run("SELECT 6", "SELECT 1")
    growing.recording.put(0)
    rebuild(growing.state)
    growing.following = tapes.following(growing.state)
    growing.follower = growing.following.__enter__()
    assert told(tail) == [(6, "ok", "committed")]


def test_what_makes_no_sense_is_refused(growing: Growing) -> None:
    with pytest.raises(InvalidError, match="until"):
        Tail(growing.index, Filters(until=LONG_AGO))
    for cursor in ("x", "AAAA", "eJyLjgUAARUAuQ"):
        with pytest.raises(InvalidError, match="cursor"):
            Tail(growing.index, Filters(), cursor)
    with pytest.raises(NotFoundError):
        Tail(growing.index, Filters(session="ffff"))


def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(growing: Growing, one: Dialogue) -> None:
    theirs = Tail(growing.index, Filters())
    one.run("BEGIN", "BEGIN", b"T")
    growing.step()
    told(theirs)
    mine = Tail(growing.index, Filters(scope=Scope("ann", None)), theirs.cursor)
    one.run("COMMIT", "COMMIT")
    growing.step()
    assert told(mine) == [] and told(theirs)[-1][1] == "committed"


def test_a_page_of_long_texts_ends_early(growing: Growing, one: Dialogue) -> None:
    tail = Tail(growing.index, Filters())
    for number in range(9):
        one.run(f"SELECT {number}, '{'x' * 1_000_000}'", "SELECT 1")
    growing.step()
    pages = []
    while events := tail.poll():
        pages.append([event["seq"] for event in events])
    assert pages == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_memory_is_bounded(growing: Growing, one: Dialogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCHED", 0)
    tail = Tail(growing.index, Filters())
    one.run("BEGIN", "BEGIN", b"T")
    growing.step()
    assert told(tail) == [(1, "ok", "open")] and tail.forgotten == 1
    seen = Seen(2)
    assert [seen.new("a", n, True) for n in (1, 2, 3, 3, 1)] == [True, True, True, False, True]
