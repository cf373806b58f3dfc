"""A session as JSON Lines and as CSV."""

import csv
import io
import json
from pathlib import Path

import pytest

from pgwitness.errors import InvalidError, NotFoundError
from pgwitness.index.store import IndexReader
from pgwitness.review.export import CSV_COLUMNS, as_csv, export_session
from support import tapes
from support.dialogue import answers, extended, sync
from support.ocsf import schema


@pytest.fixture
def reader(tmp_path: Path) -> IndexReader:
    talk = tapes.dialogue(1)
    talk.client(extended('UPDATE a SET b = $1, c = $2\nWHERE d = "x"', (b"v,\n", None), (25, 23)), sync())
    talk.server(answers("UPDATE 2")).run("SELECT 1", "SELECT 1")
    tapes.record(tmp_path, talk)
    return tapes.index(tmp_path)


def _export(reader: IndexReader, format: str) -> str:
    with_end = b"".join(export_session(reader, Path("unread"), str(tapes.session_id(1)), format)).decode()
    reader.close()
    return with_end


def test_json_lines_are_the_documents(reader: IndexReader) -> None:
    documents = [json.loads(line) for line in _export(reader, "jsonl").splitlines()]
    assert [document["seq"] for document in documents] == [1, 2]
    assert documents[0]["parameters"][1] == {"type": "int4", "value": None, "format": "text"}


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_csv_is_a_formula(begin: str) -> None:
    text = begin + 'HYPERLINK("http://evil.example")'
    (statement,) = tapes.dialogue(1).run("SELECT 1", "SELECT 1").statements()
    statement.sql = statement.error = statement.run = statement.on_behalf_of = text
    statement.tables, statement.rows = [text], -1
    _, row = csv.reader(io.StringIO("".join(as_csv([statement])), newline=""))
    cells = dict(zip(CSV_COLUMNS, row, strict=True))
    for name in ("sql", "error", "run", "on_behalf_of", "tables"):
        assert cells[name] == f"'{text}"
    assert cells["rows"] == "-1" and cells["session"] == statement.session


def test_csv_has_the_documented_columns(reader: IndexReader) -> None:
    first, second = csv.DictReader(io.StringIO(_export(reader, "csv")))
    assert tuple(first) == CSV_COLUMNS
    assert first["sql"] == 'UPDATE a SET b = $1, c = $2\nWHERE d = "x"'
    assert json.loads(first["parameters"]) == ["v,\n", None]
    assert (first["tables"], first["rows"], first["outcome"]) == ("public.a", "2", "committed")
    assert second["parameters"] == "[]"


def test_events_of_ocsf(reader: IndexReader) -> None:
    events = [json.loads(line) for line in _export(reader, "ocsf").splitlines()]
    assert [event["class_uid"] for event in events] == [3002, 6005, 6005]
    assert [problem for event in events for problem in schema("1.7.0").problems(event)] == []
    assert events[1]["unmapped"]["pgwitness"]["parameters"][0]["value"] == "v,\n"


def test_requests_of_otlp(reader: IndexReader) -> None:
    traces, logs = (json.loads(line) for line in _export(reader, "otlp").splitlines())
    names = [span["name"] for span in traces["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert names == ["UPDATE public.a", "SELECT"]
    (start,) = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert start["eventName"] == "pgwitness.session_started"


def test_the_columns_are_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "reading-the-record.md").read_text()
    for column in CSV_COLUMNS:
        assert f"`{column}`" in guide, column


def test_what_is_wrong_is_said_before_anything_is_written(reader: IndexReader) -> None:
    with pytest.raises(InvalidError, match="xml"):
        export_session(reader, Path("unread"), str(tapes.session_id(1)), "xml")
    with pytest.raises(NotFoundError):
        export_session(reader, Path("unread"), "ffff", "jsonl")
    reader.close()
