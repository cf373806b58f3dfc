"""The blast radius as a picture: a bar for each table and command, committed beside not committed.

Lengths are logarithmic and in percent; every bar has its number beside it, so the picture only orders them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Any, Final, Literal

BARS: Final = 24
"""More are in the table."""
_SHORTEST: Final = 1.5
_LONGEST: Final = 100.0

Fate = Literal["committed", "rolled_back", "open", "in_doubt"]


@dataclass(frozen=True, slots=True)
class Bar:
    table: str
    command: str
    fate: Fate
    rows: int
    length: float
    link: dict[str, str | None]
    """Filters under which the statements behind it are found."""


def bars(document: dict[str, Any]) -> list[Bar]:
    """The longest first: what was committed, and what was not."""
    entries: list[tuple[Fate, dict[str, Any]]] = [("committed", each) for each in document["writes"]]
    entries += [(each["outcome"], each) for each in document["not_committed"]]
    most = max((each["rows"] for _, each in entries), default=0)
    found = [
        Bar(
            str(each["table"] or "unknown"),
            str(each["command"]),
            fate,
            each["rows"],
            _length(each["rows"], most),
            link(each, fate),
        )
        for fate, each in entries
        if each["rows"]
    ]
    return sorted(found, key=lambda bar: (-bar.rows, bar.fate != "committed", bar.table))[:BARS]


def link(entry: dict[str, Any], outcome: str | None) -> dict[str, str | None]:
    """Filters of the statements behind an entry, to be added to those of the scope."""
    return {
        "table": entry["table"],
        "command": entry.get("command"),
        "outcome": outcome,
        "connection": entry.get("connection"),
    }


def _length(rows: int, most: int) -> float:
    return round(_SHORTEST + (_LONGEST - _SHORTEST) * log10(rows + 1) / log10(most + 1), 2)
