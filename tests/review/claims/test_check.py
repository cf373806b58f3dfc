"""What becomes of a comparison where the record, or the testimony, is not as simple as a list."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgwitness.errors import InvalidError, NotFoundError
from pgwitness.index.catchup import catch_up
from pgwitness.index.discretion import Text
from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader
from pgwitness.review.claims import check as module
from pgwitness.review.claims.check import Rules, compare
from pgwitness.review.claims.model import Summary
from pgwitness.review.claims.reading import read_testimony
from pgwitness.wire.codec import query
from support import tapes
from support.claims import counting, line
from support.dialogue import Dialogue, complete, error, ready

Compare = Callable[..., tuple[Summary, list[str]]]


@pytest.fixture
def against(tmp_path: Path) -> Iterator[Compare]:
    """Compares what is said, a line a statement, with the sessions that are given: all of ``run-81``."""
    readers: list[IndexReader] = []

    def run(
        talks: list[Dialogue], said: list[dict[str, Any] | str], rules: Rules | None = None
    ) -> tuple[Summary, list[str]]:
        if not readers:
            tapes.record(tmp_path, *talks)
            readers.append(tapes.index(tmp_path))
        lines = [{"sql": each} if isinstance(each, str) else each for each in said]
        testimony = read_testimony("".join(json.dumps(each) + "\n" for each in lines).encode())
        summary, findings = compare(readers[0], Filters(run="run-81"), testimony, rules or Rules())
        return summary, [line(each) for each in counting(findings)]

    yield run
    for reader in readers:
        reader.close()


def talk(*statements: str, number: int = 1, outcome: str = "COMMIT") -> Dialogue:
    """In one transaction."""
    made = tapes.dialogue(number)
    made.client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    for sql in statements:
        made.client(query(sql)).server(complete(f"{sql.split()[0]} 1"), ready(b"T"))
    return made.run(outcome, outcome)


def test_committed_told_of_what_was_rolled_back(against: Compare) -> None:
    talks = [talk("DELETE FROM a", "SELECT 1 FROM a", outcome="ROLLBACK").ended()]
    claimed = ["BEGIN", "DELETE FROM a", "SELECT 1 FROM a", "COMMIT"]
    wrong = ["outcome statement 2: outcome: committed / rolled back"]
    assert against(talks, claimed)[1] == wrong
    assert against(talks, ["DELETE FROM a", "SELECT 1 FROM a", "commit"])[1] == wrong
    assert against(talks, [{"sql": "DELETE FROM a", "committed": True}, "SELECT 1 FROM a"])[1] == wrong
    assert against(talks, ["BEGIN", *claimed[1:3], "ROLLBACK"])[0].verdict == "matches"
    summary, found = against(talks, claimed[1:3])  # silence is no lie
    assert (summary.verdict, found) == ("matches", [])
    assert against(talks, ["DELETE FROM a", "SELECT 1 FROM a"], Rules(strict=True))[1] == [
        "unclaimed statement 1: ",
        "outcome statement 2: outcome: None / does not say that it was rolled back",
        "unclaimed statement 4: ",
    ]


def test_back_to_a_savepoint(against: Compare) -> None:
    made = tapes.dialogue(1).client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    for sql, answer in (
        ("INSERT INTO a VALUES (1)", "INSERT 0 1"),
        ("SAVEPOINT s", "SAVEPOINT"),
        ("DELETE FROM a", "DELETE 1"),
        ("ROLLBACK TO s", "ROLLBACK"),
    ):
        made.client(query(sql)).server(complete(answer), ready(b"T"))
    talks = [made.run("COMMIT", "COMMIT").ended()]
    every = ["BEGIN", "INSERT INTO a VALUES (1)", "SAVEPOINT s", "DELETE FROM a", "ROLLBACK TO s", "COMMIT"]
    assert against(talks, every)[0].verdict == "matches"
    wrong = ["outcome statement 4: outcome: committed / rolled back (rolled back to a savepoint)"]
    assert against(talks, [each for each in every if each != "ROLLBACK TO s"])[1] == wrong


def test_what_failed_and_what_never_ran(against: Compare) -> None:
    made = tapes.dialogue(1).client(query("DELETE FROM a; DELETE FROM b; DELETE FROM c"))
    talks = [made.server(complete("DELETE 1"), error("42P01"), ready()).ended()]
    text = "DELETE FROM a; DELETE FROM b; DELETE FROM c"
    assert against(talks, [{"sql": text, "error": "42P01"}])[0].verdict == "matches"
    assert against(talks, ["DELETE FROM a", {"sql": "DELETE FROM b", "status": "ok"}])[1] == [
        "outcome statement 2: success: carried out / error 42P01 error 42P01"
    ]
    # who keeps silent about what was tried tells not all; what was never tried is no claim
    assert against(talks, ["DELETE FROM a"])[1] == ["unclaimed statement 2: "]
    refused = {"sql": "DROP TABLE a", "error": "the tool allows no DROP"}
    assert against(talks, ["DELETE FROM a", "DELETE FROM b", refused])[0].verdict == "matches"


def test_sessions_of_a_run(against: Compare) -> None:
    """One after the other: their order is a claim, too."""
    talks = [talk("DELETE FROM a").ended(), talk("DELETE FROM b", number=2).ended()]
    assert against(talks, ["DELETE FROM a", "DELETE FROM b"])[0].verdict == "matches"
    summary, found = against(talks, ["DELETE FROM b", "DELETE FROM a"])
    assert len(found) == 1 and found[0].startswith("reordered")
    assert len(summary.sessions) == 2


def test_sessions_at_the_same_time_have_no_order(tmp_path: Path) -> None:
    one = tapes.dialogue(1).client(query("DELETE FROM a")).server(complete("DELETE 1"), ready()).ended()
    two = tapes.dialogue(2).client(query("DELETE FROM b")).server(complete("DELETE 1"), ready()).ended()
    with tapes.Recording(tmp_path, [one, two]) as recording:
        recording.put_all([0, 1, 0, 1, 0, 1])  # both are asked before either answers
    reader = tapes.index(tmp_path)
    testimony = read_testimony(b'{"sql": "DELETE FROM b"}\n{"sql": "DELETE FROM a"}\n')
    summary, findings = compare(reader, Filters(run="run-81"), testimony)
    reader.close()
    assert [line(each) for each in counting(findings)] == []
    assert summary.verdict == "matches"


def test_a_cursor_of_the_driver(against: Compare) -> None:
    made = tapes.dialogue(1).client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    for sql, answer in (
        ('DECLARE "c1" CURSOR FOR SELECT id FROM a WHERE b = 1', "DECLARE CURSOR"),
        ('FETCH FORWARD 100 FROM "c1"', "FETCH 40"),
        ('CLOSE "c1"', "CLOSE CURSOR"),
    ):
        made.client(query(sql)).server(complete(answer), ready(b"T"))
    talks = [made.run("COMMIT", "COMMIT").ended()]
    claimed = {"sql": "SELECT id FROM a WHERE b = %s", "params": [1], "rowcount": 40}
    assert against(talks, [claimed])[0].verdict == "matches"
    assert against(talks, [{**claimed, "params": [2]}])[1] == [
        "altered statement 2: value of b in WHERE: 2 / 1"
    ]


def test_a_session_that_is_open_matches_nothing(against: Compare) -> None:
    summary, found = against([talk("DELETE FROM a")], ["DELETE FROM a"])
    assert (summary.verdict, found) == ("incomplete", [])
    assert "still open" in summary.incomplete[0]


def test_frames_that_are_missing(tmp_path: Path) -> None:
    made = talk("DELETE FROM a").ended()
    gone = made.frames.pop(4)
    assert gone is not None
    with tapes.Recording(tmp_path, [made]) as recording:
        recording.writer.open = {}
        identity = recording._ids[0]
        for at, (_, _, kind, moment, _, payload) in enumerate(made.frames):
            recording.writer.open[identity] = at + (at >= 4)
            recording.writer.append(identity, kind, moment, payload)
    reader = tapes.index(tmp_path)
    testimony = read_testimony(b'{"sql": "DELETE FROM a"}\n')
    summary, _ = compare(reader, Filters(run="run-81"), testimony)
    reader.close()
    assert summary.verdict == "incomplete"
    assert any("frames are missing" in each for each in summary.incomplete)


@pytest.mark.parametrize("text", ["normalised", "none"])
def test_texts_that_the_index_does_not_keep(tmp_path: Path, text: Text) -> None:
    tapes.record(tmp_path, talk("DELETE FROM a WHERE id = 7").ended())
    catch_up(tmp_path, text=text)
    reader = IndexReader(tmp_path)
    testimony = read_testimony(b'{"sql": "DELETE FROM a WHERE id = 7"}\n')
    summary, findings = compare(reader, Filters(run="run-81"), testimony)
    reader.close()
    assert summary.verdict == "incomplete"
    assert "index.text" in summary.incomplete[0]
    kinds = {finding.kind for finding in findings if finding.counts}
    assert kinds == ({"unstated"} if text == "normalised" else {"unclaimed", "unexecuted"})


def test_a_testimony_that_cannot_be_read_whole(against: Compare) -> None:
    summary, found = against([talk("DELETE FROM a").ended()], ["DELETE FROM a", {"no": "sql"}])
    assert (summary.verdict, found) == ("incomplete", [])
    assert [each.place for each in summary.problems] == ["line 2"]


def test_functions_of_the_protocol_are_executed_too(against: Compare) -> None:
    from pgwitness.wire.codec import message

    made = talk("DELETE FROM a")
    call = message(b"F", b"\0\0\x03\xb8\0\0\0\1\0\0\0\x04\0\0\0\x07\0\0")
    made.client(call).server(message(b"V", b"\0\0\0\x04\0\0\0\1"), ready())
    _, found = against([made.ended()], ["DELETE FROM a"])
    assert found == ["unclaimed statement 4: "]


def test_bounds_and_names(against: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    talks = [talk("DELETE FROM a", "DELETE FROM b").ended()]
    against(talks, ["DELETE FROM a"])
    monkeypatch.setattr(module, "MAX_STATEMENTS", 3)
    with pytest.raises(InvalidError, match="more than 3 statements"):
        against(talks, ["DELETE FROM a"])


def test_no_such_run(tmp_path: Path) -> None:
    tapes.record(tmp_path, talk("DELETE FROM a").ended())
    reader = tapes.index(tmp_path)
    testimony = read_testimony(b'{"sql": "SELECT 1"}')
    for filters in (Filters(run="none"), Filters(session="ffff")):
        with pytest.raises(NotFoundError):
            compare(reader, filters, testimony)
    reader.close()


def test_other_sessions_of_the_agent_are_told(tmp_path: Path) -> None:
    """Who opens a second session without its run is not compared, and not passed over."""
    one = talk("DELETE FROM a").ended()
    two = tapes.dialogue(2, claims={}).run("DELETE FROM b", "DELETE 1").ended()
    with tapes.Recording(tmp_path, [one, two]) as recording:
        recording.put_all([0, 1, 1, 1])
    reader = tapes.index(tmp_path)
    testimony = read_testimony(b'{"sql": "DELETE FROM a"}')
    summary, _ = compare(reader, Filters(run="run-81"), testimony)
    late, _ = compare(reader, Filters(run="run-81"), testimony, behind=60)
    reader.close()
    assert (summary.verdict, late.verdict) == ("matches", "incomplete")
    assert summary.notes[0].startswith("not compared: 1 other session of billing-agent")


def test_rows_that_are_said_to_be_cut(against: Compare) -> None:
    made = tapes.dialogue(1).run("SELECT id FROM a", "SELECT 40").run("UPDATE a SET b = 1", "UPDATE 40")
    cut = {"rowcount": 10, "truncated": True}
    select, update = {"sql": "SELECT id FROM a", **cut}, {"sql": "UPDATE a SET b = 1", **cut}
    assert against([made.ended()], [select, update])[1] == ["rows statement 2: rows: 10 / 40"]
