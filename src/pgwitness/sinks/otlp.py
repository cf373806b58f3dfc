"""Items as OpenTelemetry's spans and log records, in the JSON encoding of OTLP 1.x, with the semantic
conventions for databases and for PostgreSQL.

A session is a trace: its id is the session's. The session's own span comes when it has ended; statements are
its children. Ids of spans are made of items' ids, so that what is sent twice has the same. What is no span
yet, or never will be (a statement that is open, an event, a refusal, a finding), is a log record, with its
item's id as ``log.record.uid``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import msgspec

import pgwitness
from pgwitness.sinks.items import Item, Who, message, nanoseconds
from pgwitness.statements.model import Statement

SERVER, CLIENT = 2, 3
_UNSET, _ERROR = 0, 2
_INFO, _WARN, _ALARM = (9, "INFO"), (13, "WARN"), (17, "ERROR")
_LONGEST_SUMMARY: Final = 255
_SCOPE: Final = {"name": "pgwitness", "version": pgwitness.__version__}
_RESOURCE: Final = {"service.name": "pgwitness", "service.version": pgwitness.__version__}

Traces = dict[str, Any]
Logs = dict[str, Any]


def requests(items: Iterable[Item], signals: Sequence[str]) -> tuple[Traces | None, Logs | None]:
    """What is to be posted to ``/v1/traces`` and to ``/v1/logs``; None where there is nothing."""
    spans, records = [], []
    for item in items:
        made = span(item) if "traces" in signals else None
        if made is not None:
            spans.append(made)
        elif "logs" in signals:
            records.append(record(item))
    return trace_request(spans) if spans else None, log_request(records) if records else None


def trace_request(spans: list[dict[str, Any]]) -> Traces:
    """An ExportTraceServiceRequest."""
    scoped = {"scope": _SCOPE, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": _attributes(_RESOURCE)}, "scopeSpans": [scoped]}]}


def log_request(records: list[dict[str, Any]]) -> Logs:
    """An ExportLogsServiceRequest."""
    scoped = {"scope": _SCOPE, "logRecords": records}
    return {"resourceLogs": [{"resource": {"attributes": _attributes(_RESOURCE)}, "scopeLogs": [scoped]}]}


def span(item: Item) -> dict[str, Any] | None:
    """The item as a span; None for what has no end, or none that is known yet."""
    if item.who is None or not item.final:
        return None
    if item.statement is not None:
        return _statement_span(item, item.who, item.statement)
    return _session_span(item, item.who) if item.kind == "session_ended" else None


def record(item: Item) -> dict[str, Any]:
    """The item as a log record."""
    number, text = _severity(item)
    made: dict[str, Any] = {
        "timeUnixNano": str(nanoseconds(item.at)),
        "observedTimeUnixNano": str(nanoseconds(item.at)),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"pgwitness.{item.kind}",
        "body": {"stringValue": message(item)},
        "attributes": _attributes(attributes(item)),
    }
    if item.who is not None:
        made["traceId"] = trace_id(item.who.session.session)
        made["spanId"] = _span_id(item) if item.statement is not None else session_span_id(item.who)
    return made


def trace_id(session: str) -> str:
    return UUID(session).hex


def session_span_id(who: Who) -> str:
    return sha256(who.session.session.encode()).hexdigest()[:16]


def attributes(item: Item) -> dict[str, Any]:
    """By their names in the semantic conventions, and under ``pgwitness.`` what has none there. What is None
    is left out."""
    made: dict[str, Any] = {"log.record.uid": item.id, "pgwitness.type": item.kind}
    if item.who is not None:
        made |= _session_attributes(item.who)
    if item.statement is not None:
        made |= _statement_attributes(item.statement)
    elif item.kind == "session_ended" and item.who is not None:
        session = item.who.session
        made |= {
            "pgwitness.end_reason": session.end_reason,
            "pgwitness.statements": session.statements,
            "pgwitness.errors": session.errors,
            "pgwitness.rows_written": session.rows_written,
        }
    for name, value in item.details.items():
        plain = value if isinstance(value, str | int | float | bool) or value is None else _json(value)
        made[f"pgwitness.{name}"] = plain
    return {name: value for name, value in made.items() if value is not None}


def _statement_span(item: Item, who: Who, statement: Statement) -> dict[str, Any]:
    start = nanoseconds(item.at)
    failed = statement.status in ("error", "cancelled")
    status: dict[str, Any] = {"code": _ERROR if failed else _UNSET}
    if failed and statement.error:
        status["message"] = statement.error
    return {
        "traceId": trace_id(statement.session),
        "spanId": _span_id(item),
        "parentSpanId": session_span_id(who),
        "name": summary(statement) or "statement",
        "kind": CLIENT,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + (statement.duration_us or 0) * 1000),
        "attributes": _attributes(attributes(item)),
        "status": status,
    }


def _session_span(item: Item, who: Who) -> dict[str, Any]:
    session = who.session
    lost = session.end_reason not in ("terminated", "client_closed", "server_closed")
    status: dict[str, Any] = {"code": _ERROR if lost else _UNSET}
    if lost:
        status["message"] = str(session.end_reason)
    return {
        "traceId": trace_id(session.session),
        "spanId": session_span_id(who),
        "name": f"session {session.connection or 'unknown'}",
        "kind": SERVER,
        "startTimeUnixNano": str(nanoseconds(session.started_at)),
        "endTimeUnixNano": str(max(nanoseconds(item.at), nanoseconds(session.started_at))),
        "attributes": _attributes(attributes(item)),
        "status": status,
    }


def summary(statement: Statement) -> str:
    """``db.query.summary``: the command and the tables, of low cardinality."""
    text = " ".join([statement.command or "", *statement.tables]).strip()
    return text if len(text) <= _LONGEST_SUMMARY else text[:_LONGEST_SUMMARY].rpartition(" ")[0]


def _session_attributes(who: Who) -> dict[str, Any]:
    session = who.session
    return {
        "db.system.name": "postgresql",
        "db.namespace": session.database,
        "session.id": session.session,
        "user.name": session.identity,
        "client.address": who.client.host,
        "client.port": who.client.port,
        "server.address": who.server.host,
        "server.port": who.server.port,
        "pgwitness.connection": session.connection,
        "pgwitness.identity.kind": session.kind,
        "pgwitness.on_behalf_of": session.on_behalf_of,
        "pgwitness.run": session.run,
        "pgwitness.application": who.application,
    }


def _statement_attributes(statement: Statement) -> dict[str, Any]:
    single = statement.tables[0] if len(statement.tables) == 1 else None
    failed = statement.status in ("error", "cancelled")
    made: dict[str, Any] = {
        "db.operation.name": statement.command,
        "db.collection.name": single,
        "db.query.summary": summary(statement) or None,
        "db.query.text": statement.sql or None,
        "db.response.status_code": statement.sqlstate,
        "error.type": (statement.sqlstate or statement.status) if failed else None,
        "pgwitness.seq": statement.seq,
        "pgwitness.tables": statement.tables or None,
        "pgwitness.tag": statement.tag,
        "pgwitness.rows": statement.rows,
        "pgwitness.status": statement.status,
        "pgwitness.error": statement.error,
        "pgwitness.protocol": statement.protocol,
        "pgwitness.transaction.number": statement.transaction.number,
        "pgwitness.transaction.outcome": statement.transaction.outcome,
        "pgwitness.transaction.reason": statement.transaction.reason,
        "pgwitness.truncated": statement.truncated or None,
    }
    if statement.result is not None:
        made["db.response.returned_rows"] = statement.rows
    for number, parameter in enumerate(statement.parameters):
        if parameter.encoding != "withheld":
            made[f"db.query.parameter.{number}"] = "NULL" if parameter.value is None else parameter.value
    return made


def _severity(item: Item) -> tuple[int, str]:
    statement = item.statement
    if statement is not None:
        return _WARN if statement.status in ("error", "cancelled") else _INFO
    if item.kind == "refusal" or item.details.get("event") == "kill_requested":
        return _WARN
    if item.kind == "finding":
        return {"alarm": _ALARM, "weakness": _WARN}.get(str(item.details.get("level")), _INFO)
    return _INFO


def _span_id(item: Item) -> str:
    name = item.id.removesuffix("/open")
    return sha256(name.encode()).hexdigest()[:16]


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        # An int64; a server may say anything in a tag.
        return {"intValue": str(value)} if -(2**63) <= value < 2**63 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": str(value)}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
