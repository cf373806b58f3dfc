"""Figures for Prometheus: those that the process keeps, and what is looked up when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

import pgwitness
from pgwitness.api.services import Services
from pgwitness.catalog.findings import LEVELS
from pgwitness.index.status import index_status
from pgwitness.sealing.status import record_status
from pgwitness.sinks.status import sinks_status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Lookup(Collector):
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        yield InfoMetricFamily("pgwitness", "This gateway", {"version": pgwitness.__version__})
        status = index_status(self._services.settings.state)
        yield GaugeMetricFamily(
            "pgwitness_index_lag_bytes", "Tape that is not indexed yet", value=status["lag_bytes"]
        )
        yield GaugeMetricFamily(
            "pgwitness_index_lag_seconds",
            "Age of the first frame not indexed yet",
            value=status["lag_seconds"],
        )
        yield from _record(self._services)
        yield from _sinks(self._services)
        yield _around(self._services)
        if self._services.live is not None:
            yield GaugeMetricFamily(
                "pgwitness_sessions_open", "Sessions that are open", value=len(self._services.live.list())
            )
        if self._services.online is not None:
            yield GaugeMetricFamily(
                "pgwitness_connectors_online",
                "Connectors that are online",
                value=len(self._services.online.describe()),
            )


def _record(services: Services) -> Iterator[GaugeMetricFamily]:
    status = record_status(services.settings.state)
    gauges = {
        "entries": ("Entries of the sealed log", status["size"]),
        "lag_bytes": ("Tape that is not sealed yet", status["lag_bytes"]),
        "lag_seconds": ("Age of the first frame not sealed yet", status["lag_seconds"]),
        "checkpoint_age_seconds": ("Since the latest checkpoint", status["checkpoint_age_seconds"]),
        "failing": ("1 if the sealer does not get on", int(status["problem"] is not None)),
    }
    for name, (text, value) in gauges.items():
        if value is not None:
            yield GaugeMetricFamily(f"pgwitness_record_{name}", text, value=value)
    failing = GaugeMetricFamily(
        "pgwitness_heads_failing", "1 if checkpoints do not arrive at that place", labels=["place"]
    )
    for head in status["heads"]:
        failing.add_metric([head["place"]], int(head["error"] is not None))
    yield failing


def _sinks(services: Services) -> Iterator[GaugeMetricFamily]:
    lag = GaugeMetricFamily(
        "pgwitness_sink_lag_seconds", "Age of the first item that should have arrived there", labels=["sink"]
    )
    failing = GaugeMetricFamily("pgwitness_sink_failing", "1 if nothing arrives there", labels=["sink"])
    delivered = GaugeMetricFamily(
        "pgwitness_sink_delivered", "Items that arrived there since the gateway started", labels=["sink"]
    )
    for sink in sinks_status(services.settings.state, services.settings.sinks):
        lag.add_metric([sink["sink"]], sink["lag_seconds"])
        failing.add_metric([sink["sink"]], int(sink["error"] is not None))
        delivered.add_metric([sink["sink"]], sink["delivered"])
    yield from (lag, failing, delivered)


def _around(services: Services) -> GaugeMetricFamily:
    """An alarm here is worth waking somebody."""
    gauge = GaugeMetricFamily(
        "pgwitness_watch_findings",
        "Findings of the watch that are there and not accepted",
        labels=["connection", "level"],
    )
    counts = services.catalog.findings.counts()
    for connection in services.catalog.connections.list():
        for level in LEVELS:
            gauge.add_metric([connection.name, level], counts.get(connection.name, {}).get(level, 0))
    return gauge


def render(services: Services) -> bytes:
    """The text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Lookup(services))
    return generate_latest(REGISTRY) + generate_latest(registry)
