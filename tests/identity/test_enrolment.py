"""What the gateway answers to who wants to be a connector, without a network between."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pgwitness.catalog.models import Certificate
from pgwitness.catalog.store import Catalog
from pgwitness.errors import ConnectorRefused, InvalidError
from pgwitness.identity.authority import open_authority
from pgwitness.identity.enrolment import Enrolment, invite
from pgwitness.wire.join_token import JoinToken, parse_join_token

Join = Callable[[str], Certificate]


def request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@pytest.fixture
def enrolment(catalog: Catalog, tmp_path: Path) -> Enrolment:
    return Enrolment(catalog, open_authority(tmp_path / "tls"), timedelta(hours=24))


@pytest.fixture
def token(catalog: Catalog, tmp_path: Path) -> JoinToken:
    invitation = invite(catalog, tmp_path / "tls", "east", actor="test")
    parsed = parse_join_token(invitation.token.reveal())
    assert parsed is not None and parsed.secret not in repr(invitation)
    return parsed


def test_a_token_pins_the_authority_and_brings_a_certificate(enrolment: Enrolment, token: JoinToken) -> None:
    assert token.pin == enrolment.authority.pin
    held, pem = enrolment.join(token.id, token.secret, request())
    assert enrolment.admit(der(pem)) == enrolment.connector_of(held.serial) == held
    assert held.connector == "east"
    assert timedelta(hours=23) < held.not_after - datetime.now(UTC) < timedelta(hours=24, seconds=1)


def test_who_is_not_admitted(enrolment: Enrolment, token: JoinToken, tmp_path: Path) -> None:
    with pytest.raises(ConnectorRefused, match="no certificate"):
        enrolment.admit(None)
    stranger = open_authority(tmp_path / "other").connector(
        request(), "east", timedelta(hours=1), datetime.now(UTC)
    )
    with pytest.raises(ConnectorRefused, match="not known"):
        enrolment.admit(der(stranger.pem))
    with pytest.raises(ConnectorRefused, match="no such"):
        enrolment.join(token.id, token.secret[::-1], request())
    with pytest.raises(ConnectorRefused, match="cannot be read"):
        enrolment.join(token.id, token.secret, b"garbage")
    enrolment.join(token.id, token.secret, request())


def test_a_removed_connector_is_out_at_the_next_look(
    enrolment: Enrolment, token: JoinToken, catalog: Catalog
) -> None:
    held, _ = enrolment.join(token.id, token.secret, request())
    assert enrolment.ended([held.serial]) == {}
    catalog.connectors.remove("east", actor="test")
    assert enrolment.ended([held.serial, "abc"]) == {
        held.serial: "the certificate is revoked: the connector was removed",
        "abc": "the certificate is not known",
    }
    with pytest.raises(ConnectorRefused, match="was removed"):
        enrolment.renew(held, request())


def test_a_renewal_leaves_both_good(enrolment: Enrolment, token: JoinToken) -> None:
    held, _ = enrolment.join(token.id, token.secret, request())
    renewed, pem = enrolment.renew(held, request())
    assert renewed.serial != held.serial and renewed.connector_id == held.connector_id
    assert enrolment.admit(der(pem)) == renewed
    assert enrolment.ended([held.serial, renewed.serial]) == {}


def test_no_certificate_past_a_revocation(
    enrolment: Enrolment, token: JoinToken, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for who asked a moment before, and was known then."""
    held, _ = enrolment.join(token.id, token.secret, request())
    renew = catalog.connectors.renew

    def revoked_meanwhile(*arguments: Any, **named: Any) -> Any:
        invite(catalog, tmp_path / "tls", "east", actor="test", again=True, revoke=True)
        return renew(*arguments, **named)

    monkeypatch.setattr(catalog.connectors, "renew", revoked_meanwhile)
    with pytest.raises(ConnectorRefused, match="revoked"):
        enrolment.renew(held, request())
    assert catalog.connectors.get("east").certificate_ends is None


def test_what_has_expired_is_out(catalog: Catalog, token: JoinToken, tmp_path: Path) -> None:
    short = Enrolment(catalog, open_authority(tmp_path / "tls"), timedelta(seconds=-1))
    held, _ = short.join(token.id, token.secret, request())
    assert "expired" in short.ended([held.serial])[held.serial]


def test_joining_anew_locks_the_former_out(
    enrolment: Enrolment, token: JoinToken, catalog: Catalog, tmp_path: Path
) -> None:
    held, _ = enrolment.join(token.id, token.secret, request())
    text = invite(catalog, tmp_path / "tls", "east", actor="test", again=True).token.reveal()
    second = parse_join_token(text)
    assert second is not None
    enrolment.join(second.id, second.secret, request())
    assert "joined anew" in enrolment.ended([held.serial])[held.serial]


def test_an_invitation_is_not_for_ever(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="expires"):
        invite(catalog, tmp_path / "tls", "east", actor="test", lifetime=None)
