"""Where a page leads when something is done: to a path of this site and nowhere else."""

from __future__ import annotations


def within(path: str, otherwise: str = "/") -> str:
    """The path that a form or an address named, if it is one of this site; a browser reads ``//x`` and
    ``/\\x`` as other sites."""
    plain = path.startswith("/") and path[1:2] not in ("/", "\\") and path.isprintable()
    return path if plain else otherwise
