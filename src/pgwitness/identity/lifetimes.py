"""Lifetimes as people write them: ``90d``, ``12h``, ``30m``, ``45s``, ``2w``, ``never``."""

import re
from datetime import timedelta

from pgwitness.errors import InvalidError

NEVER = "never"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LIFETIME = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_LONGEST = 100 * 365 * 86400


def parse_lifetime(text: str) -> timedelta | None:
    """None for ``never``. Raises InvalidError."""
    if text == NEVER:
        return None
    match = _LIFETIME.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST:
        raise InvalidError(f"{text[:40]!r} is not a lifetime", hint="for example 90d, 12h, 30m or never")
    return timedelta(seconds=seconds)
