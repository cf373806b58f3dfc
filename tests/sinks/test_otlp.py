"""Spans and log records are what OpenTelemetry's own protocol buffers can read, and mean what its conventions
say."""

import re
from dataclasses import replace
from typing import Any

from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pgwitness.sinks.items import Discretion, Item, session_items
from pgwitness.sinks.otlp import record, requests, span
from pgwitness.sinks.places.otlp import as_protobuf
from pgwitness.statements.model import Parameter
from support.sink_items import PATIENT, sessions, settled_item
from support.sink_items import items as any_items

HEX = {"traceId": 32, "spanId": 16, "parentSpanId": 16}


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    made = {}
    for each in attributes:
        ((kind, value),) = each["value"].items()
        made[each["key"]] = int(value) if kind == "intValue" else value
    assert len(made) == len(attributes), "an attribute twice"
    return made


@PATIENT
@given(st.lists(any_items(), min_size=1, max_size=4), st.sampled_from([("traces", "logs"), ("logs",)]))
def test_everything_is_read_by_the_protocol_s_own_code(batch: list[Item], signals: tuple[str, ...]) -> None:
    traces, logs = requests(batch, signals)
    count = 0
    for path, request, message in (
        ("/v1/traces", traces, ExportTraceServiceRequest),
        ("/v1/logs", logs, ExportLogsServiceRequest),
    ):
        if request is None:
            continue
        read = message.FromString(as_protobuf(path, request))
        resource = read.resource_spans[0] if path == "/v1/traces" else read.resource_logs[0]
        scope = resource.scope_spans[0] if path == "/v1/traces" else resource.scope_logs[0]
        found = scope.spans if path == "/v1/traces" else scope.log_records
        count += len(found)
        for each in found:
            assert len(each.span_id) in ((8,) if path == "/v1/traces" else (0, 8))
            assert len(each.trace_id) in ((16,) if path == "/v1/traces" else (0, 16))
            if path == "/v1/traces":
                assert each.end_time_unix_nano >= each.start_time_unix_nano > 0
                assert each.name
    assert count == len(batch)


@PATIENT
@given(any_items())
def test_ids_are_hex_in_json_and_the_same_each_time(item: Item) -> None:
    for made in (span(item), record(item)):
        for name, length in HEX.items():
            if made is not None and name in made:
                assert re.fullmatch(f"[0-9a-f]{{{length}}}", made[name])
                assert int(made[name], 16), "all zero is no id"
    assert span(item) == span(item) and record(item) == record(item)


def test_the_conventions_for_postgresql() -> None:
    item = settled_item(
        "UPDATE orders SET status = $1",
        "UPDATE 40000",
        parameters=[Parameter("text", "void", "text"), Parameter("int4", None, "binary")],
    )
    made = span(item)
    assert made is not None and made["kind"] == 3 and made["name"] == "UPDATE public.orders"
    found = plain(made["attributes"])
    expected = {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.collection.name": "public.orders",
        "db.operation.name": "UPDATE",
        "db.query.text": "UPDATE orders SET status = $1",
        "db.query.summary": "UPDATE public.orders",
        "db.query.parameter.0": "void",
        "db.query.parameter.1": "NULL",
        "server.address": "10.0.0.9",
        "server.port": 5432,
        "client.address": "10.0.0.7",
        "session.id": "0199aaaa-0000-7000-8000-000000000001",
        "user.name": "billing-agent",
        "pgwitness.run": "run-81",
        "pgwitness.rows": 40000,
        "pgwitness.transaction.outcome": "committed",
        "log.record.uid": item.id,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "error.type" not in found and made["status"] == {"code": 0}


def test_a_failure() -> None:
    item = settled_item("SELECT 1/0", "SELECT 0", status="error", sqlstate="22012", error="division by zero")
    made = span(item)
    assert made is not None and made["status"] == {"code": 2, "message": "division by zero"}
    found = plain(made["attributes"])
    assert found["db.response.status_code"] == found["error.type"] == "22012"


def test_withheld_values_are_no_attributes() -> None:
    values = [Parameter("text", "secret", "text")]
    told = record(settled_item("SELECT $1", "SELECT 1", parameters=values))
    assert "secret" in str(told) and "SELECT $1" in str(told)
    told = record(settled_item("SELECT $1", "SELECT 1", Discretion("withheld", False), parameters=values))
    assert "secret" not in str(told) and "SELECT $1" not in str(told)


@PATIENT
@given(sessions())
def test_statements_are_children_of_their_session_s_span(who: Any) -> None:
    _, end = session_items(who)
    statement = span(settled_item("SELECT 1", "SELECT 1"))
    if end is not None:
        whole = span(end)
        assert whole is not None and statement is not None
        assert statement["traceId"] == whole["traceId"]
        assert statement["parentSpanId"] == whole["spanId"] and "parentSpanId" not in whole


def test_what_is_open_is_a_log_record_until_it_is_a_span() -> None:
    item = settled_item("SELECT 1", "SELECT 1")
    announced = replace(item, id=item.id + "/open", final=False)
    assert span(announced) is None
    traces, logs = requests([announced, item], ("traces", "logs"))
    assert traces is not None and logs is not None
    (told,) = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    (made,) = traces["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert told["spanId"] == made["spanId"]
    assert plain(told["attributes"])["log.record.uid"].endswith("/open")


def test_json_that_is_no_otlp_is_found() -> None:
    """The check can fail."""
    made = span(settled_item("SELECT 1", "SELECT 1"))
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [{**(made or {}), "nonsense": 1}]}]}]}
    try:
        ParseDict(request, ExportTraceServiceRequest())
    except Exception as error:
        assert "nonsense" in str(error)
    else:
        raise AssertionError("it was read")
