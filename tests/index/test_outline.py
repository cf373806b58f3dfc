"""A session at a glance: the spans hold every statement once, brackets are transactions, stops are found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgwitness.errors import NotFoundError
from pgwitness.index.counting import count
from pgwitness.index.filters import Filters
from pgwitness.index.filters import parse as parse_filters
from pgwitness.index.outline import Outline, between, outline, problems, stop_after
from pgwitness.index.store import IndexReader
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import Dialogue, complete, copy_data, copy_done, copy_in, error, ready

SESSION = str(tapes.session_id(1))


def _index(state: Path, *talks: Dialogue) -> IndexReader:
    tapes.record(state, *talks)
    return tapes.index(state)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[IndexReader]:
    talk = tapes.dialogue(1)
    talk.run("SELECT * FROM a", "SELECT 3")  # 1
    talk.run("BEGIN", "BEGIN", b"T").run("UPDATE a SET x = 1", "UPDATE 40", b"T").run(
        "COMMIT", "COMMIT"
    )  # 2-4
    talk.run("CREATE TABLE b (x int)", "CREATE TABLE")  # 5
    talk.run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 7", b"T")  # 6, 7
    talk.client(query("SELECT 1/0")).server(error("22012"), ready(b"E"))  # 8
    talk.run("ROLLBACK", "ROLLBACK")  # 9
    talk.client(query("COPY b FROM STDIN")).server(copy_in())
    talk.client(copy_data(b"1\n2\n"), copy_done()).server(complete("COPY 2"), ready())  # 10
    reader = _index(tmp_path, talk)
    yield reader
    reader.close()


def test_a_span_of_one_statement_is_that_statement(reader: IndexReader) -> None:
    found = outline(reader, SESSION)
    assert [(each.first, each.last) for each in found.spans] == [(n, n) for n in range(1, 11)]
    told = {
        name: {each.first: value for each in found.spans if (value := getattr(each, name))}
        for name in ("written", "undone", "read", "failed", "schema", "control")
    }
    assert told == {
        "written": {3: 40, 10: 2},
        "undone": {7: 7},
        "read": {1: 3},
        "failed": {8: 1},
        "schema": {5: 1},
        "control": {2: 1, 4: 1, 6: 1, 9: 1},
    }
    assert (found.statements, found.failure, found.shortest) == (10, 8, 2)
    assert found.first == found.spans[0].at and found.last == found.spans[-1].until


def test_transactions_of_several_statements_are_brackets(reader: IndexReader) -> None:
    found = [(each.first, each.last, each.outcome) for each in outline(reader, SESSION).brackets]
    assert found == [(2, 4, "committed"), (6, 9, "rolled_back")]


def test_the_largest_writes(reader: IndexReader) -> None:
    found = [(each.seq, each.command, each.rows, each.outcome) for each in outline(reader, SESSION).largest]
    assert found == [
        (3, "UPDATE", 40, "committed"),
        (7, "DELETE", 7, "rolled_back"),
        (10, "COPY", 2, "committed"),
    ]


@pytest.mark.parametrize("buckets", [1, 3, 7, 9])
def test_spans_hold_every_statement_once(reader: IndexReader, buckets: int) -> None:
    found = outline(reader, SESSION, buckets=buckets).spans
    assert len(found) == buckets
    assert [seq for each in found for seq in range(each.first, each.last + 1)] == list(range(1, 11))
    assert sum(each.statements for each in found) == 10
    assert sum(each.written for each in found) == 42 and sum(each.undone for each in found) == 7


def test_committed_in_part(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.run("BEGIN", "BEGIN", b"T").run("SAVEPOINT s", "SAVEPOINT", b"T").run(
        "DELETE FROM a", "DELETE 7", b"T"
    )
    talk.run("ROLLBACK TO s", "ROLLBACK", b"T").run("COMMIT", "COMMIT")
    talk.run("BEGIN", "BEGIN", b"T").run("SELECT 1", "SELECT 1", b"T")
    reader = _index(tmp_path, talk)
    found = [(each.outcome, each.partly) for each in outline(reader, SESSION).brackets]
    reader.close()
    assert found == [("committed", True), ("open", False)]


def _long(state: Path) -> Outline:
    talk = tapes.dialogue(1)
    for _ in range(400):
        talk.run("BEGIN", "BEGIN", b"T").run("COMMIT", "COMMIT")
    talk.run("BEGIN", "BEGIN", b"T")
    for number in range(40):
        talk.run(f"DELETE FROM a WHERE id = {number}", "DELETE 1", b"T")
    talk.run("ROLLBACK", "ROLLBACK")
    for number in range(158):
        talk.run(f"SELECT {number}", "SELECT 1")
    reader = _index(state, talk)
    found = outline(reader, SESSION)
    reader.close()
    return found


def test_of_a_long_session_only_long_transactions_are_brackets(tmp_path: Path) -> None:
    found = _long(tmp_path)
    assert (found.statements, found.shortest) == (1000, 4)
    assert [(each.first, each.last, each.outcome) for each in found.brackets] == [(801, 842, "rolled_back")]
    assert len(found.spans) == 600
    assert sum(each.undone for each in found.spans) == 40


@pytest.mark.parametrize(
    ("seq", "stop", "backwards", "wanted"),
    [
        (1, "write", False, 3),
        (3, "write", False, 7),
        (10, "write", False, None),
        (10, "write", True, 7),
        (1, "failure", False, 8),
        (8, "failure", False, None),
        (10, "failure", True, 8),
        (2, "transaction", False, 5),
        (6, "transaction", False, 10),
        (10, "transaction", False, None),
        (8, "transaction", True, 6),
        (6, "transaction", True, 5),
        (1, "transaction", True, None),
    ],
)
def test_stops(reader: IndexReader, seq: int, stop: str, backwards: bool, wanted: int | None) -> None:
    assert stop_after(reader, SESSION, seq, stop, backwards=backwards) == wanted  # type: ignore[arg-type]


def test_some_statements_of_a_session(reader: IndexReader) -> None:
    assert [each.sql for each in between(reader, SESSION, 4, 5)] == ["COMMIT", "CREATE TABLE b (x int)"]
    assert list(between(reader, SESSION, 11, 99)) == []


def test_no_such_session_and_no_index(reader: IndexReader, tmp_path: Path) -> None:
    nothing = IndexReader(tmp_path / "empty")
    for one in (reader, nothing):
        with pytest.raises(NotFoundError):
            outline(one, "ffff")
        with pytest.raises(NotFoundError):
            list(between(one, "ffff", 1, 2))
        with pytest.raises(NotFoundError):
            stop_after(one, "ffff", 1, "write")
    assert problems(nothing, SESSION) == []


def test_a_session_without_statements(tmp_path: Path) -> None:
    reader = _index(tmp_path, tapes.dialogue(1).ended())
    found = outline(reader, SESSION)
    reader.close()
    assert (found.statements, found.spans, found.first, found.failure) == (0, [], None, None)


def test_counting(reader: IndexReader) -> None:
    assert count(reader, Filters()) == (10, True)
    assert count(reader, parse_filters({"min_rows": "5"})) == (2, True)
    assert count(reader, parse_filters({"command": "UPDATE", "match": "nothing"})) == (0, True)
    assert count(reader, Filters(), seconds=-1) == (10, False), "there may be more blocks"
