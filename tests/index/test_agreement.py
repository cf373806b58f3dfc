"""The index against the sealed record: an honest one agrees, and whatever is changed in it shows."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from pgwitness.index.agreement import check_index
from pgwitness.index.catchup import rebuild
from pgwitness.index.discretion import TEXTS, Text
from pgwitness.index.location import Location
from pgwitness.record.events import add_event
from pgwitness.record.keys import load_signer
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.log_writer import LogWriter
from pgwitness.record.report import Report
from pgwitness.record.secrets import Secrets
from pgwitness.record.verify import Options, verify_record
from support import tapes
from support.dialogue import answers, error, extended, ready, sync
from support.sealing import drop_tape, seal
from support.tapes import session_id

SESSIONS = 12
OPEN = session_id(SESSIONS - 1)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Sessions that ended and one that is open, sealed and indexed."""
    with tapes.Recording(tmp_path, [_talk(number) for number in range(SESSIONS)]) as recording:
        recording.put_all([0, 3, 7, 7, 3, 0, 1, 2, 11] * 4)
    tapes.index(tmp_path).close()
    seal(tmp_path)
    return tmp_path


def _talk(number: int) -> tapes.Dialogue:
    talk = tapes.dialogue(number, identity=f"agent-{number}", user="app")
    talk.run("BEGIN", "BEGIN", b"T").run(f"UPDATE a SET b = {number}", f"UPDATE {number * 10}", b"T")
    talk.run("COMMIT" if number % 2 else "ROLLBACK", "COMMIT" if number % 2 else "ROLLBACK")
    talk.client(extended("INSERT INTO a VALUES ($1)", (b"x",), (25,)), sync()).server(answers("INSERT 0 1"))
    talk.client(b"Q\0\0\0\x0eSELECT 1/\0").server(error(), ready())
    talk.run("ALTER ROLE app PASSWORD 'secret'", "ALTER ROLE")
    return talk if number == SESSIONS - 1 else talk.ended()


def check(state: Path, session: str | None = None) -> Report:
    layout = Layout(state / "record")
    report = verify_record(layout, Options(session=session))
    assert report.problems == []
    check_index(report, LogReader(layout), state, lambda step, done, total: None)
    return report


def test_an_honest_index_agrees(state: Path) -> None:
    report = check(state)
    assert (report.problems, report.result) == ([], "sound")
    assert report.numbers["statements_compared"] == SESSIONS * 6
    assert report.steps[-1].outcome == "sound"


@pytest.mark.parametrize("text", TEXTS)
def test_an_index_that_withholds_texts_agrees(state: Path, text: Text) -> None:
    rebuild(state, text=text)
    report = check(state)
    assert (report.problems, report.result) == ([], "sound")
    assert report.numbers["statements_compared"] == SESSIONS * 6


def test_an_index_of_a_released_tape_agrees(state: Path) -> None:
    drop_tape(state, keep=0)
    rebuild(state)
    assert check(state).problems == []


def test_an_erased_session_is_not_compared(state: Path) -> None:
    layout = Layout(state / "record")
    gone = session_id(3)
    writer = LogWriter(layout, load_signer(layout))
    event = {"event": "session_erased", "session": str(gone), "by": "ann", "reason": "a request"}
    add_event(writer, (bytes(16), 99, 7, 1, 1, msgspec.json.encode(event)))
    assert writer.checkpoint.time
    writer.commit(writer.checkpoint.time, writer.checkpoint.tape)
    writer.close()
    assert Secrets(layout).forget(gone.bytes)
    report = check(state)
    assert report.result == "sound"
    assert report.numbers["statements_compared"] == (SESSIONS - 1) * 6


def test_one_session_alone(state: Path) -> None:
    report = check(state, str(session_id(3)))
    assert report.result == "sound"
    assert report.numbers["statements_compared"] == 6


def test_an_index_that_is_behind_is_not_wrong(state: Path) -> None:
    sql(state, "UPDATE meta SET value = '4294967400' WHERE name = 'position'")
    report = check(state)
    assert report.result == "sound"
    assert any("are not indexed yet" in remark.text for remark in report.remarks)


def test_no_index_is_no_lie(state: Path) -> None:
    Location(state).link.unlink()
    report = check(state)
    assert (report.result, report.steps[-1].outcome) == ("sound", "skipped")


def sql(state: Path, statement: str) -> None:
    current = Location(state).current()
    assert current
    with sqlite3.connect(current) as connection:
        changed = connection.execute(statement).rowcount
    connection.close()
    assert changed > 0


CHANGES: dict[str, tuple[str, str]] = {
    "a statement deleted": (
        "DELETE FROM statements WHERE session = 4 AND seq = 2",
        "statement 2 of the record is not in the index",
    ),
    "a statement of the open session deleted": (
        "DELETE FROM statements WHERE seq = 2 AND session = "
        f"(SELECT number FROM sessions WHERE id = '{OPEN}')",
        "statement 2 of the record is not in the index",
    ),
    "a session deleted with its statements": (
        "DELETE FROM sessions WHERE number = 4",
        "the index does not have this session",
    ),
    "rows changed": (
        "UPDATE statements SET rows = 1 WHERE session = 4 AND seq = 2",
        "differs in the index: rows",
    ),
    "an outcome changed": (
        "UPDATE statements SET outcome = 'rolled_back' WHERE session = 4 AND seq = 2",
        "statement 2 differs in the index",
    ),
    "a text changed": (
        "UPDATE texts SET sql = 'SELECT 1' WHERE sql LIKE 'INSERT%'",
        "differs in the index: sql",
    ),
    "another identity": (
        "UPDATE sessions SET identity = 'nobody' WHERE number = 4",
        "says identity 'nobody'",
    ),
    "counts changed": (
        "UPDATE sessions SET rows_written = 0 WHERE number = 4",
        "the index says rows_written 0",
    ),
    "another end": ("UPDATE sessions SET end_reason = 'killed' WHERE number = 4", "says end_reason 'killed'"),
    "a session under another id": (
        "UPDATE sessions SET id = '00000000-0000-0000-0000-000000000099' WHERE number = 4",
        "the index has this session, and the record does not",
    ),
    "a statement invented": (
        """INSERT INTO statements SELECT 9999, 9999, session, 77, position, started, duration, command,
           status, rows, "transaction", outcome, reason, written, sqlstate, text, rest FROM statements
           WHERE session = 4 AND seq = 2""",
        "statement 77 of the index is not in the record",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_is_changed_in_the_index_shows(state: Path, name: str) -> None:
    statement, message = CHANGES[name]
    sql(state, statement)
    report = check(state)
    assert report.result == "broken"
    said = [problem.text for problem in report.problems]
    assert any(message in text for text in said), said
    assert all(problem.session for problem in report.problems)
