"""The gateway's own TLS identity: an authority and certificate made on first start, or the operator's.

``STATE/tls`` then holds ``ca.crt``, which clients take as ``sslrootcert``, ``ca.key``, ``server.crt`` and
``server.key``. Keys are readable by their owner only. The server certificate is renewed at a start within 30
days of its end, or when the names that it must carry have changed; the authority stays, so clients need not
be told.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
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
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgwitness._core import TlsServer
from pgwitness.errors import InvalidError
from pgwitness.wire.startup import ALPN
from pgwitness.wire.tls_names import end_point_binding

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
RENEW_DAYS: Final = 30
_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What is needed to accept TLS and to bind SCRAM to it."""

    config: TlsServer
    binding: bytes | None
    """``tls-server-end-point`` hash of the certificate; None where RFC 5929 defines none."""
    not_after: datetime


def load(
    directory: Path, hosts: Iterable[str], certificate: Path | None = None, private_key: Path | None = None
) -> ServerTls:
    """The operator's certificate if there is one, else our own, made or renewed as needed. Raises
    InvalidError.
    """
    if (certificate is None) != (private_key is None):
        raise InvalidError(
            "tls.certificate and tls.private_key belong together",
            hint="set both, or none for a certificate of our own",
        )
    if certificate is None or private_key is None:
        certificate, private_key = own_certificate(directory, hosts)
    chain, key = _read(certificate), _read(private_key)
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        config = TlsServer(chain, key, [ALPN])
    except ValueError as error:
        raise InvalidError(f"{certificate} and {private_key} cannot be used for TLS: {error}") from None
    return ServerTls(config, end_point_binding(leaf.public_bytes(Encoding.DER)), leaf.not_valid_after_utc)


def own_certificate(directory: Path, hosts: Iterable[str], now: datetime | None = None) -> tuple[Path, Path]:
    """Paths of certificate and key for ``hosts`` and this machine's own names; makes or renews what is
    missing.
    """
    now = now or datetime.now(UTC)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = _names(hosts)
    authority, authority_key = _authority(directory, now)
    certificate, key = directory / "server.crt", directory / "server.key"
    if not (certificate.exists() and key.exists() and _serves(certificate, authority, names, now)):
        _make_server(certificate, key, authority, authority_key, names, now)
    return certificate, key


def _names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in ["localhost", socket.gethostname(), "127.0.0.1", "::1", *hosts]:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            name: x509.GeneralName | None = x509.DNSName(host) if host.isascii() and host else None
        else:
            name = None if address.is_unspecified else x509.IPAddress(address)
        if name is not None and name not in names:
            names.append(name)
    return names


def _authority(directory: Path, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path, key_path = directory / "ca.crt", directory / "ca.key"
    if path.exists() and key_path.exists():
        certificate = x509.load_pem_x509_certificate(_read(path))
        key = load_pem_private_key(_read(key_path), None)
        if isinstance(key, ec.EllipticCurvePrivateKey) and now < certificate.not_valid_after_utc - timedelta(
            days=SERVER_DAYS
        ):
            return certificate, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("pgwitness gateway authority")
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _pem(key), 0o600)
    _write(path, certificate.public_bytes(Encoding.PEM), 0o644)
    return certificate, key


def _make_server(
    path: Path,
    key_path: Path,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
    now: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = (
        _builder(_subject("pgwitness gateway"), authority.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(signer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write(key_path, _pem(key), 0o600)
    _write(path, certificate.public_bytes(Encoding.PEM), 0o644)


def _serves(path: Path, authority: x509.Certificate, names: list[x509.GeneralName], now: datetime) -> bool:
    """Signed by the authority, with all the names, and not soon to end."""
    try:
        certificate = x509.load_pem_x509_certificate(_read(path))
        certificate.verify_directly_issued_by(authority)
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with it, a new one is the answer
        return False
    lasts = certificate.not_valid_after_utc - now > timedelta(days=RENEW_DAYS)
    return lasts and all(name in present for name in names)


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
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


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"cannot read {path}: {error.strerror}") from None


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
