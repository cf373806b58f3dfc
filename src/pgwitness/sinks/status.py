"""How far the sinks are, for health, metrics and people: written by their process, read by anybody."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from pgwitness.config.sinks import AnySink
from pgwitness.processes import holder
from pgwitness.sinks.courier import Delivery

NOBODY: Final = "no process delivers: the gateway does not run, or was started without this sink"


def sinks_directory(state: Path) -> Path:
    return state / "sinks"


def lock_file(state: Path) -> Path:
    """Held by the process that delivers."""
    return sinks_directory(state) / "lock"


def write_report(state: Path, deliveries: Iterable[Delivery]) -> None:
    """Whole or not at all; not being able to must not stop the work."""
    with contextlib.suppress(OSError):
        path = sinks_directory(state) / "report.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode([asdict(delivery) for delivery in deliveries]))
        temporary.replace(path)


def sinks_status(state: Path, sinks: Mapping[str, AnySink]) -> list[dict[str, Any]]:
    """One entry for each sink that is set, in the order of the settings. Cheap enough to be asked every few
    seconds. ``lag_seconds`` is the age of the first item that should have arrived; an index that is behind
    comes on top of it."""
    reported = {delivery.sink: delivery for delivery in _report(state)} if holder(lock_file(state)) else {}
    return [_entry(name, settings, reported.get(name)) for name, settings in sinks.items()]


def _entry(name: str, settings: AnySink, delivery: Delivery | None) -> dict[str, Any]:
    said = delivery or Delivery(name, settings.kind, error=NOBODY)
    lag = time.time() - _seconds(said.waiting_since) if said.waiting_since else 0.0
    return {
        "sink": name,
        "kind": settings.kind,
        "place": said.place,
        "format": getattr(settings, "format", "otlp"),
        "sql": settings.sql,
        "parameters": settings.parameters,
        "delivered": said.delivered,
        "rejected": said.rejected,
        "delivered_at": _time(said.delivered_at),
        "lag_seconds": round(max(lag, 0.0), 3),
        "error": said.error,
        "failing_since": _time(said.failing_since),
    }


def _report(state: Path) -> list[Delivery]:
    try:
        data = (sinks_directory(state) / "report.json").read_bytes()
        return msgspec.json.decode(data, type=list[Delivery])
    except (OSError, msgspec.DecodeError):
        return []


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
