"""What the result of a tool call, or a record of a log, says of rows, success and failure.

Only what is said plainly is taken: a count under a name for counts, PostgreSQL's command tag, psql's ``(3
rows)``, a list of rows, an error under a name for errors. Anything else says nothing.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pgwitness.review.claims.model import ClaimedOutcome, Result, Status

COUNTS: Final = (
    "rowcount",
    "row_count",
    "rowCount",
    "rows_affected",
    "rowsAffected",
    "affected_rows",
    "affectedRows",
    "rows_returned",
    "returned_rows",
    "num_rows",
    "count",
    "affected",
)
_LISTS: Final = ("rows", "data", "results", "result", "records", "items")
_ERRORS: Final = ("error", "error_message", "errorMessage", "exception", "errorText")
_PARTIAL: Final = ("truncated", "has_more", "hasMore", "is_truncated", "limited", "more")
_INNER: Final = (
    "structuredContent",
    "output",
    "response",
    "content",
    "text",
    "value",
    "result",
    "tool_output",
)
_OK: Final = {"ok", "success", "succeeded", "done", "completed", "complete", "true", "2", "200"}
_FAILED: Final = {"error", "failed", "failure", "false", "exception"}

_TAG = re.compile(
    r"\s*(?:INSERT \d+ (\d+)|(?:SELECT|UPDATE|DELETE|MERGE|COPY|MOVE|FETCH) (\d+)|BEGIN|COMMIT|ROLLBACK"
    r"|(?:CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|SET|ANALYZE|VACUUM|REINDEX)(?: [A-Z]+){0,3})\s*"
)
_COUNTED = re.compile(
    r"\((\d+) rows?\)|\b(\d+) rows? (?:affected|returned|updated|deleted|inserted)\b", re.IGNORECASE
)
_SAID_ERROR = re.compile(
    r"\s*(?:\w+\.)*(?:Error|ERROR|FATAL|Exception|\w+Error|psycopg\S*|asyncpg\S*|sqlalchemy\S*)\b[^\n]{0,40}[:(]"
    r"|\s*error\b",
)
_LONGEST: Final = 4 << 20
_DEPTH: Final = 8


def result_of(content: Any, failed: bool | None = None) -> Result:
    """``failed``: what the transcript itself says, None if nothing."""
    found = _look(content, 0) or Result()
    if failed:
        found.status, found.rows = "error", None
        found.error = found.error or _words(content)
    elif found.status is None and (failed is False or found.rows is not None):
        found.status = "ok"
    return found


def outcome_of(record: Mapping[str, Any]) -> ClaimedOutcome | None:
    """Whether a record says that its statement was committed."""
    inner = record.get("transaction")
    for value in (record.get("outcome"), inner.get("outcome") if isinstance(inner, dict) else None):
        if value in ("committed", "rolled_back"):
            return "committed" if value == "committed" else "rolled_back"
    for name, one, other in (
        ("committed", "committed", "rolled_back"),
        ("rolled_back", "rolled_back", "committed"),
    ):
        value = record.get(name)
        if isinstance(value, bool):
            return one if value else other  # type: ignore[return-value]
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return one if value.lower() == "true" else other  # type: ignore[return-value]
    return None


def _look(content: Any, depth: int) -> Result | None:
    if depth > _DEPTH:
        return None
    if isinstance(content, str):
        return _text(content, depth)
    if isinstance(content, list):
        return _listed(content, depth)
    if isinstance(content, dict):
        return _record(content, depth)
    return None


def _record(content: dict[str, Any], depth: int) -> Result | None:
    found = Result()
    for name in _ERRORS:
        value = content.get(name)
        if value and value not in ("null", "None"):
            return Result(status="error", error=_words(value))
    found.status = _status(content)
    for name in COUNTS:
        value = content.get(name)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            found.rows = value
            break
    found.partial = any(content.get(name) is True for name in _PARTIAL)
    tag = content.get("tag") or content.get("command_tag")
    if found.rows is None and isinstance(tag, str):
        found.rows = _tag_rows(tag)
    if found.rows is None and isinstance(content.get("rows"), int) and not isinstance(content["rows"], bool):
        found.rows = content["rows"]
    if found.rows is None:
        for name in _LISTS:
            if isinstance(content.get(name), list):
                found.rows = len(content[name])
                break
    if found.rows is None:
        for name in _INNER:
            inner = _look(content[name], depth + 1) if name in content else None
            if inner is not None and (inner.rows is not None or inner.status is not None):
                inner.partial = inner.partial or found.partial
                inner.status = inner.status or found.status
                return inner
    return found if found.rows is not None or found.status is not None else None


def _status(content: Mapping[str, Any]) -> Status | None:
    for name in ("status", "success", "ok", "state"):
        value = str(content.get(name, "")).lower()
        if value in _OK:
            return "ok"
        if value in _FAILED:
            return "error"
    for name in ("isError", "is_error"):
        if content.get(name) is True:
            return "error"
    return None


def _listed(content: list[Any], depth: int) -> Result | None:
    """Blocks of content, or rows."""
    blocks = [each for each in content if isinstance(each, dict) and ("type" in each or "text" in each)]
    if blocks and len(blocks) == len(content):
        texts = [each["text"] for each in blocks if isinstance(each.get("text"), str)]
        if texts:
            return _text("".join(texts), depth + 1)
        return next((found for each in blocks if (found := _look(each, depth + 1))), None)
    if all(isinstance(each, dict | list) for each in content):
        return Result(rows=len(content), status="ok")
    return None


def _text(content: str, depth: int) -> Result | None:
    text = content.strip()
    if not text or len(text) > _LONGEST:
        return None
    if text[0] in '{["':
        try:
            return _look(json.loads(text), depth + 1)
        except (ValueError, RecursionError):
            pass
    if text[0] in "[(":
        rows = _python_rows(text)
        if rows is not None:
            return Result(rows=rows, status="ok")
    if _TAG.fullmatch(text):
        return Result(rows=_tag_rows(text), status="ok")
    if _SAID_ERROR.match(text):
        return Result(status="error", error=_words(text))
    counted = _COUNTED.findall(text)
    if len(counted) == 1:
        return Result(rows=int(counted[0][0] or counted[0][1]), status="ok")
    return None


def _tag_rows(tag: str) -> int | None:
    found = _TAG.fullmatch(tag)
    count = (found[1] or found[2]) if found else None
    return int(count) if count else None


def _python_rows(text: str) -> int | None:
    """Of a list of tuples as Python prints it, which is what LangChain's SQL tool answers."""
    if len(text) > 1 << 18:
        return None
    try:
        held = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(held, list) and all(isinstance(row, tuple | list | dict) for row in held):
        return len(held)
    return None


def _words(content: Any) -> str:
    """In one line; of blocks of content their text, of an error its message."""
    if (
        isinstance(content, list)
        and content
        and all(isinstance(each, dict) and "text" in each for each in content)
    ):
        content = " ".join(str(each["text"]) for each in content)
    elif isinstance(content, dict) and isinstance(content.get("message"), str):
        content = content["message"]
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    return " ".join(text.split())[:300]
