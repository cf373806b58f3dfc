"""What people read in a terminal: the words of ``review.text``, and those of tables and remarks."""

from __future__ import annotations

from typing import Any

from pgwitness.review.text import (
    clock,
    count,
    counted,
    duration,
    ending,
    lasted,
    one_line,
    seconds_between,
    short,
    visible,
)

__all__ = [
    "behind",
    "clock",
    "count",
    "counted",
    "duration",
    "ending",
    "lasted",
    "limited",
    "one_line",
    "seconds_between",
    "short",
    "visible",
]


def limited(which: str, number: int) -> str:
    """What a table says when there is more."""
    these = f"This is the {which} one" if number == 1 else f"These are the {which} {number}"
    return f"{these}. --limit shows more, --since and --until choose a time."


def behind(document: dict[str, Any]) -> str:
    """How far the tape is ahead of what follows it."""
    size, seconds = document["lag_bytes"], document["lag_seconds"]
    return f"{size:,} bytes, {duration(int(seconds * 1_000_000))}" if size else "nothing"
