"""Files read: what is broken in one is told by its place, and what is none is refused."""

import contextlib
import json
from typing import Any

import pytest

from pgwitness.errors import InvalidError
from pgwitness.review.claims import reading
from pgwitness.review.claims.arguments import find_sql, looks_like_sql
from pgwitness.review.claims.reading import read_testimony
from pgwitness.review.claims.results import outcome_of, result_of


def read(text: str, **options: Any) -> tuple[str, list[str], list[str]]:
    """Format, the texts, and where something cannot be read."""
    found = read_testimony(text.encode(), **options)
    return found.format, [each.sql for each in found.said], [each.place for each in found.problems]


def test_broken_lines_are_told() -> None:
    lines = ['{"sql": "SELECT 1"}', "", "{broken", '{"sql": "SELECT 2"}', "[1]", '{"no": "sql"}', "3"]
    assert read("\n".join(lines)) == (
        "jsonl",
        ["SELECT 1", "SELECT 2"],
        ["line 3", "line 5", "line 6", "line 7"],
    )


def test_documents_one_after_another() -> None:
    span = {
        "name": "q",
        "context": {"span_id": "1"},
        "start_time": "2026-11-22T06:45:31Z",
        "attributes": {"db.statement": "SELECT 1"},
    }
    text = json.dumps(span, indent=2) + "\n{\n broken\n}\n" + json.dumps(span, indent=2)
    format, said, problems = read(text)
    assert (format, said, len(problems)) == ("otel", ["SELECT 1", "SELECT 1"], 1)
    assert problems[0].startswith("line ")


def test_a_table() -> None:
    text = 'at,sql,rowcount\n1,"SELECT 1, ""x""",1\n2,,\n3,SELECT 2,5,6\n4,SELECT 3,\n'
    assert read(text) == ("csv", ['SELECT 1, "x"', "SELECT 3"], ["line 3", "line 4"])


def test_a_named_field() -> None:
    line = json.dumps({"tool": {"input": "SELECT 1"}, "sql": "SELECT 2"})
    assert read(line, field="tool.input")[1] == ["SELECT 1"]
    assert read(line)[1] == ["SELECT 2"]
    with pytest.raises(InvalidError, match=r"'tool\.output'"):
        read(line, field="tool.output")
    with pytest.raises(InvalidError, match="no column 'b'"):
        read("a,sql\n1,SELECT 1\n", field="b")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"06:45 UPDATE orders SET a = 1", "neither JSON nor CSV"),
        (b'{"messages": []}', "nothing in it"),
        (b"[" * 100_000, "no JSON|too deeply"),
        (b'{"a": ' * 3000 + b"1" + b"}" * 3000, "nested too deeply|nothing in it"),
        (b"\n".join([b'{"sql": "SELECT 1"}', *[b"{"] * 1100]), "more than 1000 lines"),
    ],
)
def test_what_is_no_testimony(content: bytes, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        read_testimony(content)


def test_a_format_that_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidError, match="no testimony of format gemini"):
        read('{"sql": "SELECT 1"}', format="gemini")
    with pytest.raises(InvalidError, match="there is no format 'xml'"):
        read("<a/>", format="xml")
    monkeypatch.setattr(reading, "MAX_BYTES", 4)
    with pytest.raises(InvalidError, match="longer than"):
        read('{"sql": "SELECT 1"}')


@pytest.mark.parametrize("format", reading.FORMATS)
@pytest.mark.parametrize(
    "content",
    [
        '{"tool_calls": 3, "type": "tool_use", "input": null, "functionCall": [1], "content": {"a": 1}}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [3, {"attributes": "x"}]}]}]}',
        '{"jsonrpc": "2.0", "id": {"a": 1}, "method": "tools/call", "params": []}',
        '[{"traceId": "1", "tags": {}, "timestamp": "then"}, null, [[]], "x"]',
        '{"data": [{"spans": [{"tags": [1]}]}], "context": {}, "start_time": 3}',
        '{"type": "tool_usage_finished", "tool_args": 7, "tool_name": null, "toolCallId": []}',
    ],
)
def test_nonsense_is_refused_and_breaks_nothing(format: str, content: str) -> None:
    with contextlib.suppress(InvalidError):
        read(content, format=format)


def test_sql_in_arguments() -> None:
    assert find_sql({"a": {"query": "SELECT 1", "params": [1]}}) == [("SELECT 1", [1])]
    assert find_sql(json.dumps({"input": json.dumps({"sql": "SELEC 1"})})) == [("SELEC 1", None)]
    assert find_sql({"query": "weather in Paris"}) == []
    assert find_sql({"query": "weather"}, "run_sql") == [("weather", None)]
    assert find_sql({"statements": ["BEGIN", "SELECT 1"]}) == [("BEGIN", None), ("SELECT 1", None)]
    assert find_sql({"command": "cd x && psql -h a -Atc 'SELECT 1' db | wc -l"}) == [("SELECT 1", None)]
    assert find_sql({"path": "select/a"}) == find_sql({"path": "show"}) == []
    assert not looks_like_sql("Update:") or looks_like_sql("Update: x")


@pytest.mark.parametrize(
    ("content", "rows", "status"),
    [
        ({"rowcount": 3}, 3, "ok"),
        ({"rows": [[1], [2]]}, 2, "ok"),
        ({"result": {"affected_rows": "4"}}, 4, "ok"),
        ("UPDATE 40000", 40000, "ok"),
        ("INSERT 0 1", 1, "ok"),
        ("CREATE TABLE", None, "ok"),
        (" a \n---\n 1\n(1 row)\n", 1, "ok"),
        ("[(1, 'a'), (2, None)]", 2, "ok"),
        ('[{"a": 1}]', 1, "ok"),
        ([{"type": "text", "text": '{"row_count": 5}'}], 5, "ok"),
        ({"error": "no such table"}, None, "error"),
        ('ERROR:  relation "a" does not exist', None, "error"),
        ("Here are your orders.", None, None),
        ("", None, None),
        ({"success": False}, None, "error"),
        ({"rowcount": -1}, None, None),
    ],
)
def test_what_a_result_says(content: Any, rows: int | None, status: str | None) -> None:
    found = result_of(content)
    assert (found.rows, found.status) == (rows, status)


def test_what_says_that_it_was_committed() -> None:
    assert (
        outcome_of({"committed": True})
        == outcome_of({"transaction": {"outcome": "committed"}})
        == "committed"
    )
    assert outcome_of({"committed": False}) == outcome_of({"rolled_back": "true"}) == "rolled_back"
    assert outcome_of({"outcome": "fine"}) is None
