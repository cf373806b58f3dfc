"""The same tape gives the same rows: in one go, in batches of any size, stopped or killed anywhere, while it
is written, and rebuilt."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness.index.catchup import rebuild
from pgwitness.index.follower import Pace
from pgwitness.wire.codec import parameter_status, query
from support import marks, tapes
from support.dialogue import (
    Dialogue,
    answers,
    bind,
    bound,
    complete,
    copy_data,
    copy_done,
    copy_in,
    data_row,
    error,
    execute,
    extended,
    parse,
    parsed,
    ready,
    row_description,
    sync,
)


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgwitness.index.marking.BLOCK_STATEMENTS", 6)
        patch.setattr("pgwitness.index.marking.HELD", 2)
        patch.setattr("pgwitness.index.marking.FREQUENT", 2)
        patch.setattr("pgwitness.index.held.PARTS", 3)
        yield


TINY = Pace(rows=3, frames=2, bytes=100, snapshot_seconds=0)
LAZY = Pace(snapshot_seconds=1000)


def _rows(talk: Dialogue) -> None:
    columns = row_description(("id", 23), ("name", 25))
    talk.client(query("SELECT id, name FROM public.people")).server(
        columns, data_row(b"1", b"Ann"), data_row(b"2", None), complete("SELECT 2"), ready()
    )


def _transaction(talk: Dialogue, end: str) -> None:
    talk.run("BEGIN", "BEGIN", b"T").run("UPDATE orders SET a = 1", "UPDATE 7", b"T")
    talk.run("SAVEPOINT s", "SAVEPOINT", b"T").run("DELETE FROM orders", "DELETE 9", b"T")
    talk.run("ROLLBACK TO s", "ROLLBACK", b"T").run("INSERT INTO log VALUES (1)", "INSERT 0 1", b"T")
    talk.run(end, end)


def _failed_transaction(talk: Dialogue) -> None:
    talk.run("BEGIN", "BEGIN", b"T").run("UPDATE orders SET a = 2", "UPDATE 3", b"T")
    talk.client(query("SELECT 1/0")).server(error(), ready(b"E"))
    talk.run("COMMIT", "ROLLBACK")


def _bound(talk: Dialogue) -> None:
    talk.client(extended("UPDATE a SET b = $1", (b"x",), (25,)), sync()).server(answers("UPDATE 2"))


def _pipeline(talk: Dialogue) -> None:
    body = parse("INSERT INTO t VALUES ($1)", "s", (25,))
    for value in (b"1", b"2", None):
        body += bind((value,), "s") + execute()
    answer = parsed() + 3 * (bound() + complete("INSERT 0 1"))
    talk.client(body, sync()).server(answer[:20]).server(answer[20:], ready())


def _copy(talk: Dialogue) -> None:
    talk.client(query("COPY t FROM STDIN")).server(copy_in())
    talk.client(copy_data(b"1\n2\n"), copy_done()).server(complete("COPY 2"), ready())


def _several(talk: Dialogue) -> None:
    talk.client(query("INSERT INTO t VALUES (1); SELECT 1/0; SELECT 2")).server(complete("INSERT 0 1"))
    talk.server(error(), ready())


def _never_answered(talk: Dialogue) -> None:
    talk.client(query("BEGIN; SELECT pg_sleep(3600)")).server(complete("BEGIN"))
    talk.ended("server_lost")


MOVES: dict[str, Any] = {
    "rows": _rows,
    "commit": lambda talk: _transaction(talk, "COMMIT"),
    "rollback": lambda talk: _transaction(talk, "ROLLBACK"),
    "failed": _failed_transaction,
    "bound": _bound,
    "pipeline": _pipeline,
    "copy": _copy,
    "several": _several,
    "parameter": lambda talk: talk.server(parameter_status("TimeZone", "UTC"), parameter_status("a", "b")),
    "cancel": lambda talk: talk.event(event="cancel_requested", **{"from": "10.0.0.7:5"}),
    "autocommit": lambda talk: talk.run("DELETE FROM orders", "DELETE 4"),
}
ENDINGS: dict[str, Any] = {
    "open": lambda talk: None,
    "running": lambda talk: talk.client(query("SELECT pg_sleep(3600)")),
    "terminated": lambda talk: talk.ended(),
    "lost": _never_answered,
}


@st.composite
def dialogues(draw: st.DrawFn) -> list[Dialogue]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        talk = tapes.dialogue(number, claims={"run": f"run-{number}"})
        for move in draw(st.lists(st.sampled_from(sorted(MOVES)), max_size=5)):
            MOVES[move](talk)
        ENDINGS[draw(st.sampled_from(sorted(ENDINGS)))](talk)
        made.append(talk)
    return made


@settings(max_examples=25, deadline=None)
@given(dialogues(), st.data())
def test_batches_restarts_and_rebuilds_make_no_difference(talks: list[Dialogue], data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, len(talks) - 1), max_size=60))
    with TemporaryDirectory() as directory:
        state = Path(directory)
        with tapes.Recording(state, talks, segment_bytes=4096) as recording:
            recording.put_all(order)

        with tapes.following(state, LAZY) as follower:
            while follower.step():
                pass
        wanted = tapes.dump(state)
        _assert_told(wanted, talks)
        assert marks.wrong(state) == []

        rebuild(state)
        assert tapes.differences(tapes.dump(state), wanted) == []

        _start_again(state)
        pace = Pace(
            rows=data.draw(st.integers(1, 20)),
            frames=data.draw(st.integers(1, 5)),
            snapshot_seconds=data.draw(st.sampled_from([0, 1000])),
        )
        ended = False
        while not ended:
            # Each round ends in order or by a crash.
            with tapes.following(state, pace) as follower:
                for _ in range(data.draw(st.integers(1, 6))):
                    if not follower.step():
                        ended = True
                        break
                if data.draw(st.booleans()):
                    follower.snapshot()
                elif not ended:
                    pace = Pace(pace.rows + 3, frames=pace.frames + 1)
        assert tapes.differences(tapes.dump(state), wanted) == []
        assert marks.wrong(state) == []


@settings(max_examples=20, deadline=None)
@given(dialogues(), st.data())
def test_following_a_tape_that_grows_makes_no_difference(talks: list[Dialogue], data: st.DataObject) -> None:
    """And neither do the statements that were shown as running on the way."""
    for talk in talks:
        if talk.frames[-1][2] != 6:
            talk.ended("interrupted")
    with TemporaryDirectory() as directory:
        state = Path(directory)
        with (
            tapes.Recording(state, talks, segment_bytes=4096) as recording,
            tapes.following(state, TINY) as follower,
        ):
            for number in data.draw(st.lists(st.integers(0, len(talks) - 1), max_size=60)):
                recording.put(number, 1)
                while follower.step():
                    pass
            recording.put_all()
            while follower.step():
                pass
        grown = tapes.dump(state)
        _assert_told(grown, talks)
        assert marks.wrong(state) == []
        rebuild(state)
        assert tapes.differences(tapes.dump(state), grown) == []


def _start_again(state: Path) -> None:
    (state / "index.sqlite").unlink()


def _assert_told(rows: dict[str, Any], talks: list[Dialogue]) -> None:
    """As the assembler alone tells it, statement by statement."""
    ids = {row[0]: row[1] for row in rows["sessions"]}
    told = {
        (ids[row[0]], row[1]): (row[11], row[6], row[9])
        for row in rows["statements"]
        if row[6] != "unfinished"
    }
    wanted = {
        (str(tapes.session_id(number)), each.seq): (each.sql, each.status, each.transaction.outcome)
        for number, talk in enumerate(talks)
        for each in talk.statements()
        if each.status != "unfinished"
    }
    assert told == wanted
