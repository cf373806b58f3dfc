"""Transcripts as frameworks write them, honest and with lies: all of these tell of one recorded session."""

from pathlib import Path

import pytest

from pgwitness.index.store import IndexReader
from pgwitness.review.claims.reading import FORMATS, read_testimony
from support.claims import STORY, check, counting, line

TRANSCRIPTS = Path(__file__).parent / "transcripts"

FOUND = {
    "openai_chat.json": (
        "openai-chat",
        ["altered statement 7: value of cents in WHERE: 50 / 5000; rows: 12 / 40,000"],
    ),
    "openai_responses.json": ("openai-responses", ["unexecuted claim 2: ", "unclaimed statement 22: "]),
    "anthropic.json": (
        "anthropic",
        [
            "outcome statement 19: success: carried out / error 42P01 error 42P01",
            "reordered statement 22: order: after claim 10 / after statement 19",
        ],
    ),
    "gemini.json": ("gemini", ["altered statement 10: SET: seen = 'agent' / touched = 'agent'"]),
    "langgraph.json": ("langchain", ["altered statement 28: value of age in WITH: 900 / 90"]),
    "llama_index.json": (
        "llama-index",
        [
            "altered statement 22: WHERE: at < '2026-01-01' AND kind IN (1) / "
            "at < '2026-01-01' AND kind IN (1, 2)"
        ],
    ),
    "autogen.json": ("autogen", ["rows statement 34: rows: 1 / 3"]),
    "vercel_4.json": ("vercel", ["unclaimed statement 31: "]),
    "mcp.jsonl": ("mcp", ["altered statement 13: value of id in WHERE: 21 / 12"]),
    "otel_console.json": ("otel", ["altered statement 16: value of id in WHERE: 14 / 13"]),
    "jaeger.json": ("otel", ["unclaimed statement 25: "]),
    "shell.json": (
        "anthropic",
        [
            "altered statement 7: WHERE: region = 'west' AND cents < 5000 AND id < 20 / "
            "region = 'west' AND cents < 5000"
        ],
    ),
    "sheet.csv": ("csv", ["altered statement 22: table: drafts / audit"]),
    "crewai.jsonl": ("crewai", ["unclaimed statement 28: "]),
}
"""Of each transcript, its format and what is found in the one with lies."""
FIELDS = {"sheet.csv": "what it ran"}


def _check(record: IndexReader, name: str, of: str) -> tuple[str, str, list[str]]:
    from pgwitness.index.filters import Filters
    from pgwitness.review.claims.check import compare
    from support.claims import SESSION

    testimony = read_testimony((TRANSCRIPTS / name).read_bytes(), field=FIELDS.get(of))
    summary, findings = compare(record, Filters(session=SESSION), testimony)
    return summary.verdict, summary.format, [line(each) for each in counting(findings)]


@pytest.mark.parametrize("name", FOUND)
def test_honest(record: IndexReader, name: str) -> None:
    assert _check(record, name, name) == ("matches", FOUND[name][0], [])


@pytest.mark.parametrize("name", FOUND)
def test_what_was_changed_is_found_and_no_more(record: IndexReader, name: str) -> None:
    stem, _, kind = name.rpartition(".")
    assert _check(record, f"{stem}.lies.{kind}", name) == ("differs", *FOUND[name])


def test_the_formats_are_in_the_guide() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "claims.md").read_text()
    for format in FORMATS:
        assert f"`{format}`" in guide, format


def test_a_format_may_be_forced(record: IndexReader) -> None:
    content = (TRANSCRIPTS / "langgraph.json").read_bytes()
    summary, _ = check(record, content, format="openai-chat")  # which its messages hold beside their own
    assert (summary.format, summary.counts) == ("openai-chat", {"matched": len(STORY)})
