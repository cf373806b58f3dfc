"""How far the index is, and whether anything on the tape could not be read."""

from pathlib import Path
from typing import Any


def index_status(state: Path) -> dict[str, Any]:
    """``schema``, ``pid`` of the indexer, ``position``, ``lag_bytes``, ``lag_seconds``, ``sessions``, ``statements``, ``problems``."""
    raise NotImplementedError
