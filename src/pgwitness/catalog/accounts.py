"""What a log-in needs of an identity, in one value: read when a name comes, kept by the directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, selectinload

from pgwitness.catalog.database import Database
from pgwitness.catalog.models import IdentityKind, TokenRole
from pgwitness.catalog.tables import IdentityRow, TokenRow

_ENDED_KEPT = 50


@dataclass(frozen=True, slots=True)
class Credential:
    """A token that is not revoked, with its verifier."""

    token_id: str
    role: TokenRole
    on_behalf_of: str | None
    expires_at: datetime | None
    connections: frozenset[str] | None
    """Ids of the connections that it is narrowed to; None: not narrowed."""
    stored_key: bytes
    server_key: bytes


@dataclass(frozen=True, slots=True)
class Account:
    """An identity with its grants and credentials."""

    id: str
    name: str
    kind: IdentityKind
    disabled: bool
    salt: bytes
    iterations: int
    connections: frozenset[str] | None
    """Ids of the connections that it may use; None: all."""
    credentials: dict[str, Credential]

    def may_use(self, credential: Credential, connection_id: str) -> bool:
        return all(
            allowed is None or connection_id in allowed
            for allowed in (self.connections, credential.connections)
        )

    def may_use_any(self, credential: Credential) -> bool:
        return self.connections is None and credential.connections is None


@dataclass(frozen=True, slots=True)
class EndedCredential:
    """A token that lets nobody in any more: enough to tell that it is the one that somebody still uses."""

    token_id: str
    revoked: bool
    stored_key: bytes
    server_key: bytes


class Accounts:
    """Reads accounts, by the name of the identity or by a token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_name(self, name: str) -> Account | None:
        with self._database.read() as session:
            row = session.scalar(select(IdentityRow).where(IdentityRow.name == name))
            return None if row is None else _account(session, row)

    def by_token(self, token_id: str) -> Account | None:
        with self._database.read() as session:
            token = session.get(TokenRow, token_id)
            return None if token is None else _account(session, token.identity)

    def ended(self, name: str, now: datetime) -> list[EndedCredential]:
        """The identity's tokens that were revoked or have expired, the newest ones."""
        over = or_(TokenRow.revoked_at.is_not(None), TokenRow.expires_at <= now)
        query = select(TokenRow).join(TokenRow.identity).where(IdentityRow.name == name, over)
        with self._database.read() as session:
            rows = session.scalars(query.order_by(TokenRow.created_at.desc()).limit(_ENDED_KEPT))
            return [
                EndedCredential(row.id, row.revoked_at is not None, row.stored_key, row.server_key)
                for row in rows
            ]


def _account(session: Session, row: IdentityRow) -> Account:
    tokens = session.scalars(
        select(TokenRow)
        .options(selectinload(TokenRow.scope))
        .where(TokenRow.identity_id == row.id, TokenRow.revoked_at.is_(None))
    )
    return Account(
        id=row.id,
        name=row.name,
        kind=row.kind,  # type: ignore[arg-type]  # checked when it was stored
        disabled=row.disabled,
        salt=row.salt,
        iterations=row.iterations,
        connections=None if row.any_connection else frozenset(granted.id for granted in row.granted),
        credentials={token.id: _credential(token) for token in tokens},
    )


def _credential(row: TokenRow) -> Credential:
    return Credential(
        token_id=row.id,
        role=row.role,  # type: ignore[arg-type]  # checked when it was issued
        on_behalf_of=row.on_behalf_of,
        expires_at=row.expires_at,
        connections=frozenset(connection.id for connection in row.scope) if row.scoped else None,
        stored_key=row.stored_key,
        server_key=row.server_key,
    )
