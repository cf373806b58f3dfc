"""Who is it, and may they: the questions that the gateway asks while it accepts a session.

All methods are synchronous, may be called from any thread and may block for a database query; the gateway
calls them through ``asyncio.to_thread``. Errors are ready to be sent to a client: they carry an SQLSTATE and
no secret.

What was read is kept until the catalog's revision moves, so a decision made in another process counts at the
next question, and a question costs one small query.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeVar

from pgwitness.catalog.accounts import Account, Credential, EndedCredential
from pgwitness.catalog.identities import SCRAM_ITERATIONS
from pgwitness.catalog.models import ANY, Connection, IdentityKind, Names
from pgwitness.catalog.names import is_name
from pgwitness.catalog.store import Catalog
from pgwitness.errors import AuthenticationFailed, PermissionDenied, UnknownDatabase
from pgwitness.identity import tokens

_KEPT = 10_000  # answers; names of strangers must not fill the memory
_NOTE_USE_EVERY = timedelta(seconds=5)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """What RFC 5802 stores of one token: enough to check a proof, not enough to make one."""

    token_id: str
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"TokenVerifier({self.token_id})"


@dataclass(frozen=True, slots=True)
class LoginMaterial:
    """What a SCRAM exchange with this name needs. Without verifiers, run it to its end all the same."""

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


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a token for the API, and what it is good for."""

    identity: str
    token_id: str
    role: Literal["own", "auditor", "operator", "admin"]
    connections: Names
    """What the token narrows its holder to."""
    expires_at: datetime | None


class Refusal(NamedTuple):
    """Why a log-in failed: ``unknown_identity``, ``identity_disabled``, ``revoked_token``, ``expired_token``
    or ``wrong_token``; and which token it was made with, if that is known."""

    reason: str
    token_id: str | None


class Use(NamedTuple):
    """A token in use on a connection: what a live session rests on."""

    token_id: str
    connection_id: str


class Directory:
    """Answers from the catalog. ``close`` writes what is still to be written."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._revision = -1
        self._kept: dict[tuple[str, str], Any] = {}
        self._sound: set[Use] = set()
        self._used: dict[str, datetime] = {}
        self._used_noted_at = datetime.now(UTC)

    @property
    def catalog(self) -> Catalog:
        return self._catalog

    def login_material(self, name: str) -> LoginMaterial:
        """For any name: one that is unknown gets a salt that is its own and stays, and no verifiers."""
        account = self._account(name)
        if account is None or account.disabled:
            return LoginMaterial(self._catalog.box.salt(name), SCRAM_ITERATIONS, [])
        now = datetime.now(UTC)
        return LoginMaterial(
            account.salt,
            account.iterations,
            [
                TokenVerifier(credential.token_id, credential.stored_key, credential.server_key)
                for credential in account.credentials.values()
                if credential.role == "client" and _live(credential, now)
            ],
        )

    def why_refused(
        self, name: str, fitting: Callable[[Iterable[EndedCredential]], EndedCredential | None]
    ) -> Refusal:
        """For the record, after a proof that fits no live token; the client is never told. ``fitting`` says
        which credential the proof fits."""
        account = self._account(name)
        if account is None:
            return Refusal("unknown_identity", None)
        if account.disabled:
            return Refusal("identity_disabled", None)
        ended = fitting(self._catalog.accounts.ended(name, datetime.now(UTC)))
        if ended is None:
            return Refusal("wrong_token", None)
        return Refusal("revoked_token" if ended.revoked else "expired_token", ended.token_id)

    def principal(self, name: str, token_id: str) -> Principal:
        """After the proof. Raises AuthenticationFailed if the token died meanwhile. Notes the use."""
        account = self._account(name)
        return self._admit(account, account.credentials.get(token_id) if account else None)

    def bearer(self, token: str) -> Holder:
        """Who presents this token to the API. Raises AuthenticationFailed if it is not a live one,
        PermissionDenied if it is one for PostgreSQL."""
        token_id = tokens.public_id(token)
        account = self._account_of(token_id) if token_id else None
        if not tokens.check(token, account, self._catalog.box.salt("")) or account is None:
            raise AuthenticationFailed("the token is not valid")
        return self.holder(token_id or "")

    def holder(self, token_id: str) -> Holder:
        """Of a token that was presented before, as it is now. Raises as ``bearer``."""
        account = self._account_of(token_id)
        credential = account.credentials.get(token_id) if account else None
        if credential is not None and credential.role == "client":
            raise PermissionDenied(
                "this token is for PostgreSQL clients, not for the API",
                hint="pgwitness token issue NAME --role auditor makes one that reads",
            )
        principal = self._admit(account, credential)
        assert credential is not None and credential.role != "client"
        return Holder(
            principal.identity,
            token_id,
            credential.role,
            self._names(credential.connections),
            credential.expires_at,
        )

    def authorize(self, principal: Principal, database: str) -> tuple[Connection, str]:
        """The connection, and the database on it, that ``CONNECTION`` or ``CONNECTION/DATABASE`` names.

        Raises PermissionDenied, the same for a connection that is not granted and one that does not exist;
        who may use any connection gets UnknownDatabase for the latter. A database that the connection does
        not allow is UnknownDatabase.
        """
        name, slash, target = database.partition("/")
        account = self._account(principal.identity)
        credential = account.credentials.get(principal.token_id) if account else None
        if account is None or credential is None:
            raise _not_granted(principal.identity, name)
        connection = self._ask("connection", name, self._catalog.connections.find) if is_name(name) else None
        if connection is None and account.may_use_any(credential):
            raise UnknownDatabase(
                f'connection "{name}" is not registered',
                hint="the database of the connection string is the name of a registered connection",
            )
        if connection is None or not account.may_use(credential, connection.id):
            raise _not_granted(principal.identity, name)
        if not slash or target == connection.database:
            return connection, connection.database
        # No name at all would make the server choose one, and the record would not say which.
        if not target or (connection.also_databases != ANY and target not in connection.also_databases):
            raise UnknownDatabase(
                f'connection "{name}" does not allow the database "{target}"',
                hint=f"an administrator can allow it: pgwitness connection update {name} --also-databases …",
            )
        return connection, target

    def ended(self, uses: Iterable[Use]) -> dict[Use, str]:
        """Of these, the ones whose session must end, and why, in words for the record: the token was revoked,
        the identity disabled, the grant taken, the connection removed. Expiry ends no session: it stops new
        ones.

        Costs one small query while nothing was changed. Poll it twice a second.
        """
        self._note_uses(force=False)
        self._refresh()
        live = set(uses)
        with self._lock:
            revision, unsure = self._revision, live - self._sound
        over = {use: reason for use in unsure if (reason := self._why_ended(use)) is not None}
        with self._lock:
            if revision == self._revision:
                self._sound = live - over.keys()
        return over

    def close(self) -> None:
        """Write when tokens were last used."""
        self._note_uses(force=True)

    def _why_ended(self, use: Use) -> str | None:
        account = self._account_of(use.token_id)
        if account is None:
            return "the identity was removed"
        credential = account.credentials.get(use.token_id)
        if credential is None:
            return "the token was revoked"
        if account.disabled:
            return f"identity {account.name} was disabled"
        if not account.may_use(credential, use.connection_id):
            return f"identity {account.name} may no longer use the connection"
        names = self._ask(
            "connection ids", "", lambda _: {each.id for each in self._catalog.connections.list()}
        )
        return None if use.connection_id in names else "the connection was removed"

    def _admit(self, account: Account | None, credential: Credential | None) -> Principal:
        now = datetime.now(UTC)
        if account is None or credential is None or account.disabled or not _live(credential, now):
            raise AuthenticationFailed("the token is not valid")
        with self._lock:
            self._used[credential.token_id] = now
        return Principal(account.name, account.id, account.kind, credential.token_id, credential.on_behalf_of)

    def _names(self, connections: frozenset[str] | None) -> Names:
        if connections is None:
            return ANY
        all_of_them = self._catalog.connections.list
        named = self._ask("connection names", "", lambda _: {each.id: each.name for each in all_of_them()})
        return tuple(sorted(named[id] for id in connections if id in named))

    def _account(self, name: str) -> Account | None:
        return self._ask("account", name, self._catalog.accounts.by_name) if is_name(name) else None

    def _account_of(self, token_id: str) -> Account | None:
        return self._ask("account of", token_id, self._catalog.accounts.by_token)

    def _ask(self, kind: str, name: str, load: Callable[[str], T]) -> T:
        """What was kept if nothing has been decided since, else the answer of ``load``."""
        self._refresh()
        with self._lock:
            revision = self._revision
            if (kind, name) in self._kept:
                kept: T = self._kept[kind, name]
                return kept
        answer = load(name)
        with self._lock:
            # Read after the revision was seen, so it is at least that new. It is kept only under that one.
            if revision == self._revision:
                if len(self._kept) >= _KEPT:
                    self._kept.clear()
                self._kept[kind, name] = answer
        return answer

    def _refresh(self) -> None:
        revision = self._catalog.revision()
        with self._lock:
            if revision != self._revision:
                self._revision = revision
                self._kept.clear()
                self._sound.clear()

    def _note_uses(self, *, force: bool) -> None:
        now = datetime.now(UTC)
        with self._lock:
            if not self._used or (not force and now - self._used_noted_at < _NOTE_USE_EVERY):
                return
            used, self._used, self._used_noted_at = self._used, {}, now
        self._catalog.tokens.used(used)


def _live(credential: Credential, now: datetime) -> bool:
    return credential.expires_at is None or now < credential.expires_at


def _not_granted(identity: str, connection: str) -> PermissionDenied:
    """The same whether the connection exists or not."""
    return PermissionDenied(
        f'identity "{identity}" may not use connection "{connection}"',
        hint="the database that a client names is the connection; an administrator can allow one: "
        f"pgwitness identity grant {identity} --connections NAME",
    )
