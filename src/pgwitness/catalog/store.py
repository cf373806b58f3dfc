"""The catalog as one thing: open it, ask its parts, close it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from pgwitness.catalog.accounts import Accounts
from pgwitness.catalog.connections import Connections
from pgwitness.catalog.connectors import Connectors
from pgwitness.catalog.database import Database
from pgwitness.catalog.findings import Findings
from pgwitness.catalog.identities import Identities
from pgwitness.catalog.keeping import Keeping
from pgwitness.catalog.models import AuditEntry
from pgwitness.catalog.secrets import SecretBox
from pgwitness.catalog.tables import AuditRow
from pgwitness.catalog.tokens import Tokens


class Catalog:
    """Connections, connectors, identities, tokens and the audit of their changes, in one database.

    Every method is synchronous, may be called from any thread, and sees what other processes changed. What
    changes a decision takes an ``actor``, in words for the audit.
    """

    def __init__(self, url: str, box: SecretBox) -> None:
        """Raises InvalidError for the URL, UnavailableError if the database cannot be opened."""
        self._database = Database(url)
        self.box = box
        self.connections = Connections(self._database, box)
        self.connectors = Connectors(self._database)
        self.identities = Identities(self._database, box)
        self.tokens = Tokens(self._database)
        self.accounts = Accounts(self._database)
        self.findings = Findings(self._database)
        self.keeping = Keeping(self._database)

    def revision(self) -> int:
        """Another number whenever something was decided since."""
        return self._database.revision()

    def observe(self, observer: Callable[[dict[str, Any]], None]) -> None:
        """Have it told of every change and act of this process, after it is in the audit: actor, action,
        subject, details.
        """
        self._database.observer = observer

    def log(self, actor: str, action: str, subject: str, **details: Any) -> None:
        """Put an act into the audit that changes nothing in the catalog: administration, or a reading."""
        entry = {"actor": actor, "action": action, "subject": subject, "details": details}
        with self._database.write() as session:
            session.add(AuditRow(at=datetime.now(UTC), **entry))
        if self._database.observer is not None:
            self._database.observer(entry)

    def audit(
        self, *, limit: int = 100, before: int | None = None, action: str = "", subject: str | None = None
    ) -> list[AuditEntry]:
        """The newest entries first; ``before`` an entry's id goes on from there. ``action`` is a head of what
        was done, ``subject`` to what."""
        statement = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if action:
            statement = statement.where(AuditRow.action.startswith(action, autoescape=True))
        if subject is not None:
            statement = statement.where(AuditRow.subject == subject)
        if before is not None:
            statement = statement.where(AuditRow.id < before)
        with self._database.read() as session:
            return [
                AuditEntry(
                    id=row.id,
                    at=row.at,
                    actor=row.actor,
                    action=row.action,
                    subject=row.subject,
                    details=row.details,
                )
                for row in session.scalars(statement)
            ]

    def close(self) -> None:
        self._database.close()
