"""The gateway's certificate authority: made once, it vouches for the gateway itself and for its connectors.

It lives in ``STATE/tls``: ``ca.crt``, which clients take as ``sslrootcert`` and connectors pin, and
``ca.key``. Keys are readable by their owner only. What a certificate is good for is in it (RFC 5280, extended
key usage): a connector's cannot pass for a gateway's, nor the reverse.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from pgwitness.catalog.models import Issued
from pgwitness.errors import ConnectorRefused, InvalidError, UnavailableError
from pgwitness.private_files import write_private
from pgwitness.wire.join_token import pin_of

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
RENEW_DAYS: Final = 30
SERVER_SKEW: Final = timedelta(hours=1)
CONNECTOR_SKEW: Final = timedelta(minutes=5)
_MAX_REQUEST: Final = 16384


class Authority:
    """Issues certificates. ``open_authority`` makes or reads one."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.pem = certificate.public_bytes(Encoding.PEM)
        self.pin = pin_of(certificate.public_bytes(Encoding.DER))
        self._key = key

    def serves(
        self, directory: Path, stem: str, common_name: str, names: Sequence[x509.GeneralName], now: datetime
    ) -> tuple[Path, Path]:
        """Paths of a server's certificate and key for ``names``; made or renewed if that is needed."""
        path, key_path = directory / f"{stem}.crt", directory / f"{stem}.key"
        if not (path.exists() and key_path.exists() and self._still_serves(path, names, now)):
            key = ec.generate_private_key(ec.SECP256R1())
            builder = self._leaf(common_name, key.public_key(), now - SERVER_SKEW, now + _days(SERVER_DAYS))
            builder = _for(builder, ExtendedKeyUsageOID.SERVER_AUTH).add_extension(
                x509.SubjectAlternativeName(names), critical=False
            )
            write_private(key_path, private_pem(key), 0o600)
            write_private(path, self._sign(builder).public_bytes(Encoding.PEM), 0o644)
        return path, key_path

    def connector(self, request: bytes, name: str, lifetime: timedelta, now: datetime) -> Issued:
        """A certificate for the key in this request (PKCS #10, PEM); what else the request wishes for does
        not count. Raises ConnectorRefused.
        """
        key = _requested_key(request)
        builder = self._leaf(name, key, now - CONNECTOR_SKEW, now + lifetime)
        certificate = self._sign(_for(builder, ExtendedKeyUsageOID.CLIENT_AUTH))
        return Issued(
            certificate.public_bytes(Encoding.PEM), serial_of(certificate), certificate.not_valid_after_utc
        )

    def _still_serves(self, path: Path, names: Sequence[x509.GeneralName], now: datetime) -> bool:
        """Signed by us, with all the names, and not soon to end."""
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            certificate.verify_directly_issued_by(self.certificate)
            present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except Exception:  # whatever is wrong with it, a new one is the answer
            return False
        lasts = certificate.not_valid_after_utc - now > _days(RENEW_DAYS)
        return lasts and all(name in present for name in names)

    def _leaf(
        self, common_name: str, key: ec.EllipticCurvePublicKey, not_before: datetime, not_after: datetime
    ) -> x509.CertificateBuilder:
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            _builder(_subject(common_name), self.certificate.subject, key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(signer, critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def open_authority(directory: Path, now: datetime | None = None) -> Authority:
    """The authority of this directory, made on first use, and anew when it could not vouch for a server's
    certificate to its end. Raises InvalidError, UnavailableError.
    """
    now = now or datetime.now(UTC)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(directory):
            return _read(directory, now) or _make(directory, now)
    except OSError as error:
        raise UnavailableError(f"cannot use {error.filename or directory}: {error.strerror}") from None


def serial_of(certificate: x509.Certificate) -> str:
    """As the catalog keeps it: hexadecimal, lower case."""
    return f"{certificate.serial_number:x}"


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Of a command and a gateway that start at once, one makes the authority and both read it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(directory: Path, now: datetime) -> Authority | None:
    path, key_path = directory / "ca.crt", directory / "ca.key"
    if not (path.exists() and key_path.exists()):
        return None
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
    except ValueError as error:
        # Not to be replaced unasked: every client and connector would have to be told.
        raise InvalidError(
            f"the gateway's authority in {directory} cannot be read: {error}",
            hint="restore ca.crt and ca.key from a backup, or remove both for new ones",
        ) from None
    lasts = certificate.not_valid_after_utc - now > _days(SERVER_DAYS)
    return Authority(certificate, key) if lasts and isinstance(key, ec.EllipticCurvePrivateKey) else None


def _make(directory: Path, now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("pgwitness gateway authority")
    certificate = (
        _builder(name, name, key.public_key(), now - SERVER_SKEW, now + _days(AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(directory / "ca.key", private_pem(key), 0o600)
    write_private(directory / "ca.crt", certificate.public_bytes(Encoding.PEM), 0o644)
    return Authority(certificate, key)


def _requested_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    if len(pem) > _MAX_REQUEST:
        raise ConnectorRefused("the certificate request is too long")
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        sound = request.is_signature_valid
    except Exception as error:  # a stranger wrote it, and the parser's errors are many
        raise ConnectorRefused(f"the certificate request cannot be read: {type(error).__name__}") from None
    if not sound:
        raise ConnectorRefused("the certificate request is not signed by its own key")
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise ConnectorRefused("the key of the certificate request is not one of the curve P-256")
    return key


def _for(builder: x509.CertificateBuilder, purpose: ObjectIdentifier) -> x509.CertificateBuilder:
    return builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)


def _days(number: int) -> timedelta:
    return timedelta(days=number)


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
