"""What one look came to: what it found, and what it could not see."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Final

from pgwitness.catalog.findings import Found, Kind

PARTS: Final[tuple[Kind, ...]] = ("session", "statements", "route", "feature")


@dataclass(slots=True)
class Report:
    """Of one look at one server."""

    found: list[Found] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    """What could not be seen, and what to do about it: one sentence each."""

    unseen: set[str] = field(default_factory=set)
    """Heads of keys: what of these is not found may still be there."""

    def add(self, found: Found) -> None:
        self.found.append(found)

    def limit(self, text: str, *unseen: str) -> None:
        self.unseen.update(unseen)
        if text not in self.limits:
            self.limits.append(text)


def key(kind: Kind, topic: str, *parts: Any) -> str:
    """Stable, short enough to be typed, and as good as unique."""
    head = f"{kind}-{topic}" if topic else kind
    if not parts:
        return head
    if len(parts) == 1 and _PLAIN.fullmatch(str(parts[0])):
        return f"{head}-{parts[0]}"
    text = "\0".join("" if part is None else str(part) for part in parts)
    return f"{head}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


_PLAIN: Final = re.compile("[a-z0-9_]{1,40}")
