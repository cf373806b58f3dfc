"""Who may be a connector: invited by a join token, admitted by a certificate, renewed, and locked out again.

Every decision is looked up in the catalog, so a connector that is removed is out at the next look, whatever
its certificate says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509

from pgwitness.catalog.models import Certificate, Issued, Secret
from pgwitness.catalog.store import Catalog
from pgwitness.errors import ConnectorRefused, InvalidError, NotFoundError
from pgwitness.identity.authority import Authority, open_authority, serial_of
from pgwitness.wire.join_token import hash_of, new_join_token

INVITATION: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Invitation:
    """A join token, shown this once."""

    connector: str
    token: Secret
    expires_at: datetime


def invite(
    catalog: Catalog,
    tls_directory: Path,
    name: str,
    *,
    actor: str,
    lifetime: timedelta | None = INVITATION,
    again: bool = False,
    revoke: bool = False,
) -> Invitation:
    """A join token for a new connector or, ``again``, for one that there is: its certificates are good until
    the token is used, or are revoked now. Raises InvalidError, ConflictError, NotFoundError.
    """
    if lifetime is None:
        raise InvalidError("a join token expires", hint="give it a lifetime such as 1h")
    token = new_join_token(open_authority(tls_directory).pin)
    add = partial(catalog.connectors.invite, revoke=revoke) if again else catalog.connectors.add
    _, expires_at = add(
        name, token_id=token.id, secret_hash=hash_of(token.secret), lifetime=lifetime, actor=actor
    )
    return Invitation(name, Secret(token.text), expires_at)


class Enrolment:
    """The gateway's answers to connectors. May be called from any thread."""

    def __init__(self, catalog: Catalog, authority: Authority, lifetime: timedelta) -> None:
        self.authority = authority
        self._catalog = catalog
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._revision = -1
        self._live: dict[str, Certificate] = {}

    def join(self, token_id: str, secret: str, request: bytes, name: str = "") -> tuple[Certificate, bytes]:
        """A first certificate, in PEM too, for a token that is used up by it. Raises ConnectorRefused."""
        return self._catalog.connectors.join(token_id, hash_of(secret), name, self._issuer(request))

    def renew(self, held: Certificate, request: bytes) -> tuple[Certificate, bytes]:
        """One more certificate for who shows this one. The old one stays good until its end, as the new one
        may get lost on its way. Raises ConnectorRefused.
        """
        self.connector_of(held.serial)
        try:
            issue = self._issuer(request)
            return self._catalog.connectors.renew(held.connector_id, issue, held=held.serial)
        except NotFoundError as error:
            raise ConnectorRefused(str(error)) from None

    def admit(self, peer_certificate: bytes | None) -> Certificate:
        """Who shows this certificate (DER), whose chain was verified by TLS. Raises ConnectorRefused."""
        if peer_certificate is None:
            raise ConnectorRefused("no certificate was shown")
        return self.connector_of(serial_of(x509.load_der_x509_certificate(peer_certificate)))

    def connector_of(self, serial: str) -> Certificate:
        """The holder of the certificate of this serial number. Raises ConnectorRefused."""
        self._refresh()
        with self._lock:
            certificate, revision = self._live.get(serial), self._revision
        if certificate is None:
            certificate = self._catalog.connectors.certificate(serial)
        if certificate is None:
            raise ConnectorRefused("the certificate is not known")
        if certificate.revoked_why is not None:
            raise ConnectorRefused(f"the certificate is revoked: {certificate.revoked_why}")
        if certificate.not_after <= datetime.now(UTC):
            raise ConnectorRefused(f"the certificate expired at {certificate.not_after:%Y-%m-%d %H:%M:%SZ}")
        with self._lock:
            if revision == self._revision:
                self._live[serial] = certificate
        return certificate

    def ended(self, serials: Iterable[str]) -> dict[str, str]:
        """Of these, those that are not good any more, and why. Expired counts, as who is renewed is known by
        its new serial number. A small query each while nothing was changed: poll it twice a second.
        """
        over: dict[str, str] = {}
        for serial in serials:
            try:
                self.connector_of(serial)
            except ConnectorRefused as error:
                over[serial] = str(error)
        return over

    def seen(self, name: str, software: str) -> None:
        """It came online or went offline just now."""
        self._catalog.connectors.seen(name, software)

    def _issuer(self, request: bytes) -> Callable[[str], Issued]:
        return lambda name: self.authority.connector(request, name, self._lifetime, datetime.now(UTC))

    def _refresh(self) -> None:
        revision = self._catalog.revision()
        with self._lock:
            if revision != self._revision:
                self._revision = revision
                self._live.clear()
