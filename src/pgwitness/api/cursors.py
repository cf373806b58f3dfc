"""Cursors of the catalog's listings. Those of the index are its own."""

from __future__ import annotations

from pgwitness.errors import InvalidError

_MOST = 2**63 - 1


def parse_cursor(text: str | None) -> int | None:
    """Of a listing that goes by number. Raises InvalidError."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _MOST:
        raise InvalidError("this cursor is none that a listing gave")
    return int(text)
