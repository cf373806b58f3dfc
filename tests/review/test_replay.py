"""A session again: in order, with its events, its end and on request its rows."""

from pathlib import Path
from typing import Any

import pytest

from pgwitness.errors import NotFoundError
from pgwitness.index.store import IndexReader
from pgwitness.review.replay import replay
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import (
    bind,
    bound,
    complete,
    data_row,
    execute,
    parse,
    parsed,
    ready,
    row_description,
    suspended,
    sync,
)

ROWS = row_description(("id", 23), ("name", 25))


def _record(state: Path) -> IndexReader:
    one, two = tapes.dialogue(1), tapes.dialogue(2)
    one.client(query("SELECT id, name FROM a")).server(ROWS, data_row(b"1", b"Ann"))
    one.server(data_row(b"2", None), complete("SELECT 2"), ready())
    one.event(event="cancel_requested", address="10.0.0.7:5")
    one.run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 2", b"T").run("ROLLBACK", "ROLLBACK")
    one.client(query("SELECT * FROM big")).server(ROWS, data_row(b"1", b"x"))
    one.elided(5, 500).server(complete("SELECT 6"), ready()).ended()
    two.run("SELECT 'other'", "SELECT 1")
    with tapes.Recording(state, [one, two], segment_bytes=4096) as recording:
        recording.put_all([0, 1] * 20)
    return tapes.index(state)


def _replay(state: Path, number: int = 1, *, results: bool = False) -> list[dict[str, Any]]:
    reader = _record(state)
    try:
        return list(replay(reader, state / "tape", str(tapes.session_id(number)), results=results))
    finally:
        reader.close()


def test_everything_in_order(tmp_path: Path) -> None:
    documents = _replay(tmp_path)
    told = [document.get("sql") or document.get("event") or document["kind"] for document in documents]
    assert told == [
        "session",
        "SELECT id, name FROM a",
        "cancel_requested",
        "BEGIN",
        "DELETE FROM a",
        "ROLLBACK",
        "SELECT * FROM big",
        "end",
    ]
    assert documents[0]["header"]["identity"] == "billing-agent"
    assert documents[4]["transaction"]["outcome"] == "rolled_back"
    assert documents[-1]["reason"] == "terminated"


def test_a_session_that_is_open_has_no_end(tmp_path: Path) -> None:
    assert [document["kind"] for document in _replay(tmp_path, 2)] == ["session", "statement"]


def test_results_are_read_from_the_tape(tmp_path: Path) -> None:
    documents = {document.get("sql"): document for document in _replay(tmp_path, results=True)}
    assert documents["SELECT id, name FROM a"]["result"]["data"] == [["1", "Ann"], ["2", None]]
    big = documents["SELECT * FROM big"]["result"]
    assert (big["data"], big["rows_recorded"], big["complete"]) == ([["1", "x"]], 1, False)
    assert documents["DELETE FROM a"]["transaction"]["outcome"] == "rolled_back", "which only the index knows"


def test_results_of_a_portal_that_stays_open_while_others_run(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    talk.client(parse("SELECT id, name FROM a"), bind(portal="p"), execute("p", 1), sync())
    talk.server(parsed(), bound(), data_row(b"1", b"Ann"), suspended(), ready(b"T"))
    talk.client(query("SELECT id, name FROM b")).server(
        ROWS, data_row(b"7", b"Bob"), complete("SELECT 1"), ready(b"T")
    )
    talk.client(execute("p", 0), sync()).server(data_row(b"2", b"Cy"), complete("SELECT 1"), ready(b"T"))
    talk.run("COMMIT", "COMMIT").ended()
    tapes.record(tmp_path, talk)
    reader = tapes.index(tmp_path)
    documents = list(replay(reader, tmp_path / "tape", str(tapes.session_id(1)), results=True))
    reader.close()
    rows = {
        document["sql"]: [row[0] for row in document["result"]["data"]]
        for document in documents
        if document["kind"] == "statement" and document["result"]
    }
    assert rows == {"SELECT id, name FROM a": ["1", "2"], "SELECT id, name FROM b": ["7"]}


def test_no_such_session(tmp_path: Path) -> None:
    reader = _record(tmp_path)
    with pytest.raises(NotFoundError):
        replay(reader, tmp_path / "tape", "ffff")
    reader.close()
