"""The ways through the site: one table, from which each viewer gets what they may open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pgwitness.api.access import Reader, Role


@dataclass(frozen=True, slots=True)
class Place:
    path: str
    title: str
    role: Role
    everything: bool = False
    """Only for who is not narrowed to connections."""

    def open_to(self, viewer: Reader) -> bool:
        return viewer.may(self.role) and (viewer.sees_all or not self.everything)


@dataclass(frozen=True, slots=True)
class Way:
    place: Place
    here: bool


GROUPS: Final = (
    (
        "Record",
        (
            Place("/", "Overview", "own"),
            Place("/sessions", "Sessions", "own"),
            Place("/search", "Search", "own"),
            Place("/blast", "Blast radius", "own"),
        ),
    ),
    (
        "Proof",
        (
            Place("/record", "Verification", "auditor", True),
            Place("/watch", "Watch", "auditor"),
            Place("/audit", "Audit", "auditor", True),
        ),
    ),
    (
        "Access",
        (
            Place("/connections", "Connections", "auditor"),
            Place("/connectors", "Connectors", "auditor", True),
            Place("/identities", "Identities", "auditor", True),
        ),
    ),
)


def navigation(viewer: Reader | None, path: str) -> list[tuple[str, list[Way]]]:
    """Titles of groups with their ways, those open to this viewer."""
    if viewer is None:
        return []
    open_to = [
        (title, [Way(place, _here(place, path)) for place in places if place.open_to(viewer)])
        for title, places in GROUPS
    ]
    return [(title, ways) for title, ways in open_to if ways]


def _here(place: Place, path: str) -> bool:
    return path == place.path or (place.path != "/" and path.startswith(f"{place.path}/"))
