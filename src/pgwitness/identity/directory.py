"""Who is it, and may they: the questions that the gateway asks while it accepts a session.

All methods are synchronous, may be called from any thread and may block for a database query; the gateway calls
them through ``asyncio.to_thread``. Errors are ready to be sent to a client: they carry an SQLSTATE and no secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pgwitness.catalog.models import Connection, IdentityKind
from pgwitness.catalog.store import Catalog


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """What RFC 5803 stores of one token: enough to check a SCRAM-SHA-256 proof, not enough to make one."""

    token_id: str
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"TokenVerifier({self.token_id})"


@dataclass(frozen=True, slots=True)
class LoginMaterial:
    """What a SCRAM exchange with this name needs. Without verifiers it must be run to its end all the same."""

    salt: bytes
    iterations: int
    verifiers: list[TokenVerifier]


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity that proved itself, by which token, and for whom it acts."""

    identity: str
    identity_id: str
    kind: IdentityKind
    token_id: str
    on_behalf_of: str | None


class Use(NamedTuple):
    """A token in use on a connection: what a live session rests on."""

    token_id: str
    connection_id: str


class Directory:
    """Answers from the catalog. ``close`` writes what is still to be written."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def login_material(self, name: str) -> LoginMaterial:
        """For any name: one that is unknown gets a salt that is its own and stays, and no verifiers."""
        raise NotImplementedError

    def principal(self, name: str, token_id: str) -> Principal:
        """After the proof. Raises AuthenticationFailed if the token died meanwhile. Notes that it was used."""
        raise NotImplementedError

    def authorize(self, principal: Principal, database: str) -> tuple[Connection, str]:
        """The connection, and the database of its server, that ``CONNECTION`` or ``CONNECTION/DATABASE`` names.

        Raises PermissionDenied, the same for a connection that is not granted and one that does not exist; who may
        use any connection gets UnknownDatabase for the latter. A database that the connection does not allow is
        UnknownDatabase.
        """
        raise NotImplementedError

    def ended(self, uses: Iterable[Use]) -> dict[Use, str]:
        """Of these, the ones whose session must end, and why, in words for the record: the token was revoked,
        the identity disabled, the grant taken, the connection removed. Expiry ends no session: it stops new ones.

        Costs one small query while nothing was changed. Poll it twice a second.
        """
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
