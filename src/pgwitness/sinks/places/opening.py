"""From a sink's settings to its place."""

from __future__ import annotations

from typing import assert_never

from pgwitness.config.sinks import AnySink, FileSink, OtlpSink, SyslogSink, WebhookSink
from pgwitness.sinks.forms import form
from pgwitness.sinks.places import Place


def open_place(settings: AnySink) -> Place:
    """Nothing is connected yet. Raises UnavailableError if a package is missing."""
    # What a kind needs is loaded when it is set: httpx and TLS are half of the process.
    match settings:
        case FileSink():
            from pgwitness.sinks.places.file import FilePlace

            return FilePlace(settings.path, form(settings.format), fsync=settings.fsync)
        case WebhookSink():
            from pgwitness.sinks.places.http import WebhookPlace

            return WebhookPlace(settings, form(settings.format))
        case OtlpSink():
            from pgwitness.sinks.places.otlp import OtlpPlace

            return OtlpPlace(settings)
        case SyslogSink():
            from pgwitness.sinks.places.syslog import SyslogPlace

            return SyslogPlace(settings, form(settings.format))
        case _:
            assert_never(settings)
