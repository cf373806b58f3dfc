"""A collector of OpenTelemetry, by OTLP over HTTP.

Traces and logs are two requests. If the second fails, both come again: spans have the same ids, log records
the same ``log.record.uid``. What a collector says it rejected of an accepted request must not be sent again
(OTLP 1.x, partial success); it is said as an error instead, and counts as delivered.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pgwitness.config.sinks import OtlpSink
from pgwitness.errors import UnavailableError
from pgwitness.sinks.items import Item
from pgwitness.sinks.otlp import requests
from pgwitness.sinks.places.http import Poster

_PATHS: Final = ("/v1/traces", "/v1/logs")
_IDS: Final = ("traceId", "spanId", "parentSpanId")


class OtlpPlace:
    def __init__(self, settings: OtlpSink) -> None:
        """Raises UnavailableError if protobuf is wanted and not installed."""
        self._poster = Poster(settings)
        self._base = settings.url.get_secret_value().rstrip("/")
        self._signals = settings.signals
        self._protobuf = settings.encoding == "protobuf"
        if self._protobuf:
            require_protobuf()
        self.name = f"otlp {self._poster.host}"
        self.close = self._poster.close
        self.rejected = 0

    def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undeliverable."""
        for path, request in zip(_PATHS, requests(items, self._signals), strict=True):
            if request is not None:
                self._post(path, request)

    def _post(self, path: str, request: dict[str, Any]) -> None:
        if self._protobuf:
            body, kind = as_protobuf(path, request), "application/x-protobuf"
        else:
            body, kind = msgspec.json.encode(request), "application/json"
        answer = self._poster.post(self._base + path, self._poster.compress(body), kind)
        self.rejected += self._rejected(path, answer)

    def _rejected(self, path: str, answer: bytes) -> int:
        if self._protobuf:
            return rejected_protobuf(path, answer)
        try:
            said = msgspec.json.decode(answer)["partialSuccess"]
            return int(said.get("rejectedSpans") or said.get("rejectedLogRecords") or 0)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
            return 0


def require_protobuf() -> None:
    """Raises UnavailableError."""
    try:
        import opentelemetry.proto  # noqa: F401  is it there?
    except ImportError:
        raise UnavailableError(
            "encoding protobuf needs a package that is not installed",
            hint="pip install 'pgwitness[otlp]', or set encoding = \"json\"",
        ) from None


def as_protobuf(path: str, request: dict[str, Any]) -> bytes:
    """The request of that path in protobuf."""
    from google.protobuf.json_format import ParseDict

    encoded: bytes = ParseDict(_plain(request), _request(path)).SerializeToString()
    return encoded


def rejected_protobuf(path: str, answer: bytes) -> int:
    """How many the collector did not take, of an answer in protobuf."""
    from google.protobuf.message import DecodeError

    said = _response(path)
    try:
        said.ParseFromString(answer)
    except DecodeError:
        return 0
    partial = said.partial_success
    return int(partial.rejected_spans if path == _PATHS[0] else partial.rejected_log_records)


def _request(path: str) -> Any:
    if path == _PATHS[0]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        return ExportTraceServiceRequest()
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    return ExportLogsServiceRequest()


def _response(path: str) -> Any:
    if path == _PATHS[0]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        return ExportTraceServiceResponse()
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    return ExportLogsServiceResponse()


def _plain(request: dict[str, Any]) -> dict[str, Any]:
    """OTLP's JSON has ids in hex, where protobuf's own JSON has base64."""
    made = copy.deepcopy(request)
    for resource in [*made.get("resourceSpans", ()), *made.get("resourceLogs", ())]:
        for scope in [*resource.get("scopeSpans", ()), *resource.get("scopeLogs", ())]:
            for each in [*scope.get("spans", ()), *scope.get("logRecords", ())]:
                for name in _IDS:
                    if name in each:
                        each[name] = base64.b64encode(bytes.fromhex(each[name])).decode()
    return made
