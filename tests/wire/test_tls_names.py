"""Host names in certificates, case by case as libpq's own tests have them."""

import datetime
import ipaddress
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from pgwitness.wire.tls_names import CertificateNameError, check_host_name, end_point_binding, name_matches

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    common: str | None, names: Sequence[str] = (), key: object = KEY, algorithm: object = hashes.SHA256()
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
    now = datetime.datetime(2026, 1, 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if names:
        general = [
            x509.IPAddress(ipaddress.ip_address(name[3:])) if name.startswith("ip:") else x509.DNSName(name)
            for name in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("db.example.com", "db.example.com", True),
        ("DB.Example.COM", "db.example.com", True),
        ("db.example.com", "db.example.com.", False),
        ("*.example.com", "db.example.com", True),
        ("*.example.com", "DB.EXAMPLE.com", True),
        ("*.example.com", "a.db.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("d*.example.com", "db.example.com", False),
        ("db.*.com", "db.example.com", False),
        ("*", "localhost", False),
        ("*.", "a.", False),
        ("*.m", "a.m", True),
    ],
)
def test_wildcards(pattern: str, host: str, matches: bool) -> None:
    assert name_matches(pattern, host) is matches


@pytest.mark.parametrize(
    ("common", "names", "host", "good"),
    [
        ("db.example.com", [], "db.example.com", True),
        ("*.example.com", [], "db.example.com", True),
        ("db.example.com", ["other.example.com"], "db.example.com", False),
        ("other", ["a.example.com", "*.example.org"], "db.example.org", True),
        ("db.example.com", ["ip:192.0.2.1"], "db.example.com", True),
        (None, ["ip:192.0.2.1"], "192.0.2.1", True),
        (None, ["ip:2001:db8::1"], "2001:0db8:0::1", True),
        (None, ["ip:192.0.2.1"], "192.0.2.2", False),
        ("192.0.2.1", [], "192.0.2.1", True),
        ("192.0.2.1", ["db.example.com"], "192.0.2.1", True),
        ("192.0.2.1", ["ip:192.0.2.2"], "192.0.2.1", False),
        (None, ["192.0.2.1"], "192.0.2.1", True),
        (None, [], "db.example.com", False),
        ("db.example.com", [], "", False),
        ("db.example.com\0.evil.org", [], "db.example.com", False),
    ],
)
def test_certificates(common: str | None, names: list[str], host: str, good: bool) -> None:
    der = certificate(common, names)
    if good:
        check_host_name(der, host)
    else:
        with pytest.raises(CertificateNameError):
            check_host_name(der, host)


def test_the_error_names_both() -> None:
    with pytest.raises(CertificateNameError, match=r'"a" \(and 2 other names\) does not match host name "h"'):
        check_host_name(certificate("x", ["a", "b", "c"]), "h")


def test_garbage_is_a_certificate_error() -> None:
    with pytest.raises(CertificateNameError):
        check_host_name(b"garbage", "h")


def test_end_point_binding_follows_the_signature() -> None:
    der = certificate("a", algorithm=hashes.SHA384())
    digest = hashes.Hash(hashes.SHA384())
    digest.update(der)
    assert end_point_binding(der) == digest.finalize()
    assert (
        end_point_binding(certificate("a", key=ed25519.Ed25519PrivateKey.generate(), algorithm=None)) is None
    )
