"""What the API works with: handed to it by the gateway, or opened on a state directory where no gateway
runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from pgwitness.api.verifying import Verifications
from pgwitness.catalog.findings import Kind
from pgwitness.catalog.models import Secret
from pgwitness.catalog.outbox import Outbox
from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog
from pgwitness.config import Settings
from pgwitness.errors import UnavailableError
from pgwitness.identity.directory import Directory
from pgwitness.identity.tokens import redacted
from pgwitness.index.store import IndexReader

_log = logging.getLogger(__name__)

READ = "read."
"""How the actions of readers begin."""


class LiveSessions(Protocol):
    """The sessions that a running gateway holds. Its methods may be called from any thread."""

    def list(self) -> list[dict[str, Any]]:
        """Each with its id under ``session``."""

    def kill(self, session_id: str, by: str) -> bool:
        """End a session, in the name of ``by``; False if there is none of that id."""


class OnlineConnectors(Protocol):
    """The connectors that a running gateway talks to. May be called from any thread."""

    def describe(self) -> list[dict[str, Any]]:
        """Each: ``connector``, ``address``, ``software``, ``allow``, ``online_since``, ``draining``,
        ``sessions``."""


class Watch(Protocol):
    """The watch of a running gateway. May be called from any thread but the event loop's."""

    def look(self, name: str, *, through: str | None = None, parts: Collection[Kind] = ...) -> dict[str, Any]:
        """Look at a connection now. Raises NotFoundError, InvalidError, UnavailableError."""

    def status(self, name: str) -> dict[str, Any] | None:
        """How the background check of it goes; None if there is none."""


@dataclass
class Services:
    """Shared by the applications of one process."""

    settings: Settings
    catalog: Catalog
    directory: Directory
    index: IndexReader
    live: LiveSessions | None = None
    """None: no gateway runs in this process."""
    online: OnlineConnectors | None = None
    """None: as for ``live``."""
    watch: Watch | None = None
    """None: as for ``live``."""
    record_event: Callable[[dict[str, Any]], None] | None = None
    """Puts an event of the gateway on the tape: the tape tells who administered and read what. None: the next
    gateway on this state directory does."""
    postgres_address: tuple[str, int] | None = None
    """Where the gateway serves PostgreSQL clients."""
    verifications: Verifications = field(init=False)

    def __post_init__(self) -> None:
        self.verifications = Verifications(self.settings.state)
        outbox = Outbox(self.settings.state)
        self._record = self.record_event or outbox.put
        self.catalog.observe(self._record_deed)
        if self.record_event is not None:
            try:
                outbox.deliver(self.record_event)
            except OSError as error:
                _log.error("what was done without a gateway is not on the tape yet: %s", error)

    def note_reading(self, actor: str, action: str, subject: str, **details: Any) -> None:
        """Have it on record that somebody reads a session's content, before they get it. Raises
        UnavailableError: who cannot be recorded reads nothing.
        """
        # Somebody may have put a token where a name belongs, and this is never erased.
        told = {name: redacted(value) if isinstance(value, str) else value for name, value in details.items()}
        try:
            self.catalog.log(actor, READ + action, redacted(subject), **told)
        except OSError as error:
            raise UnavailableError(
                f"the record cannot note who reads it, so it is not shown: {error}",
                hint="make room on the disk of the state directory",
            ) from None

    def _record_deed(self, deed: dict[str, Any]) -> None:
        """A change is made and in the audit by now, so that a tape which refuses must not make it look
        undone. A reading has yet to begin.
        """
        if deed["action"].startswith(READ):
            self._record({"event": "record_read", **deed})
            return
        try:
            self._record({"event": "administered", **deed})
        except OSError as error:
            _log.error("an administrative change is in the audit, but not on the tape: %s", error)

    def close(self) -> None:
        self.verifications.close()
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
