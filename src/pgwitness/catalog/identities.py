"""Identities and their grants: added, disabled, granted and looked up."""

from __future__ import annotations

import secrets as random
from collections.abc import Iterable
from contextlib import suppress
from typing import get_args

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from pgwitness.catalog.database import Change, Database
from pgwitness.catalog.models import ANY, Identity, IdentityKind, Names
from pgwitness.catalog.names import check_name
from pgwitness.catalog.secrets import SecretBox
from pgwitness.catalog.tables import ConnectionRow, IdentityRow
from pgwitness.errors import ConflictError, InvalidError, NotFoundError

SCRAM_ITERATIONS = (
    4096  # PostgreSQL's default; a token has 256 random bits, so stretching it further gains nothing
)


class Identities:
    """Who sessions may belong to, and which connections each may use."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    def add(
        self, name: str, *, actor: str, kind: IdentityKind = "service", connections: Names = ()
    ) -> Identity:
        """Raises InvalidError, ConflictError, and NotFoundError for a connection that does not exist."""
        check_name("identity", name)
        if kind not in get_args(IdentityKind):
            raise InvalidError(f"the kind of an identity is one of {', '.join(get_args(IdentityKind))}")
        return self._add(name, kind, connections, actor)

    def internal(self, name: str, connection: str, *, actor: str) -> Identity:
        """An identity of pgwitness itself, made if need be, that may use this connection."""
        try:
            found = self.get(name)
        except NotFoundError:
            with suppress(ConflictError):  # somebody else needed it at the same moment
                return self._add(name, "service", (connection,), actor)
            found = self.get(name)
        return found if connection in found.connections else self.grant(name, (connection,), actor=actor)

    def grant(self, name: str, connections: Names, *, actor: str) -> Identity:
        """Add to its grants; ANY grants all, also those to come. Raises NotFoundError."""
        _not_empty(connections)
        with self._database.change(actor) as change:
            row = _row(change.session, name)
            if connections == ANY:
                row.any_connection, row.granted = True, []
            elif not row.any_connection:
                known = {connection.id for connection in row.granted}
                added = connection_rows(change.session, connections)
                row.granted = [*row.granted, *(new for new in added if new.id not in known)]
            change.log("identity.grant", name, connections=_listed(connections))
            return _value(row)

    def revoke(self, name: str, connections: Names, *, actor: str) -> Identity:
        """Take from its grants; ANY takes all. Raises NotFoundError, and InvalidError for one of "any"."""
        _not_empty(connections)
        with self._database.change(actor) as change:
            row = _row(change.session, name)
            if connections == ANY:
                row.any_connection, row.granted = False, []
            elif row.any_connection:
                raise InvalidError(
                    f"identity {name!r} may use any connection, so no single one can be taken from it",
                    hint=f"pgwitness identity revoke {name} --connections any, then grant those it needs",
                )
            else:
                taken = {connection.id for connection in connection_rows(change.session, connections)}
                row.granted = [connection for connection in row.granted if connection.id not in taken]
            change.log("identity.revoke", name, connections=_listed(connections))
            return _value(row)

    def set_disabled(self, name: str, disabled: bool, *, actor: str) -> Identity:
        """Disabled, it cannot log in and its live sessions end. Raises NotFoundError."""
        with self._database.change(actor) as change:
            row = _row(change.session, name)
            row.disabled = disabled
            change.log("identity.disable" if disabled else "identity.enable", name)
            return _value(row)

    def get(self, name: str) -> Identity:
        """Raises NotFoundError."""
        with self._database.read() as session:
            return _value(_row(session, name))

    def list(self) -> list[Identity]:
        statement = select(IdentityRow).options(selectinload(IdentityRow.granted)).order_by(IdentityRow.name)
        with self._database.read() as session:
            return [_value(row) for row in session.scalars(statement)]

    def _add(self, name: str, kind: IdentityKind, connections: Names, actor: str) -> Identity:
        try:
            with self._database.change(actor) as change:
                row = self._new(change, name, kind, connections)
                change.log("identity.add", name, kind=kind, connections=_listed(connections))
                return _value(row)
        except IntegrityError:
            raise ConflictError(
                f"there is an identity {name!r} already", hint=f"pgwitness identity show {name}"
            ) from None

    def _new(self, change: Change, name: str, kind: IdentityKind, connections: Names) -> IdentityRow:
        row = IdentityRow(
            id=random.token_hex(8),
            name=name,
            kind=kind,
            disabled=False,
            any_connection=connections == ANY,
            salt=self._box.salt(name),
            iterations=SCRAM_ITERATIONS,
            created_at=change.at,
            granted=[] if connections == ANY else connection_rows(change.session, connections),
        )
        change.session.add(row)
        return row


def connection_rows(session: Session, names: Iterable[str]) -> list[ConnectionRow]:
    """The connections of these names. Raises NotFoundError that names the first that does not exist."""
    found = {
        row.name: row
        for row in session.scalars(select(ConnectionRow).where(ConnectionRow.name.in_(list(names))))
    }
    for name in names:
        if name not in found:
            raise NotFoundError(
                f"there is no connection {name!r}", hint="pgwitness connection list shows those there are"
            )
    return [found[name] for name in dict.fromkeys(names)]


def _row(session: Session, name: str) -> IdentityRow:
    row = session.scalar(select(IdentityRow).where(IdentityRow.name == name))
    if row is None:
        raise NotFoundError(
            f"there is no identity {name!r}", hint="pgwitness identity list shows those there are"
        )
    return row


def _value(row: IdentityRow) -> Identity:
    return Identity(
        id=row.id,
        name=row.name,
        kind=row.kind,  # type: ignore[arg-type]  # checked when it was stored
        disabled=row.disabled,
        connections=ANY
        if row.any_connection
        else tuple(sorted(connection.name for connection in row.granted)),
        created_at=row.created_at,
    )


def _listed(names: Names) -> list[str] | str:
    return ANY if names == ANY else list(names)


def _not_empty(connections: Names) -> None:
    if not connections:
        raise InvalidError("no connection is named", hint="--connections A,B or --connections any")
