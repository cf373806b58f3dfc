"""The sessions that are open now, as far as a reader may see them."""

from __future__ import annotations

from typing import Any

from pgwitness.api.access import Reader
from pgwitness.api.services import Services


def live_sessions(services: Services, reader: Reader) -> list[dict[str, Any]]:
    """As the running gateway describes them, the oldest first; none where no gateway runs."""
    if services.live is None:
        return []
    own = reader.identity if reader.role == "own" else None
    return [
        each
        for each in services.live.list()
        if reader.reaches(each["connection"]) and own in (None, each["identity"])
    ]


def live_ids(services: Services, reader: Reader) -> frozenset[str]:
    return frozenset(str(each["session"]) for each in live_sessions(services, reader))
