"""Passwords that stay beside PostgreSQL: named by variable or file, for all connections or for one.

A file is read for each log-in, so that a rotated password counts at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pgwitness.catalog.models import Secret
from pgwitness.catalog.names import is_name
from pgwitness.errors import InvalidError


class Credentials:
    """``password`` of a connection that the gateway sent none for."""

    def __init__(
        self, variables: Sequence[str], files: Sequence[str], environment: Mapping[str, str] = os.environ
    ) -> None:
        """Each is ``[CONNECTION=]NAME``. Raises InvalidError, also for what is not there now."""
        self._sources: dict[str | None, Callable[[], str]] = {}
        for text in variables:
            connection, variable = _split(text)
            if variable not in environment:
                raise InvalidError(f"the environment variable {variable} of --password-env is not set")
            self._add(connection, partial(environment.__getitem__, variable))
        for text in files:
            connection, path = _split(text)
            _read(Path(path))
            self._add(connection, partial(_read, Path(path)))

    def password(self, connection: str) -> Secret | None:
        """The connection's own, or the one for all; None if there is neither. Revealing it may raise
        InvalidError."""
        source = self._sources.get(connection) or self._sources.get(None)
        return Secret(source) if source is not None else None

    def _add(self, connection: str | None, source: Callable[[], str]) -> None:
        if connection in self._sources:
            whom = f"connection {connection!r}" if connection else "all connections"
            raise InvalidError(f"two passwords are given for {whom}", hint="one connection has one password")
        self._sources[connection] = source


def _split(text: str) -> tuple[str | None, str]:
    name, equals, rest = text.partition("=")
    if equals and is_name(name):
        return name, rest
    return None, text


def _read(path: Path) -> str:
    try:
        return path.expanduser().read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n")
    except OSError as error:
        raise InvalidError(f"cannot read the password file {path}: {error.strerror}") from None
