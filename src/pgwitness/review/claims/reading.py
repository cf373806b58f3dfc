"""A testimony's file, read: its format is found by what is in it, or given.

A file in which nothing says what was run is refused; so is a log of plain text, since no one can tell there
which words are SQL that was run. Raises InvalidError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pgwitness.errors import InvalidError
from pgwitness.review.claims.conversations import FORMATS as CONVERSATIONS
from pgwitness.review.claims.conversations import read_conversation
from pgwitness.review.claims.documents import Documents, read_documents
from pgwitness.review.claims.model import Testimony
from pgwitness.review.claims.records import read_csv, read_records
from pgwitness.review.claims.spans import read_spans

AUTO: Final = "auto"
FORMATS: Final[Sequence[str]] = (AUTO, "jsonl", "csv", "otel", *CONVERSATIONS)
MAX_BYTES: Final = 16 << 20
MAX_NODES: Final = 200_000
"""Objects and arrays of a testimony: each format looks at every one of them."""

_TAKEN = "it takes JSON Lines, CSV, OpenTelemetry spans, MCP logs and transcripts of chats: docs/claims.md"


def read_testimony(content: bytes, format: str = AUTO, field: str | None = None) -> Testimony:
    """``field``: where the SQL is, of JSON Lines (``a.b`` goes inside) and CSV."""
    if format not in FORMATS:
        raise InvalidError(f"there is no format {format!r}", hint=f"it is one of {', '.join(FORMATS)}")
    if len(content) > MAX_BYTES:
        raise InvalidError(f"the testimony is longer than {MAX_BYTES >> 20} MiB", hint="compare it in parts")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidError(f"the testimony is no text in UTF-8 (byte {error.start})") from None
    if not text.strip():
        raise InvalidError("the testimony is empty")
    found = _read(text, format, field)
    if found is None or not (found.said or found.others):
        what = "no testimony that can be read" if format == AUTO else f"no testimony of format {format}"
        raise InvalidError(f"this is {what}: nothing in it says what SQL was run", hint=_TAKEN)
    return found


def _read(text: str, format: str, field: str | None) -> Testimony | None:
    if format == "csv":
        return read_csv(text, field)
    documents = read_documents(text)
    if documents is None:
        if format == AUTO and (found := read_csv(text, field)) is not None:
            return found
        raise InvalidError("the testimony is neither JSON nor CSV with a header", hint=_TAKEN)
    if _nodes(documents) > MAX_NODES:
        raise InvalidError(
            f"the testimony has more than {MAX_NODES:,} objects and arrays", hint="compare it in parts"
        )
    if format == "jsonl" or field is not None:
        return read_records(documents, field)
    if format == "otel":
        return read_spans(documents)
    if format in CONVERSATIONS:
        return read_conversation(documents, format)
    return _detected(documents)


def _nodes(documents: Documents) -> int:
    """Not counted further than is allowed."""
    stack: list[object] = [document.value for document in documents.items]
    count = 0
    while stack and count <= MAX_NODES:
        value = stack.pop()
        if isinstance(value, dict | list):
            count += 1
            stack.extend(value.values() if isinstance(value, dict) else value)
    return count


def _detected(documents: Documents) -> Testimony | None:
    """Spans are told by their own shape, then conversations by their calls of tools, then plain records."""
    spans = read_spans(documents)
    if spans is not None:
        return spans
    conversation = read_conversation(documents)
    if conversation is not None and conversation.said:
        return conversation
    return read_records(documents, None) or conversation
