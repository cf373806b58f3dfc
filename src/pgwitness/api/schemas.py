"""The documents of administration: what the API takes and gives. Nothing that it gives holds a secret,
but for the token in ``TokenIssued``, which is the only time that it is shown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from pgwitness.catalog.models import (
    AuditEntry,
    Connection,
    Identity,
    IdentityKind,
    Names,
    Secret,
    SslMode,
    Token,
    TokenRole,
)

Ports = Annotated[str, BeforeValidator(lambda port: str(port) if isinstance(port, int) else port)]
NameList = list[str] | Literal["any"]


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(None, description="the cursor of the page after this one; null at the end")


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ConnectionChange(_Request):
    """What is not given stays as it is; null takes a password or a certificate away."""

    host: str | None = None
    port: Ports | None = None
    database: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    sslmode: SslMode | None = None
    sslrootcert: str | None = Field(None, description="PEM")
    sslcert: str | None = Field(None, description="PEM")
    sslkey: SecretStr | None = Field(None, description="PEM, without passphrase")
    connect_timeout: int | None = Field(None, description="seconds; null: the gateway's setting")
    also_databases: NameList | None = None
    results: int | None = Field(
        None, description="bytes of results recorded; -1: all, 0: none, null: as the gateway"
    )
    replication: bool | None = None
    connectors: list[str] | None = Field(
        None, description="names of the connectors that dial it; none: the gateway dials it itself"
    )

    def fields(self) -> dict[str, Any]:
        """What was given, as the catalog takes it."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for name in _NEVER_NULL & given.keys():
            if given[name] is None:
                del given[name]
        for name, value in given.items():
            if isinstance(value, SecretStr):
                given[name] = Secret(value.get_secret_value())
            elif name in ("sslrootcert", "sslcert") and value is not None:
                given[name] = value.encode()
        return given


_NEVER_NULL = {"host", "port", "database", "user", "sslmode", "also_databases", "replication", "connectors"}


class ConnectionNew(ConnectionChange):
    name: str
    host: str
    database: str
    user: str

    def fields(self) -> dict[str, Any]:
        given = super().fields()
        given.pop("name", None)
        return given


class WatchView(BaseModel):
    """Findings that are there and not accepted, and how the background check goes."""

    alarm: int = Field(0, description="somebody went around the gateway")
    weakness: int = Field(0, description="somebody can")
    note: int = 0
    looked_at: datetime | None = None
    problem: str | None = Field(None, description="why the server cannot be looked at")


class ConnectionView(BaseModel):
    name: str
    host: str
    port: str
    database: str
    user: str
    password: bool = Field(description="whether one is stored")
    sslmode: SslMode
    sslrootcert: bool = Field(description="whether one is stored")
    sslcert: bool = Field(description="whether one is stored, with its key")
    connect_timeout: int | None
    also_databases: NameList
    results: int | None
    replication: bool
    connectors: list[str]
    created_at: datetime
    watch: WatchView | None = Field(None, description="who goes around the gateway; null: never looked")


class IdentityNew(_Request):
    name: str
    kind: IdentityKind = "service"
    connections: NameList = []


class Grants(_Request):
    connections: NameList


class IdentityView(BaseModel):
    name: str
    kind: IdentityKind
    disabled: bool
    connections: NameList
    created_at: datetime


class TokenNew(_Request):
    identity: str
    ttl: str = Field("24h", description="90d, 12h, 30m or never")
    connections: NameList = "any"
    role: TokenRole = "client"
    on_behalf_of: str | None = Field(None, max_length=200)


class TokenView(BaseModel):
    id: str
    identity: str
    role: TokenRole
    on_behalf_of: str | None
    connections: NameList
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokenIssued(TokenView):
    token: str = Field(description="shown this once")


class AuditView(BaseModel):
    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


def connection_view(connection: Connection, watch: WatchView | None = None) -> ConnectionView:
    return ConnectionView(
        name=connection.name,
        host=connection.host,
        port=connection.port,
        database=connection.database,
        user=connection.user,
        password=connection.password is not None,
        sslmode=connection.sslmode,
        sslrootcert=connection.sslrootcert is not None,
        sslcert=connection.sslcert is not None,
        connect_timeout=connection.connect_timeout,
        also_databases=_listed(connection.also_databases),
        results=connection.results,
        replication=connection.replication,
        connectors=list(connection.connectors),
        created_at=connection.created_at,
        watch=watch,
    )


def identity_view(identity: Identity) -> IdentityView:
    return IdentityView(
        name=identity.name,
        kind=identity.kind,
        disabled=identity.disabled,
        connections=_listed(identity.connections),
        created_at=identity.created_at,
    )


def token_view(token: Token) -> TokenView:
    return TokenView(
        id=token.id,
        identity=token.identity,
        role=token.role,
        on_behalf_of=token.on_behalf_of,
        connections=_listed(token.connections),
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_at=token.last_used_at,
    )


def audit_view(entry: AuditEntry) -> AuditView:
    return AuditView(
        id=entry.id,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        details=entry.details,
    )


def names(listed: NameList) -> Names:
    """As the catalog takes them."""
    return "any" if listed == "any" else tuple(dict.fromkeys(listed))


def _listed(names: Names) -> NameList:
    return "any" if names == "any" else list(names)
