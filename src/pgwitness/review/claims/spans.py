"""Database spans of OpenTelemetry, in the order in which they began.

Read are OTLP in JSON (of the file exporter and of collectors), what the Python SDK's console exporter prints,
Jaeger's JSON and Zipkin's. Attributes are those of the semantic conventions, stable and old:
``db.query.text`` or ``db.statement``, ``db.query.parameter.KEY`` or ``db.statement.parameters``,
``db.response.returned_rows``, ``db.response.status_code``, ``error.type``, and the span's status.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from pgwitness.review.claims.documents import Documents
from pgwitness.review.claims.model import Problem, Result, Said, Testimony

_TEXT: Final = ("db.query.text", "db.statement", "sql.query")
_PARAMETER: Final = ("db.query.parameter.", "db.operation.parameter.")
_ROWS: Final = ("db.response.returned_rows", "db.rows_affected", "db.result.rows", "db.row_count")
_FAILED: Final = {"2", "error", "status_code_error", "statuscode.error"}
_OK: Final = {"1", "ok", "status_code_ok", "statuscode.ok"}


class _Span(Struct):
    place: str
    id: str
    parent: str
    begun: float
    attributes: dict[str, Any]
    status: str
    message: str


def read_spans(documents: Documents) -> Testimony | None:
    """None if there is no span."""
    spans: list[_Span] = []
    problems = list(documents.problems)
    for document in documents.items:
        place = f"line {document.line}" if documents.lines else ""
        try:
            spans += _spans(document.value, place)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            problems.append(
                Problem(place or "the document", f"a span that is none: {type(error).__name__} {error}")
            )
    if not spans:
        return None
    testimony = Testimony("otel", problems=problems)
    texts = {span.id: _text(span) for span in spans if span.id}
    for span in sorted(spans, key=lambda span: span.begun):
        sql = _text(span)
        if sql is None:
            testimony.others += 1
        elif " ".join(sql.split()) != " ".join((texts.get(span.parent) or "").split()):
            # An ORM and its driver both tell of one statement, one within the other.
            testimony.said.append(Said(span.place, sql, _parameters(span.attributes), _result(span)))
    return testimony


def _text(span: _Span) -> str | None:
    for name in _TEXT:
        value = span.attributes.get(name)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _parameters(attributes: dict[str, Any]) -> Any:
    """By index or by name; Python's instrumentations give one text of a tuple or of a dictionary."""
    found = {
        name.removeprefix(prefix): value
        for prefix in _PARAMETER
        for name, value in attributes.items()
        if name.startswith(prefix)
    }
    if found and all(name.isdecimal() for name in found):
        return [found[name] for name in sorted(found, key=int)]
    if found:
        return found
    together = attributes.get("db.statement.parameters")
    if isinstance(together, list | dict):
        return together
    if isinstance(together, str):
        try:
            held = ast.literal_eval(together)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        return list(held) if isinstance(held, tuple | list) else held if isinstance(held, dict) else None
    return None


def _result(span: _Span) -> Result:
    attributes = span.attributes
    code = str(attributes.get("db.response.status_code", ""))
    error = attributes.get("error.type")
    if span.status.lower() in _FAILED or error or attributes.get("error") in (True, "true"):
        words = " ".join(str(part) for part in (code, error, span.message) if part)
        return Result(status="error", error=words[:300] or None)
    rows = next((attributes[name] for name in _ROWS if name in attributes), None)
    if isinstance(rows, str) and rows.isdecimal():
        rows = int(rows)
    known = isinstance(rows, int) and not isinstance(rows, bool)
    return Result(rows=rows if known else None, status="ok" if known or span.status.lower() in _OK else None)


# --- the forms that spans come in ---


def _spans(value: Any, place: str) -> Iterator[_Span]:
    if isinstance(value, list):
        for at, each in enumerate(value):
            yield from _spans(each, place or f"[{at}]")
    elif not isinstance(value, dict):
        return
    elif any(name in value for name in ("resourceSpans", "resource_spans")):
        yield from _otlp(value, place)
    elif "data" in value and isinstance(value["data"], list):
        yield from _jaeger(value["data"], place)
    elif isinstance(value.get("context"), dict) and "start_time" in value:
        yield _console(value, place)
    elif "traceId" in value and isinstance(value.get("tags"), dict):
        yield _zipkin(value, place)


def _either(value: dict[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if name in value), None)


def _otlp(value: dict[str, Any], place: str) -> Iterator[_Span]:
    number = 0
    for resource in _either(value, "resourceSpans", "resource_spans") or ():
        scopes = _either(resource, "scopeSpans", "scope_spans", "instrumentationLibrarySpans") or ()
        for span in (span for scope in scopes for span in scope.get("spans", ())):
            number += 1
            status = span.get("status") or {}
            yield _Span(
                f"{place}, span {number}" if place else f"span {number}",
                str(_either(span, "spanId", "span_id") or ""),
                str(_either(span, "parentSpanId", "parent_span_id") or ""),
                float(_either(span, "startTimeUnixNano", "start_time_unix_nano") or 0),
                {
                    each["key"]: _any_value(each.get("value"))
                    for each in span.get("attributes", ())
                    if "key" in each
                },
                str(status.get("code", "")),
                str(status.get("message", "")),
            )


def _any_value(value: Any) -> Any:
    """AnyValue of OTLP."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    kind = kind.replace("_value", "Value")
    if kind == "intValue":
        return int(inner)
    if kind == "arrayValue":
        items = inner.get("values", ()) if isinstance(inner, dict) else inner
        return [_any_value(each) for each in items]
    return inner


def _console(value: dict[str, Any], place: str) -> _Span:
    """``ReadableSpan.to_json`` of the Python SDK."""
    status = value.get("status") or {}
    return _Span(
        place or "the document",
        str(value["context"].get("span_id", "")),
        str(value.get("parent_id") or ""),
        _seconds(value["start_time"]) * 1e9,
        value.get("attributes") or {},
        str(status.get("status_code", "")),
        str(status.get("description", "")),
    )


def _jaeger(traces: list[Any], place: str) -> Iterator[_Span]:
    for trace in traces:
        for number, span in enumerate(trace.get("spans", ()) if isinstance(trace, dict) else (), 1):
            tags = {each["key"]: each.get("value") for each in span.get("tags", ()) if "key" in each}
            parents = [each for each in span.get("references", ()) if each.get("refType") == "CHILD_OF"]
            yield _Span(
                f"{place}, span {number}" if place else f"span {number}",
                str(span.get("spanID", "")),
                str(parents[0].get("spanID", "")) if parents else "",
                float(span.get("startTime", 0)) * 1e3,
                tags,
                str(tags.get("otel.status_code", "")),
                str(tags.get("otel.status_description", "")),
            )


def _zipkin(value: dict[str, Any], place: str) -> _Span:
    tags = value["tags"]
    return _Span(
        place or "the document",
        str(value.get("id", "")),
        str(value.get("parentId", "")),
        float(value.get("timestamp", 0)) * 1e3,
        tags,
        str(tags.get("otel.status_code", "")),
        str(tags.get("error", "")),
    )


def _seconds(text: Any) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
