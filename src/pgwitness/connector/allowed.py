"""What this connector dials, whatever the gateway asks (``--allow``, docs/tunnel.md)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from pgwitness.errors import InvalidError

ANY: Final = "any"
HERE: Final = ("localhost", "127.0.0.1", "::1")
"""Without ``--allow``: this machine, by TCP and by Unix sockets."""


class Allowed:
    """``permits`` is asked for each host as it is registered, before anything is resolved."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Each: ``HOST``, ``HOST:PORT``, the directory of a Unix socket, or ``any``. Raises InvalidError."""
        self._any = ANY in entries
        self._unix = not entries
        self._pairs = {_pair(entry) for entry in entries or HERE}
        self.entries = list(entries) or [*HERE, "unix"]
        """For people."""

    def permits(self, host: str, port: int) -> bool:
        if not host or "," in host:
            return False  # libpq's sign for several hosts: each of them is to be asked about
        if self._any or (self._unix and _is_unix(host)):
            return True
        known = _normal(host)
        return (known, None) in self._pairs or (known, port) in self._pairs


def _pair(entry: str) -> tuple[str, int | None]:
    """Host, and port if there is one. An IPv6 address has brackets where a port follows."""
    host, colon, port = entry.rpartition(":")
    if _is_unix(entry) or not colon or entry.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = entry, "any"
    number = None if port == "any" else int(port) if port.isascii() and port.isdigit() else 0
    if not host or (number is not None and not 0 < number <= 65535):
        raise InvalidError(
            f"{entry!r} is not a host that could be allowed",
            hint="HOST, HOST:PORT, [ADDRESS]:PORT, the directory of a Unix socket, or any",
        )
    return _normal(host), number


def _is_unix(host: str) -> bool:
    return host.startswith(("/", "@"))


def _normal(host: str) -> str:
    if _is_unix(host):
        return host.rstrip("/") or "/"
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.lower().rstrip(".")
