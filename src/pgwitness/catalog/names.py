"""What names of connections, identities and connectors may look like, checked in one place.

Names travel as the user and the database of a connection string, as part of a URL's path and in tables
for people, so they are plain: nothing to quote, escape or mistake.
"""

import re

from pgwitness.catalog.models import ANY, Names
from pgwitness.errors import InvalidError

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
NONE = "none"
"""In the place of a list of connectors: the gateway dials itself."""
INTERNAL_PREFIX = "pgwitness-"
"""Identities of pgwitness itself, such as the one of ``connection check``, and the name of the gateway."""

_NAME = re.compile(NAME_PATTERN, re.ASCII)


def is_name(text: str) -> bool:
    """Whether anything could have that name: strangers send what they like, also what no database takes."""
    return _NAME.fullmatch(text) is not None


def check_name(kind: str, name: str) -> str:
    """The name, if a new ``kind`` (connection, identity, connector) may have it. Raises InvalidError."""
    if not is_name(name):
        raise InvalidError(
            f"{name[:80]!r} cannot be the name of {_article(kind)} {kind}",
            hint="a name has up to 63 characters: letters, digits, '.', '_' and '-'; "
            "the first is a letter or a digit",
        )
    if name.lower() == ANY:
        raise InvalidError(f"{name!r} cannot be the name of {_article(kind)} {kind}: it means all of them")
    if kind == "connector" and name.lower() == NONE:
        raise InvalidError(f"{name!r} cannot be the name of a connector: it means no connector")
    if kind in ("identity", "connector") and name.startswith(INTERNAL_PREFIX):
        raise InvalidError(f"names that start with {INTERNAL_PREFIX!r} belong to pgwitness itself")
    return name


def check_database(name: str) -> str:
    """The name, if PostgreSQL could have a database of that name. Raises InvalidError."""
    if not name or len(name.encode()) > 63 or any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise InvalidError(
            f"{name[:80]!r} cannot be the name of a database",
            hint="it has 1 to 63 bytes and no control characters",
        )
    return name


def parse_names(text: str) -> Names:
    """``A,B`` or ``any``. Blanks around names and empty parts do not count."""
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    return ANY if parts == (ANY,) else parts


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"
