"""What the API works with: handed to it by the gateway, or opened on a state directory where no gateway
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pgwitness.catalog.models import Secret
from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog
from pgwitness.config import Settings
from pgwitness.identity.directory import Directory
from pgwitness.index.store import IndexReader


class LiveSessions(Protocol):
    """The sessions that a running gateway holds. Its methods may be called from any thread."""

    def list(self) -> list[dict[str, Any]]:
        """Each with its id under ``session``."""

    def kill(self, session_id: str, by: str) -> bool:
        """End a session, in the name of ``by``; False if there is none of that id."""


@dataclass
class Services:
    """Shared by the applications of one process."""

    settings: Settings
    catalog: Catalog
    directory: Directory
    index: IndexReader
    live: LiveSessions | None = None
    """None: no gateway runs in this process."""
    record_event: Callable[[dict[str, Any]], None] | None = None
    """Puts an event of the gateway on the tape."""
    postgres_address: tuple[str, int] | None = None
    """Where the gateway serves PostgreSQL clients."""

    def close(self) -> None:
        self.directory.close()
        self.catalog.close()
        self.index.close()


def open_catalog(settings: Settings) -> Catalog:
    """The catalog of these settings, made if need be. Raises InvalidError, UnavailableError."""
    key = settings.secret_key
    settings.prepare_state()
    box = open_box(None if key is None else Secret(key.get_secret_value()), settings.key_file)
    return Catalog(settings.catalog_location, box)


def open_services(settings: Settings) -> Services:
    """Services on a state directory. Raises InvalidError, UnavailableError."""
    catalog = open_catalog(settings)
    return Services(settings, catalog, Directory(catalog), IndexReader(settings.state))
