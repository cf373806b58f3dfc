"""Whatever is in a file: it is compared or refused, and what is answered can be printed."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgwitness.errors import InvalidError
from pgwitness.index.store import IndexReader
from pgwitness.review.claims.reading import FORMATS
from support.claims import check

NAMES = [
    "sql query statement params parameters rows rowcount error status tool_calls function arguments name id",
    "type content role tool_call_id input tool_use_id is_error functionCall functionResponse args response",
    "kwargs data output call_id tool_name tool_kwargs tool_output raw_output tool_args parts toolCallId",
    "toolInvocation jsonrpc method result isError structuredContent resourceSpans scopeSpans spans state",
    "key value stringValue intValue startTimeUnixNano context start_time tags traceId attributes outcome",
    "db.query.text db.statement db.statement.parameters transaction message blocks block_type text tag",
]
WORDS = [
    "SELECT 1",
    "UPDATE a SET b = %s; DELETE FROM c WHERE d = :x",
    "\\d a\nSELECT '",
    "{1,{2",
    "[1",
    "UPDATE 99999999999999999999999",
    "tools/call",
    "2.0",
    "tool",
    "assistant",
    "function_call",
    "tool_use",
    "tool_result",
    "tool-x",
    "output-available",
    "ToolCallRequestEvent",
    "tool_usage_finished",
    "\ud800",
    "\x00",
    "committed",
    "$1 $2 %(a)s ? @b",
    "```sql\nSELECT $1\n```",
]
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.sampled_from(WORDS)
)
KEYS = st.sampled_from(" ".join(NAMES).split())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=25,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=6)


def _survives(record: IndexReader, documents: list[Any], format: str, lines: bool) -> None:
    content = "\n".join(map(json.dumps, documents)) if lines else json.dumps(documents)
    try:
        summary, findings = check(record, content.encode(), format=format)
    except InvalidError:
        return
    assert summary.verdict != "matches"
    msgspec.json.encode([summary, *findings]).decode()


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOCUMENTS, min_size=1, max_size=3), st.sampled_from(list(FORMATS)), st.booleans())
def test_any_json(record: IndexReader, documents: list[Any], format: str, lines: bool) -> None:
    _survives(record, documents, format, lines)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DOCUMENTS, min_size=1, max_size=3), st.sampled_from(list(FORMATS)), st.booleans())
def test_any_json_at_length(record: IndexReader, documents: list[Any], format: str, lines: bool) -> None:
    _survives(record, documents, format, lines)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(alphabet="UPDATE SETWHERa=%s?:@$1()'\"-/*;{}[]\\\n", max_size=60), VALUES)
def test_any_text(record: IndexReader, sql: str, parameters: Any) -> None:
    _survives(record, [{"sql": sql or "x", "params": parameters}], "jsonl", True)
