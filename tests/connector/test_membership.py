import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgwitness.connector.membership import Membership, MembershipFile, check_certificate, new_request
from pgwitness.errors import InvalidError, UnavailableError
from pgwitness.identity.authority import Authority, open_authority

NOW = datetime.now(UTC)


def issue(authority: Authority, request: bytes) -> str:
    return authority.connector(request, "east", timedelta(hours=24), NOW).pem.decode()


@pytest.fixture
def member(tmp_path: Path) -> Membership:
    authority = open_authority(tmp_path / "tls")
    key, request = new_request()
    certificate = issue(authority, request)
    return Membership(
        name="east",
        gateway="gateway:7433",
        token="abc",
        authority=authority.pem.decode(),
        certificate=certificate,
        key=key.decode(),
        renew_at=NOW + timedelta(hours=12),
    )


def test_kept_for_the_owner_only_and_read_again(member: Membership, tmp_path: Path) -> None:
    file = MembershipFile(tmp_path / "state")
    assert file.load() is None
    file.save(member)
    assert file.load() == member
    assert stat.S_IMODE((tmp_path / "state" / "connector.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    file.release()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = MembershipFile(tmp_path)
    with pytest.raises(UnavailableError, match="another connector"):
        MembershipFile(tmp_path)
    first.release()
    MembershipFile(tmp_path).release()


def test_damage_is_explained(member: Membership, tmp_path: Path) -> None:
    file = MembershipFile(tmp_path / "state")
    path = tmp_path / "state" / "connector.json"
    for damaged in (b"", b"{}", b"\xff", b'{"name": 1}'):
        path.write_bytes(damaged)
        with pytest.raises(InvalidError, match="damaged"):
            file.load()
    file.save(member)
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(InvalidError, match="newer pgwitness"):
        file.load()
    file.release()


def test_a_state_that_cannot_be_used_is_explained(member: Membership, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be used"):
        MembershipFile(tmp_path / "file")
    file = MembershipFile(tmp_path / "state")
    (tmp_path / "state" / "connector.json").mkdir()
    with pytest.raises(UnavailableError, match="cannot write"):
        file.save(member)
    file.release()


def test_a_certificate_of_another_key_or_authority_is_not_taken(member: Membership, tmp_path: Path) -> None:
    key, request = new_request()
    other = issue(open_authority(tmp_path / "other"), request)
    for certificate, own_key in (
        (other, key),
        (member.certificate, key),
        ("garbage", key),
    ):
        with pytest.raises(InvalidError, match="sent a certificate"):
            check_certificate(certificate, own_key, member.authority)
    renewed = member.renewed(key, issue(open_authority(tmp_path / "tls"), request), NOW)
    assert renewed.key == key.decode() and renewed.name == "east"
    assert abs(renewed.renew_at - (NOW + timedelta(hours=12))) < timedelta(seconds=2)
