"""Registered connections: added, changed, removed and looked up, with their secrets encrypted."""

from __future__ import annotations

import builtins
import secrets as random
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pgwitness.catalog.checks import check_connection
from pgwitness.catalog.connectors import check_connectors
from pgwitness.catalog.database import Database
from pgwitness.catalog.models import ANY, Connection, Names, Secret
from pgwitness.catalog.names import check_name
from pgwitness.catalog.secrets import SecretBox
from pgwitness.catalog.tables import ConnectionRow
from pgwitness.errors import ConflictError, InvalidError, NotFoundError, UnavailableError

DEFAULTS: dict[str, Any] = {
    "port": "5432",
    "password": None,
    "sslmode": "prefer",
    "sslrootcert": None,
    "sslcert": None,
    "sslkey": None,
    "connect_timeout": None,
    "also_databases": (),
    "results": None,
    "replication": False,
    "connectors": (),
}
FIELDS = frozenset({"host", "database", "user", *DEFAULTS})
_ENCRYPTED = frozenset({"password", "sslkey"})


class Connections:
    """What the catalog knows of PostgreSQL servers."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    def add(self, name: str, fields: Mapping[str, Any], *, actor: str) -> Connection:
        """Register. ``fields`` are Connection's, ``DEFAULTS`` for those not given. Raises InvalidError,
        ConflictError, and NotFoundError for a connector that does not exist."""
        check_name("connection", name)
        missing = {"host", "database", "user"} - fields.keys()
        if missing:
            raise InvalidError(f"a connection needs {', '.join(sorted(missing))}")
        values = check_connection(DEFAULTS | self._known(fields), FIELDS)
        try:
            with self._database.change(actor) as change:
                row = ConnectionRow(id=random.token_hex(8), name=name, created_at=change.at)
                check_connectors(change.session, values["connectors"])
                self._fill(row, values)
                change.session.add(row)
                change.log("connection.add", name, **_told({field: values[field] for field in fields}))
        except IntegrityError:
            raise ConflictError(
                f"there is a connection {name!r} already",
                hint=f"change it with: pgwitness connection update {name}",
            ) from None
        return self._value(row)

    def update(self, name: str, fields: Mapping[str, Any], *, actor: str) -> Connection:
        """Change only what ``fields`` name. Raises InvalidError, NotFoundError."""
        changed = self._known(fields)
        if not changed:
            raise InvalidError(
                "nothing to change", hint="pgwitness connection update --help lists what can be"
            )
        with self._database.change(actor) as change:
            row = _row(change.session, name)
            before = {field: getattr(self._value(row), field) for field in FIELDS}
            values = check_connection(before | changed, changed.keys())
            check_connectors(change.session, changed.get("connectors", ()))
            self._fill(row, {field: values[field] for field in changed})
            change.log("connection.update", name, **_told({field: values[field] for field in changed}))
        return self._value(row)

    def remove(self, name: str, *, actor: str) -> None:
        """Forget it, with its grants. What was recorded through it stays. Raises NotFoundError."""
        with self._database.change(actor) as change:
            change.session.delete(_row(change.session, name))
            change.log("connection.remove", name)

    def get(self, name: str) -> Connection:
        """Raises NotFoundError."""
        with self._database.read() as session:
            return self._value(_row(session, name))

    def find(self, name: str) -> Connection | None:
        with self._database.read() as session:
            row = session.scalar(select(ConnectionRow).where(ConnectionRow.name == name))
            return None if row is None else self._value(row)

    def list(self) -> list[Connection]:
        with self._database.read() as session:
            return [
                self._value(row)
                for row in session.scalars(select(ConnectionRow).order_by(ConnectionRow.name))
            ]

    def locked(self) -> builtins.list[str]:
        """Names of those whose secrets were encrypted under another key than the one at hand."""
        return [each.name for each in self.list() if not (_opens(each.password) and _opens(each.sslkey))]

    def _known(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        unknown = fields.keys() - FIELDS
        if unknown:
            raise InvalidError(f"a connection has no {', '.join(sorted(unknown))}")
        return dict(fields)

    def _fill(self, row: ConnectionRow, values: Mapping[str, Any]) -> None:
        for field, value in values.items():
            if field in _ENCRYPTED:
                value = None if value is None else self._box.encrypt(value)
            elif field in ("also_databases", "connectors") and value != ANY:
                value = list(dict.fromkeys(value))
            setattr(row, "username" if field == "user" else field, value)

    def _value(self, row: ConnectionRow) -> Connection:
        return Connection(
            id=row.id,
            name=row.name,
            host=row.host,
            port=row.port,
            database=row.database,
            user=row.username,
            password=self._secret(row.password),
            sslmode=row.sslmode,  # type: ignore[arg-type]  # checked when it was stored
            sslrootcert=row.sslrootcert,
            sslcert=row.sslcert,
            sslkey=self._secret(row.sslkey),
            connect_timeout=row.connect_timeout,
            also_databases=_names(row.also_databases),
            results=row.results,
            replication=row.replication,
            connectors=tuple(row.connectors),
            created_at=row.created_at,
        )

    def _secret(self, ciphertext: str | None) -> Secret | None:
        """Decrypted when it is needed: without the right key a connection can still be listed and mended."""
        return None if ciphertext is None else Secret(lambda: self._box.decrypt(ciphertext))


def _row(session: Session, name: str) -> ConnectionRow:
    row = session.scalar(select(ConnectionRow).where(ConnectionRow.name == name))
    if row is None:
        raise NotFoundError(
            f"there is no connection {name!r}", hint="pgwitness connection list shows those there are"
        )
    return row


def _opens(secret: Secret | None) -> bool:
    try:
        if secret is not None:
            secret.reveal()
    except UnavailableError:
        return False
    return True


def _names(stored: Any) -> Names:
    return ANY if stored == ANY else tuple(stored)


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit: whether a secret or a certificate is set, everything else as it is."""
    told: dict[str, Any] = {}
    for field, value in sorted(values.items()):
        if isinstance(value, Secret | bytes):
            told[field] = "set"
        else:
            told[field] = list(value) if isinstance(value, tuple) else value
    return told
