"""The certificate that the gateway makes for itself, and the one that it is given."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from pgwitness.errors import InvalidError
from pgwitness.gateway import tls
from pgwitness.identity.authority import RENEW_DAYS, SERVER_DAYS
from support.certificates import Authority


def names(path: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


def test_made_once_and_kept(tmp_path: Path) -> None:
    directory = tmp_path / "tls"
    certificate, key = tls.own_certificate(directory, ["10.1.2.3", "db.internal", "0.0.0.0", "::"])
    made = certificate.read_bytes()
    assert {"localhost", "127.0.0.1", "::1", "10.1.2.3", "db.internal"} <= set(names(certificate))
    assert "0.0.0.0" not in names(certificate)
    assert stat.S_IMODE(key.stat().st_mode) == stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    tls.own_certificate(directory, ["db.internal"])
    assert certificate.read_bytes() == made
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert tls.load(directory, []).binding is not None


def test_renewed_before_its_end_by_the_same_authority(tmp_path: Path) -> None:
    certificate, _ = tls.own_certificate(tmp_path, [])
    first, authority = certificate.read_bytes(), (tmp_path / "ca.crt").read_bytes()
    soon = datetime.now(UTC) + timedelta(days=SERVER_DAYS - RENEW_DAYS + 1)
    tls.own_certificate(tmp_path, [], soon)
    assert certificate.read_bytes() != first
    assert (tmp_path / "ca.crt").read_bytes() == authority


@pytest.mark.parametrize("damage", ["names", "garbage", "key gone", "authority gone"])
def test_made_anew_when_it_no_longer_serves(tmp_path: Path, damage: str) -> None:
    certificate, key = tls.own_certificate(tmp_path, [])
    first = certificate.read_bytes()
    if damage == "garbage":
        certificate.write_text("garbage")
    elif damage == "key gone":
        key.unlink()
    elif damage == "authority gone":
        (tmp_path / "ca.key").unlink()
    tls.own_certificate(tmp_path, ["new.example"] if damage == "names" else [])
    assert certificate.read_bytes() != first
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))


def test_own_certificate_by_setting(tmp_path: Path) -> None:
    pair = Authority().issue("gateway", hosts=("gateway.example",))
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.private_key)
    loaded = tls.load(tmp_path / "tls", [], certificate, key)
    assert loaded.binding is not None and not (tmp_path / "tls").exists()
    with pytest.raises(InvalidError, match="belong together"):
        tls.load(tmp_path / "tls", [], certificate, None)
    with pytest.raises(InvalidError, match="cannot read"):
        tls.load(tmp_path / "tls", [], certificate, tmp_path / "missing")
    with pytest.raises(InvalidError, match=f"{key} holds no certificate in PEM"):
        tls.load(tmp_path / "tls", [], key, certificate)
    other = tmp_path / "other.key"
    other.write_bytes(Authority().issue("x").private_key)
    with pytest.raises(InvalidError, match="cannot be used for TLS"):
        tls.load(tmp_path / "tls", [], certificate, other)
