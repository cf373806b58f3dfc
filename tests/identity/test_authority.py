import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgwitness.errors import ConnectorRefused, InvalidError, UnavailableError
from pgwitness.identity.authority import AUTHORITY_DAYS, SERVER_DAYS, open_authority
from pgwitness.wire.join_token import pin_of

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "anything") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    wish = x509.BasicConstraints(ca=True, path_length=None)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.add_extension(wish, critical=True).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_made_once_private_and_pinned(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "tls")
    assert (tmp_path / "tls" / "ca.crt").read_bytes() == authority.pem
    assert stat.S_IMODE((tmp_path / "tls" / "ca.key").stat().st_mode) == 0o600
    assert authority.pin == pin_of(authority.certificate.public_bytes(Encoding.DER))
    assert open_authority(tmp_path / "tls").pem == authority.pem


def test_replaced_before_it_could_not_vouch_any_more(tmp_path: Path) -> None:
    first = open_authority(tmp_path).pem
    assert open_authority(tmp_path, NOW + (AUTHORITY_DAYS - SERVER_DAYS - 1) * DAY).pem == first
    assert open_authority(tmp_path, NOW + (AUTHORITY_DAYS - SERVER_DAYS + 1) * DAY).pem != first


def test_a_damaged_authority_is_not_replaced_unasked(tmp_path: Path) -> None:
    open_authority(tmp_path)
    (tmp_path / "ca.key").write_text("garbage")
    with pytest.raises(InvalidError, match="cannot be read"):
        open_authority(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot use"):
        open_authority(tmp_path / "file")


def test_a_connectors_certificate_is_for_dialling_only(tmp_path: Path) -> None:
    authority, key = open_authority(tmp_path), ec.generate_private_key(ec.SECP256R1())
    issued = authority.connector(request(key, "another"), "east", DAY, NOW)
    certificate = x509.load_pem_x509_certificate(issued.pem)
    certificate.verify_directly_issued_by(authority.certificate)
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=east"
    assert (certificate.not_valid_before_utc, issued.not_after) == (NOW - timedelta(minutes=5), NOW + DAY)
    assert int(issued.serial, 16) == certificate.serial_number
    extensions = certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert authority.connector(request(key), "east", DAY, NOW).serial != issued.serial


def test_requests_that_are_not_taken(tmp_path: Path) -> None:
    authority = open_authority(tmp_path)
    good = x509.load_pem_x509_csr(request(ec.generate_private_key(ec.SECP256R1())))
    tampered = bytearray(good.public_bytes(Encoding.DER))
    tampered[-1] ^= 1
    wrong = {
        b"": "cannot be read",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n": "cannot be read",
        b"x" * 20_000: "too long",
        request(ec.generate_private_key(ec.SECP384R1())): "P-256",
        request(rsa.generate_private_key(65537, 2048)): "P-256",
        authority.pem: "cannot be read",
    }
    for pem, why in wrong.items():
        with pytest.raises(ConnectorRefused, match=why):
            authority.connector(pem, "east", DAY, NOW)
    unsigned = x509.load_der_x509_csr(bytes(tampered)).public_bytes(Encoding.PEM)
    with pytest.raises(ConnectorRefused, match="not signed"):
        authority.connector(unsigned, "east", DAY, NOW)
