"""Tokens as the catalog keeps them: verifiers, validity and scope, never the token itself."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session, joinedload, selectinload

from pgwitness.catalog.database import Database
from pgwitness.catalog.identities import connection_rows
from pgwitness.catalog.models import ANY, Names, Token, TokenRole
from pgwitness.catalog.names import INTERNAL_PREFIX
from pgwitness.catalog.tables import IdentityRow, TokenRow
from pgwitness.errors import ConflictError, NotFoundError


class Tokens:
    """Every token that was ever issued: dead ones stay, so that the record can name them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        token_id: str,
        identity: str,
        *,
        actor: str,
        stored_key: bytes,
        server_key: bytes,
        role: TokenRole,
        on_behalf_of: str | None,
        connections: Names,
        expires_at: datetime | None,
    ) -> Token:
        """Raises NotFoundError for an identity or a connection that does not exist."""
        with self._database.change(actor) as change:
            owner = change.session.scalar(select(IdentityRow).where(IdentityRow.name == identity))
            if owner is None:
                raise NotFoundError(
                    f"there is no identity {identity!r}", hint="pgwitness identity list shows those there are"
                )
            row = TokenRow(
                id=token_id,
                identity=owner,
                role=role,
                on_behalf_of=on_behalf_of,
                scoped=connections != ANY,
                scope=[] if connections == ANY else connection_rows(change.session, connections),
                stored_key=stored_key,
                server_key=server_key,
                created_at=change.at,
                expires_at=expires_at,
            )
            change.session.add(row)
            change.log(
                "token.issue",
                token_id,
                identity=identity,
                role=role,
                on_behalf_of=on_behalf_of,
                connections=ANY if connections == ANY else list(connections),
                expires_at=expires_at and expires_at.isoformat(),
            )
            return _value(row)

    def revoke(self, token_id: str, *, actor: str) -> Token:
        """Its live sessions end. Raises NotFoundError, and ConflictError if it was revoked before."""
        with self._database.change(actor) as change:
            row = _row(change.session, token_id)
            if row.revoked_at is not None:
                raise ConflictError(f"token {token_id!r} was revoked at {row.revoked_at:%Y-%m-%d %H:%M:%SZ}")
            row.revoked_at = change.at
            change.log("token.revoke", token_id, identity=row.identity.name)
            return _value(row)

    def get(self, token_id: str) -> Token:
        """Raises NotFoundError."""
        with self._database.read() as session:
            return _value(_row(session, token_id))

    def list(self, identity: str | None = None) -> list[Token]:
        """Oldest first. Those of pgwitness itself only if asked for: there is one for each check."""
        return self.page(identity)

    def page(
        self, identity: str | None = None, *, limit: int | None = None, after: str | None = None
    ) -> builtins.list[Token]:
        """As ``list``, but so many, ``after`` the token of this id. Raises NotFoundError if there is none."""
        statement = (
            select(TokenRow)
            .options(joinedload(TokenRow.identity), selectinload(TokenRow.scope))
            .order_by(TokenRow.created_at, TokenRow.id)
        )
        if identity is None:
            internal = IdentityRow.name.startswith(INTERNAL_PREFIX, autoescape=True)
            statement = statement.where(~TokenRow.identity.has(internal))
        else:
            statement = statement.where(TokenRow.identity.has(IdentityRow.name == identity))
        with self._database.read() as session:
            if after is not None:
                last = _row(session, after)
                later = tuple_(TokenRow.created_at, TokenRow.id) > tuple_(last.created_at, last.id)
                statement = statement.where(later)
            return [_value(row) for row in session.scalars(statement.limit(limit))]

    def used(self, times: Mapping[str, datetime]) -> None:
        """Note when tokens were last used. Counts as no change."""
        with self._database.write() as session:
            for token_id, at in times.items():
                session.execute(update(TokenRow).where(TokenRow.id == token_id).values(last_used_at=at))


def _row(session: Session, token_id: str) -> TokenRow:
    row = session.get(TokenRow, token_id)
    if row is None:
        raise NotFoundError(
            f"there is no token {token_id[:24]!r}", hint="pgwitness token list shows their public ids"
        )
    return row


def _value(row: TokenRow) -> Token:
    return Token(
        id=row.id,
        identity=row.identity.name,
        role=row.role,  # type: ignore[arg-type]  # checked when it was issued
        on_behalf_of=row.on_behalf_of,
        connections=tuple(connection.name for connection in row.scope) if row.scoped else ANY,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
