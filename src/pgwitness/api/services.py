"""What the API works with: handed to it by the gateway, or opened on a state directory where no gateway
runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pgwitness.catalog.models import Secret
from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog
from pgwitness.config import Settings
from pgwitness.identity.directory import Directory
from pgwitness.index.store import IndexReader

_log = logging.getLogger(__name__)


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
    """Puts an event of the gateway on the tape. Then the tape also tells who administered what."""
    postgres_address: tuple[str, int] | None = None
    """Where the gateway serves PostgreSQL clients."""

    def __post_init__(self) -> None:
        if self.record_event is not None:
            self.catalog.observe(self._record_change)

    def _record_change(self, change: dict[str, Any]) -> None:
        """The change is made and in the audit by now, so that a tape which refuses must not make it
        look undone.
        """
        assert self.record_event is not None
        try:
            self.record_event({"event": "administered", **change})
        except OSError as error:
            _log.error("an administrative change is in the audit, but not on the tape: %s", error)

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
