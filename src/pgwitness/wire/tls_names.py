"""Does a server's certificate belong to the host that was dialled? By libpq's rules for ``verify-full``.

Source: fe-secure-common.c and fe-secure-openssl.c of PostgreSQL 15 and later. The chain is not checked here.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SanNames = list[str | _Address]


class CertificateNameError(ValueError):
    """The certificate does not name the host, or names something that no certificate may. The text says
    which.
    """


@lru_cache(maxsize=256)  # the same few certificates, at each log-in
def check_host_name(certificate: bytes, host: str) -> None:
    """Raises CertificateNameError unless the DER ``certificate`` names ``host``, a DNS name or an IP address.

    Subject alternative names are compared first. The common name counts only when no alternative name is of
    the host's own kind (DNS name or address).
    """
    if not host:
        raise CertificateNameError("host name must be specified for a verified TLS connection")
    parsed = _load(certificate)
    address = _address(host)
    alternatives = _alternative_names(parsed)
    for name in alternatives:
        if isinstance(name, str):
            if name_matches(name, host):
                return
        elif name == address:
            return
    of_same_kind = any(isinstance(name, str) == (address is None) for name in alternatives)
    common = [] if of_same_kind else _common_names(parsed)[:1]
    if common and name_matches(common[0], host):
        return
    raise CertificateNameError(_mismatch([str(name) for name in alternatives] + common, host))


def name_matches(pattern: str, host: str) -> bool:
    """Equal without regard to case, or a left-most ``*.`` that stands for exactly one label."""
    if "\0" in pattern:
        raise CertificateNameError("the certificate's name contains an embedded zero byte")
    pattern, host = _lower(pattern), _lower(host)
    if pattern == host:
        return True
    if len(pattern) < 3 or not pattern.startswith("*.") or len(pattern) > len(host):
        return False
    return host.endswith(pattern[1:]) and "." not in host[: len(host) - len(pattern) + 1]


def end_point_binding(certificate: bytes) -> bytes | None:
    """``tls-server-end-point`` of RFC 5929: the certificate's hash; None where it is not defined
    (Ed25519).
    """
    parsed = _load(certificate)
    try:
        algorithm = parsed.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return parsed.fingerprint(algorithm)


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise CertificateNameError(f"the server's certificate cannot be read: {error}") from None


def _alternative_names(certificate: x509.Certificate) -> _SanNames:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    except ValueError as error:
        raise CertificateNameError(f"the certificate's names cannot be read: {error}") from None
    names: _SanNames = []
    for general in extension.value:
        if isinstance(general, x509.DNSName):
            names.append(general.value)
        elif isinstance(general, x509.IPAddress):
            if not isinstance(general.value, ipaddress.IPv4Address | ipaddress.IPv6Address):
                raise CertificateNameError("the certificate contains an address that is a network")
            names.append(general.value)
    return names


def _common_names(certificate: x509.Certificate) -> list[str]:
    values = (
        attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )
    return [value for value in values if isinstance(value, str)]


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _lower(name: str) -> str:
    """ASCII only: DNS names in certificates are IA5, and lower() of other letters could join names."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)


def _mismatch(names: list[str], host: str) -> str:
    if not names:
        return "could not get server's host name from server certificate"
    others = f" (and {len(names) - 1} other name{'s' if len(names) > 2 else ''})" if len(names) > 1 else ""
    return f'server certificate for "{names[0]}"{others} does not match host name "{host}"'
