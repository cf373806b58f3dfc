"""Tokens: made, taken apart, turned into SCRAM-SHA-256 verifiers (RFC 5802, section 3), checked by them.

A token is ``pgw_<public id>_<secret>``. It is shown once, when it is issued. The whole of it is the password
of a PostgreSQL client, or the bearer token of the API; what is stored can check it and cannot take its place.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args

from pgwitness.catalog.accounts import Account
from pgwitness.catalog.identities import SCRAM_ITERATIONS
from pgwitness.catalog.models import ANY, Names, Secret, Token, TokenRole
from pgwitness.catalog.names import INTERNAL_PREFIX
from pgwitness.catalog.store import Catalog
from pgwitness.errors import InvalidError, NotFoundError

DEFAULT_LIFETIME = timedelta(hours=24)

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH = 10
_SECRET_BYTES = 32
_TOKEN = re.compile(r"pgw_([a-z0-9]{10})_[A-Za-z0-9_-]{43}", re.ASCII)


def redacted(text: str) -> str:
    """The text without the secrets of tokens in it. Some clients send a token as the user's name, which is
    logged and recorded.
    """
    return _TOKEN.sub(r"pgw_\1_…", text)


@dataclass(frozen=True, slots=True, repr=False)
class Verifier:
    """StoredKey and ServerKey of RFC 5802."""

    stored_key: bytes
    server_key: bytes


def issue(
    catalog: Catalog,
    identity: str,
    *,
    actor: str,
    lifetime: timedelta | None = DEFAULT_LIFETIME,
    connections: Names = ANY,
    role: TokenRole = "client",
    on_behalf_of: str | None = None,
) -> tuple[Token, Secret]:
    """A new token of the identity, and its text, which nobody can show again. A lifetime of None is for ever.

    Raises NotFoundError for an identity or a connection that does not exist, InvalidError.
    """
    if identity.startswith(INTERNAL_PREFIX):
        raise InvalidError(f"{identity!r} is an identity of pgwitness itself, and nobody gets a token of it")
    return issue_internal(
        catalog,
        identity,
        actor=actor,
        lifetime=lifetime,
        connections=connections,
        role=role,
        on_behalf_of=on_behalf_of,
    )


def issue_internal(
    catalog: Catalog,
    identity: str,
    *,
    actor: str,
    lifetime: timedelta | None,
    connections: Names,
    role: TokenRole = "client",
    on_behalf_of: str | None = None,
) -> tuple[Token, Secret]:
    """As ``issue``, also for the identities of pgwitness itself."""
    if role not in get_args(TokenRole):
        raise InvalidError(f"the role of a token is one of {', '.join(get_args(TokenRole))}")
    if role == "admin" and connections != ANY:
        raise InvalidError(
            "a token of role admin is for all connections, since it could issue itself another",
            hint="roles own, auditor and operator can be narrowed to connections",
        )
    if not connections:
        raise InvalidError(
            "the token would allow no connection", hint="leave its connections out, or name one"
        )
    account = catalog.accounts.by_name(identity)
    if account is None:
        raise NotFoundError(
            f"there is no identity {identity!r}", hint=f"make it with: pgwitness identity add {identity}"
        )
    token_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    text = f"pgw_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    verifier = make_verifier(text, account.salt, account.iterations)
    token = catalog.tokens.add(
        token_id,
        identity,
        actor=actor,
        stored_key=verifier.stored_key,
        server_key=verifier.server_key,
        role=role,
        on_behalf_of=on_behalf_of,
        connections=connections,
        expires_at=None if lifetime is None else datetime.now(UTC) + lifetime,
    )
    return token, Secret(text)


def make_verifier(password: str, salt: bytes, iterations: int) -> Verifier:
    """Tokens are ASCII, so SASLprep leaves them as they are."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return Verifier(hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def public_id(text: str) -> str | None:
    """The public id in a token, None if the text is not one."""
    match = _TOKEN.fullmatch(text)
    return match and match[1]


def check(text: str, account: Account | None, salt: bytes) -> bool:
    """Whether the text is a token of the account that was not revoked. Without an account ``salt`` is used,
    so that the answer takes as long.
    """
    credential = account.credentials.get(public_id(text) or "") if account else None
    iterations = account.iterations if account else SCRAM_ITERATIONS
    verifier = make_verifier(text, account.salt if account else salt, iterations)
    expected = credential.stored_key if credential else bytes(32)
    return hmac.compare_digest(verifier.stored_key, expected) and credential is not None
