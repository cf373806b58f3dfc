"""Bringing the index up to date in this process: when no gateway runs, and to rebuild it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def catch_up(state: Path) -> None:
    """Index what the tape has more than the index, unless an indexer runs. Returns at once when there is nothing."""
    raise NotImplementedError


def rebuild(state: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """A new index from the whole tape, put in the place of the old one, also while a gateway runs."""
    raise NotImplementedError
