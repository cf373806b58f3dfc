"""The first page: what runs now, what ran lately and did most, and whether the recorder is well.

It renews itself: the same part of it, every few seconds, while somebody looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import Request, Response

from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import ServicesHere
from pgwitness.api.services import Services
from pgwitness.index.filters import Filters
from pgwitness.review.health import RecorderHealth, recorder_health
from pgwitness.web.chart import Chart, chart
from pgwitness.web.live import live_sessions
from pgwitness.web.readings import note, note_part
from pgwitness.web.rendering import render
from pgwitness.web.showing import Row, row_of
from pgwitness.web.viewer import page_router
from pgwitness.web.watching import counting

SHOWN: Final = 8
"""Lines of each list."""

router = page_router(May.read)


@dataclass(frozen=True, slots=True)
class Span:
    name: str
    words: str
    length: timedelta
    step: timedelta

    @property
    def buckets(self) -> int:
        return self.length // self.step


SPANS: Final = {
    each.name: each
    for each in (
        Span("1h", "last hour", timedelta(hours=1), timedelta(minutes=1)),
        Span("24h", "last 24 hours", timedelta(hours=24), timedelta(minutes=15)),
        Span("7d", "last 7 days", timedelta(days=7), timedelta(hours=2)),
    )
}


@router.get("/")
def overview(request: Request, services: ServicesHere, reader: ReaderHere, span: str = "1h") -> Response:
    chosen = _span(span)
    note(request, reader, "overview", "all sessions")
    return render(request, "overview.html", spans=SPANS.values(), **_contents(services, reader, chosen))


@router.get("/fragments/overview")
def renewed(request: Request, services: ServicesHere, reader: ReaderHere, span: str = "1h") -> Response:
    chosen = _span(span)
    note_part(request, reader, "overview", "all sessions")
    return render(request, "fragments/overview.html", **_contents(services, reader, chosen))


def _span(name: str) -> Span:
    return SPANS.get(name, SPANS["1h"])


def _contents(services: Services, reader: Reader, span: Span) -> dict[str, Any]:
    now = datetime.now(UTC)
    since, until = _slots(now, span)
    filters = reader.restrict(Filters(since=since))
    return {
        "now": now,
        "span": span,
        "live": live_sessions(services, reader),
        "chart": _chart(services, filters, since, until, span),
        "writes": [row_of(each) for each in services.index.largest_writes(filters, SHOWN)],
        "errors": _errors(services, filters),
        "findings": _findings(services, reader),
        "health": _health(services, reader),
    }


def _slots(now: datetime, span: Span) -> tuple[datetime, datetime]:
    """Whole slots of time, the last of which has not ended: bars grow, and do not move with every look."""
    step = span.step.total_seconds()
    until = datetime.fromtimestamp((now.timestamp() // step + 1) * step, UTC)
    return until - span.length, until


def _chart(services: Services, filters: Filters, since: datetime, until: datetime, span: Span) -> Chart:
    activity = services.index.activity(since, until, span.buckets, filters.scope)
    return chart(activity, since, until, span.buckets)


def _errors(services: Services, filters: Filters) -> list[Row]:
    """The newest first."""
    failed = services.index.statements(replace(filters, status="error"), limit=SHOWN, newest=True)
    return [row_of(each) for each in reversed(failed.items)]


def _findings(services: Services, reader: Reader) -> list[dict[str, Any]] | None:
    """Those that count; None for who may not know of them."""
    if not reader.may("auditor"):
        return None
    return counting(services, reader)


def _health(services: Services, reader: Reader) -> RecorderHealth | None:
    if not (reader.may("auditor") and reader.sees_all):
        return None
    return recorder_health(services.settings.state, sealing=services.settings.seal.enabled)
