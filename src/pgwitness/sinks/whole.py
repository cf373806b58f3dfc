"""A whole session as a file of OCSF events or of OpenTelemetry's requests: by the mappings of sinks, and
under the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, SessionDetail
from pgwitness.sinks.feed import SESSION_EVENTS
from pgwitness.sinks.forms import form, lines
from pgwitness.sinks.items import Discretion, Item, Who, event_item, session_items, statement_item
from pgwitness.sinks.otlp import requests


def session_as_items(index: IndexReader, found: SessionDetail) -> Iterator[Item]:
    """Its start, statements, events and end, with everything that the index has."""
    who = Who.of(found.session, found.header)
    start, end = session_items(who)
    yield start
    for statement in index.iterate(Filters(session=who.session.session)):
        final = statement.transaction.outcome != "open"
        yield statement_item(who, statement, _EVERYTHING, final=final)
    yield from _events(who, found.events)
    if end is not None:
        yield end


_EVERYTHING = Discretion(longest=1 << 31)
_TOGETHER = 200


def _events(who: Who, events: list[dict[str, Any]]) -> Iterator[Item]:
    position, ordinal = -1, 0
    for event in events:
        # Numbered as the index does: within one frame.
        ordinal = ordinal + 1 if event["position"] == position else 1
        position = event["position"]
        if event.get("event") in SESSION_EVENTS:
            said = {name: value for name, value in event.items() if name not in ("at", "position")}
            yield event_item(who, position, ordinal, event["at"], said)


def as_ocsf(items: Iterable[Item]) -> Iterator[bytes]:
    """An event a line."""
    form_of = form("ocsf")
    for item in items:
        yield lines([item], form_of)


def as_otlp(items: Iterable[Item]) -> Iterator[bytes]:
    """An export request a line, traces or logs, as a collector's own files have them: some hundred items
    each."""
    waiting = iter(items)
    while some := [*islice(waiting, _TOGETHER)]:
        for request in requests(some, ("traces", "logs")):
            if request is not None:
                yield msgspec.json.encode(request) + b"\n"
