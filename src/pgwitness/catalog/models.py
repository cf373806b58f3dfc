"""The catalog's values: frozen, free of any database, safe to log. What is secret in them is a ``Secret``."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

ANY: Final = "any"
"""In the place of a list of names: all of them, also those to come."""

Names = tuple[str, ...] | Literal["any"]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
IdentityKind = Literal["service", "human"]
TokenRole = Literal["client", "own", "auditor", "operator", "admin"]
"""``client`` is for PostgreSQL only, the others are for the API and the pages only."""

RESULTS_ALL: Final = -1
RESULTS_NONE: Final = 0


class Secret:
    """A text that shows itself only to who calls ``reveal``: not to repr, format, logs, JSON or pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str | Callable[[], str]) -> None:
        """The text, or what gets it when it is asked for."""
        self._value = value

    def reveal(self) -> str:
        return self._value if isinstance(self._value, str) else self._value()

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        """Constant-time, so that comparing never tells how much of a guess was right."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A registered PostgreSQL server. Its name is what clients give as the database."""

    id: str
    name: str
    host: str
    """Host name, address or directory of a Unix socket; several with commas, as in libpq."""
    port: str
    """One port, or as many as there are hosts, with commas."""
    database: str
    user: str
    password: Secret | None = None
    sslmode: SslMode = "prefer"
    sslrootcert: bytes | None = None
    """PEM of the authorities that may sign the server's certificate."""
    sslcert: bytes | None = None
    """PEM of the certificate that the gateway shows to the server."""
    sslkey: Secret | None = None
    """PEM of the private key of ``sslcert``."""
    connect_timeout: int | None = None
    """Seconds to reach one host and log in there; None: the gateway's setting."""
    also_databases: Names = ()
    """Further databases of the server, reached as ``CONNECTION/DATABASE``."""
    results: int | None = None
    """Bytes of result data recorded a statement: -1 all, 0 none, None: the gateway's setting."""
    replication: bool = False
    """Whether clients may start replication."""
    connectors: tuple[str, ...] = ()
    """Names of the connectors that dial it, sharing the load; none: the gateway dials it itself."""
    created_at: datetime

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each server in the order to try them; one port serves all hosts."""
        hosts, ports = self.host.split(","), self.port.split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        return [(host, int(port)) for host, port in zip(hosts, ports, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a session belongs to."""

    id: str
    name: str
    kind: IdentityKind
    disabled: bool
    connections: Names
    """The grants: names of connections that it may use."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A credential of an identity, without the secret: that is shown once and never kept."""

    id: str
    """Public: stands in the record and in listings."""
    identity: str
    role: TokenRole
    on_behalf_of: str | None
    """The human or run that the identity acts for with this token."""
    connections: Names
    """What the token narrows the identity's grants to; ``ANY``: does not narrow."""
    created_at: datetime
    expires_at: datetime | None
    """None: never."""
    revoked_at: datetime | None
    last_used_at: datetime | None

    def live(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A process beside PostgreSQL that dials out to the gateway."""

    id: str
    name: str
    software: str | None
    """The version that it last said it is; None: it was never online."""
    seen_at: datetime | None
    """When it last came online or went offline."""
    certificate_ends: datetime | None
    """Of the last of its certificates that is not revoked; None: it is not enrolled."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate, before the catalog knows it."""

    pem: bytes
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A connector's right to be one, by the serial number of its certificate."""

    serial: str
    """In hexadecimal, lower case, without leading zeros."""
    connector_id: str
    connector: str
    not_after: datetime
    revoked_why: str | None
    """None: it is not revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One administrative change: when, by whom, what, to what, and the details that are no secret."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]
