"""Noting that somebody reads a session in pages: once for what is one reading.

Opening a page is noted each time. What the page then loads piece by piece (further rows, a chosen statement)
belongs to that reading, and is noted again only when ``AGAIN_SECONDS`` have passed: an audit of one line a
key press would hide what it tells.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any, Final

from fastapi import Request

from pgwitness.api import review
from pgwitness.api.access import Reader
from pgwitness.api.services import Services
from pgwitness.index.filters import Filters

AGAIN_SECONDS: Final = 600.0
_REMEMBERED: Final = 10_000


class Readings:
    """Who read what lately. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: OrderedDict[tuple[Any, ...], float] = OrderedDict()

    def recent(self, reading: tuple[Any, ...]) -> bool:
        with self._lock:
            noted = self._noted.get(reading)
        return noted is not None and time.monotonic() - noted < AGAIN_SECONDS

    def remember(self, reading: tuple[Any, ...]) -> None:
        with self._lock:
            self._noted[reading] = time.monotonic()
            self._noted.move_to_end(reading)
            while len(self._noted) > _REMEMBERED:
                self._noted.popitem(last=False)


def note(request: Request, reader: Reader, action: str, session: str, **details: Any) -> None:
    """A page of a session's content was asked for. Raises UnavailableError."""
    services: Services = request.app.state.services
    services.note_reading(reader.actor, action, session, **details)
    _readings(request).remember(_key(reader, action, session, details))


def note_part(request: Request, reader: Reader, action: str, session: str, **details: Any) -> None:
    """A piece of such a page was asked for: noted unless that reading is on record already. Raises
    UnavailableError."""
    if not _readings(request).recent(_key(reader, action, session, details)):
        note(request, reader, action, session, **details)


def note_listing(
    request: Request, reader: Reader, action: str, filters: Filters, *, part: bool, **asked: str
) -> None:
    """What these filters find is told. ``asked`` are their texts: another one to look for is another reading,
    and a list that renews itself is one. Raises NotFoundError, ConflictError, UnavailableError."""
    key = _key(reader, action, "", asked)
    if part and _readings(request).recent(key):
        return
    review.note_listing(request.app.state.services, reader.actor, filters, action=action)
    _readings(request).remember(key)


def _key(reader: Reader, action: str, session: str, details: dict[str, Any]) -> tuple[Any, ...]:
    return reader.actor, action, session, tuple(sorted(details.items()))


def _readings(request: Request) -> Readings:
    state = request.app.state
    found: Readings | None = getattr(state, "readings", None)
    if found is None:
        found = state.readings = Readings()
    return found
