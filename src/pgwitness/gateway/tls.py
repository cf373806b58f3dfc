"""The gateway's own TLS identity: certificates of its own authority made on first start, or the operator's.

``STATE/tls`` holds ``server.crt`` and ``server.key`` for clients, ``tunnel.crt`` and ``tunnel.key`` for
connectors, beside the authority (``identity.authority``). A certificate is renewed at a start within 30
days of its end, or when the names that it must carry have changed; the authority stays, so clients need not
be told.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pgwitness._core import TlsServer
from pgwitness.errors import InvalidError
from pgwitness.identity.authority import Authority, open_authority
from pgwitness.wire.startup import ALPN
from pgwitness.wire.tls_names import end_point_binding
from pgwitness.wire.tunnel import SERVER_NAME


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
        leaf = _certificates(certificate, chain)[0]
        config = TlsServer(chain, key, [ALPN])
    except ValueError as error:
        raise InvalidError(f"{certificate} and {private_key} cannot be used for TLS: {error}") from None
    return ServerTls(config, end_point_binding(leaf.public_bytes(Encoding.DER)), leaf.not_valid_after_utc)


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise InvalidError(
            f"{path} holds no certificate in PEM", hint="such a file begins with -----BEGIN CERTIFICATE-----"
        ) from None


def own_certificate(directory: Path, hosts: Iterable[str], now: datetime | None = None) -> tuple[Path, Path]:
    """Paths of certificate and key for ``hosts`` and this machine's own names; makes or renews what is
    missing.
    """
    now = now or datetime.now(UTC)
    return open_authority(directory, now).serves(directory, "server", "pgwitness gateway", _names(hosts), now)


def load_tunnel(directory: Path, authority: Authority, alpn: list[str]) -> TlsServer:
    """The identity towards connectors, always of our own authority: connectors know no other. A client
    certificate may be missing, and then the conversation has to be one that does without.
    """
    names = [x509.DNSName(SERVER_NAME)]
    certificate, key = authority.serves(directory, "tunnel", SERVER_NAME, names, datetime.now(UTC))
    return TlsServer(_read(certificate), _read(key), alpn, authority.pem)


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"cannot read {path}: {error.strerror}") from None
