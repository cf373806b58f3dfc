"""Files made by the formats' own libraries: OTLP by its protobuf messages, MCP by its SDK."""

import json

import mcp.types as protocol
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from pgwitness.review.claims.model import Result
from pgwitness.review.claims.reading import read_testimony


def test_otlp() -> None:
    traces = TracesData()
    spans = traces.resource_spans.add().scope_spans.add().spans
    for number, (sql, rows, failed) in enumerate((("DELETE FROM a", 7, False), ("SELECT $1", None, True))):
        span = spans.add(name="query", start_time_unix_nano=10 - number)
        span.span_id = bytes([number] * 8)
        span.attributes.add(key="db.query.text").value.string_value = sql
        span.attributes.add(key="db.query.parameter.0").value.int_value = 5
        if rows is not None:
            span.attributes.add(key="db.response.returned_rows").value.int_value = rows
        span.status.code = 2 if failed else 0
    found = read_testimony(json.dumps(MessageToDict(traces)).encode())
    assert [(each.sql, each.parameters) for each in found.said] == [
        ("SELECT $1", [5]),
        ("DELETE FROM a", [5]),
    ]
    assert [each.result for each in found.said] == [
        Result(status="error"),
        Result(rows=7, status="ok"),
    ]


def test_mcp() -> None:
    lines = []
    for number, (sql, answer, failed) in enumerate(
        (("DELETE FROM a", '{"rowcount": 7}', False), ("X", "no", True))
    ):
        params = {"name": "query", "arguments": {"sql": sql}}
        request = protocol.JSONRPCRequest(jsonrpc="2.0", id=number, method="tools/call", params=params)
        content = [protocol.TextContent(type="text", text=answer)]
        result = protocol.CallToolResult(content=content, isError=failed)
        told = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        response = protocol.JSONRPCResponse(jsonrpc="2.0", id=number, result=told)
        lines += [request.model_dump_json(), response.model_dump_json()]
    found = read_testimony("\n".join(lines).encode())
    assert (found.format, [each.sql for each in found.said]) == ("mcp", ["DELETE FROM a", "X"])
    assert [each.result for each in found.said] == [
        Result(rows=7, status="ok"),
        Result(status="error", error="no"),
    ]
