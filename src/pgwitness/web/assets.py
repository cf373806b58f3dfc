"""What pages load besides themselves: style sheet, scripts, htmx. All of it is in the package, none is
secret.

An address carries the hash of the content (``asset``), so a browser may keep it for ever and still gets a new
version at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response

from pgwitness.errors import NotFoundError

DIRECTORY: Final = Path(__file__).parent / "static"
PREFIX: Final = "/static/"

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str
    version: str


@cache
def assets() -> dict[str, Asset]:
    """By name. They are read once: a running gateway serves the files that it came with."""
    return {path.name: _read(path) for path in DIRECTORY.iterdir() if path.suffix in _TYPES}


def asset(name: str) -> str:
    """The address of a file in ``static/``."""
    return f"{PREFIX}{name}?v={assets()[name].version}"


@router.get(PREFIX + "{name}")
def static(name: str, v: str = "") -> Response:
    found = assets().get(name)
    if found is None:
        raise NotFoundError(f"there is nothing at {PREFIX}{name}")
    keep = _FOR_EVER if v == found.version else _ASK_AGAIN
    return Response(found.content, media_type=found.media_type, headers={"Cache-Control": keep})


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:12])
