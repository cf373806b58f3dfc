"""The catalog's tables, the same in SQLite and PostgreSQL. Their history is in ``migrations``.

Only this package knows them: everybody else gets the values of ``models``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, also where the database keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class Base(DeclarativeBase):
    # Constraints with names can be changed by a migration, also in SQLite.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, bytes: LargeBinary}  # noqa: RUF012


class ConnectionRow(Base):
    __tablename__ = "connections"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    host: Mapped[str]
    port: Mapped[str]
    database: Mapped[str]
    username: Mapped[str]
    password: Mapped[str | None]  # ciphertext
    sslmode: Mapped[str] = mapped_column(String(16))
    sslrootcert: Mapped[bytes | None]
    sslcert: Mapped[bytes | None]
    sslkey: Mapped[str | None]  # ciphertext
    connect_timeout: Mapped[int | None]
    also_databases: Mapped[Any] = mapped_column(JSON)  # list of names, or "any"
    results: Mapped[int | None]
    replication: Mapped[bool]
    connectors: Mapped[Any] = mapped_column(
        JSON, server_default="[]"
    )  # list of names; empty: dialled directly
    created_at: Mapped[datetime]


class GrantRow(Base):
    __tablename__ = "grants"

    identity_id: Mapped[str] = mapped_column(
        ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True
    )
    connection_id: Mapped[str] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class TokenConnectionRow(Base):
    __tablename__ = "token_connections"

    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True)
    connection_id: Mapped[str] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class IdentityRow(Base):
    __tablename__ = "identities"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    disabled: Mapped[bool]
    any_connection: Mapped[bool]  # granted all connections, also those to come; then it has no rows in grants
    salt: Mapped[bytes]  # of SCRAM, shared by all its tokens: it is sent before the token is known
    iterations: Mapped[int]
    created_at: Mapped[datetime]

    granted: Mapped[list[ConnectionRow]] = relationship(
        secondary="grants", order_by=ConnectionRow.name, passive_deletes=True
    )


class TokenRow(Base):
    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    on_behalf_of: Mapped[str | None]
    scoped: Mapped[bool]  # stays true when its last connection is removed: it then allows none, not all
    stored_key: Mapped[bytes]
    server_key: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    identity: Mapped[IdentityRow] = relationship()
    scope: Mapped[list[ConnectionRow]] = relationship(
        secondary="token_connections", order_by=ConnectionRow.name, passive_deletes=True
    )


class ConnectorRow(Base):
    __tablename__ = "connectors"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    software: Mapped[str | None]  # version that it last said it is
    seen_at: Mapped[datetime | None]  # when it last came online or went offline
    created_at: Mapped[datetime]

    certificates: Mapped[list[CertificateRow]] = relationship(
        primaryjoin="ConnectorRow.id == foreign(CertificateRow.connector_id)",
        order_by="CertificateRow.not_after",
        viewonly=True,
    )


class JoinTokenRow(Base):
    __tablename__ = "join_tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    connector_id: Mapped[str] = mapped_column(ForeignKey("connectors.id", ondelete="CASCADE"), index=True)
    secret_hash: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    connector: Mapped[ConnectorRow] = relationship()


class CertificateRow(Base):
    """Outlives its connector until it has expired, so that a refusal can say what became of it."""

    __tablename__ = "certificates"

    serial: Mapped[str] = mapped_column(String(40), primary_key=True)
    connector_id: Mapped[str] = mapped_column(String(32), index=True)
    connector: Mapped[str] = mapped_column(String(63))
    issued_at: Mapped[datetime]
    not_after: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_why: Mapped[str | None]


class FindingRow(Base):
    __tablename__ = "watch_findings"

    connection_id: Mapped[str] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    level: Mapped[str] = mapped_column(String(16))
    what: Mapped[str]
    details: Mapped[dict[str, Any]]
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    gone_at: Mapped[datetime | None]
    accepted_at: Mapped[datetime | None]
    accepted_by: Mapped[str | None]

    connection: Mapped[ConnectionRow] = relationship()


class BaselineRow(Base):
    """What the server's counters of statements were when they were last compared with the record."""

    __tablename__ = "watch_baselines"

    connection_id: Mapped[str] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    )
    taken_at: Mapped[datetime]
    data: Mapped[bytes]


class AuditRow(Base):
    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    details: Mapped[dict[str, Any]]


class HoldRow(Base):
    __tablename__ = "session_holds"

    session: Mapped[str] = mapped_column(String(36), primary_key=True)
    reason: Mapped[str]
    actor: Mapped[str]
    at: Mapped[datetime]


class RetentionRow(Base):
    __tablename__ = "retention_rules"

    connection: Mapped[str] = mapped_column(String(63), primary_key=True)  # also of one that was removed
    seconds: Mapped[int | None] = mapped_column(BigInteger)  # None: for ever


class RevisionRow(Base):
    """One row that counts changes, so that others notice one by a look at one number."""

    __tablename__ = "revision"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]
