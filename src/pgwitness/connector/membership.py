"""What a connector keeps: who it is, which gateway it belongs to, its key and its certificate.

All of it is one file, ``connector.json`` in the state directory, readable by its owner only and replaced as a
whole, so that key and certificate always belong together.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pgwitness._core import TlsClient
from pgwitness.errors import InvalidError, UnavailableError
from pgwitness.private_files import write_private
from pgwitness.state_lock import StateLock
from pgwitness.wire.tunnel import TUNNEL

FILE: Final = "connector.json"


class Membership(msgspec.Struct, frozen=True):
    """A connector's place at one gateway."""

    name: str
    gateway: str
    """``HOST:PORT``"""
    token: str
    """Public id of the join token that it joined by, so that the same one is not tried again."""
    authority: str
    certificate: str
    key: str
    """These three in PEM."""
    renew_at: datetime
    """Half of the certificate's life is over then."""
    version: int = 1

    def __repr__(self) -> str:
        return f"Membership(name={self.name!r}, gateway={self.gateway!r}, …)"

    @property
    def not_after(self) -> datetime:
        return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc

    def tls(self) -> TlsClient:
        """For the tunnel. The name in the gateway's certificate is the caller's to check."""
        return TlsClient(
            roots=self.authority.encode(),
            certificate_chain=self.certificate.encode(),
            private_key=self.key.encode(),
            alpn=[TUNNEL],
        )

    def renewed(self, key: bytes, certificate: str, now: datetime) -> Membership:
        """With the next certificate, for this key. Raises InvalidError."""
        checked = check_certificate(certificate, key, self.authority)
        return msgspec.structs.replace(
            self, certificate=certificate, key=key.decode(), renew_at=half_of_life(checked, now)
        )


class MembershipFile:
    """The state directory of one connector process, until ``release``."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory if need be. Raises UnavailableError if another connector is there."""
        self.directory = directory
        self._path = directory / FILE
        self._lock = StateLock(directory, "connector")

    def load(self) -> Membership | None:
        """None if it never joined. Raises InvalidError, UnavailableError."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Membership)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnavailableError(f"cannot read {self._path}: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise InvalidError(
                f"{self._path} is damaged",
                hint="remove it and join anew, by a token of: pgwitness connector rejoin NAME",
            ) from None
        if found.version != 1:
            raise InvalidError(f"{self._path} was written by a newer pgwitness", hint="use that version")
        return found

    def save(self, membership: Membership) -> None:
        """Raises UnavailableError; then what was there is there."""
        try:
            write_private(self._path, msgspec.json.encode(membership), 0o600)
        except OSError as error:
            raise UnavailableError(f"cannot write {self._path}: {error.strerror}") from None

    def release(self) -> None:
        self._lock.release()


def new_request() -> tuple[bytes, bytes]:
    """A new key that never leaves this machine, and the request for a certificate of it; both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, request.public_bytes(Encoding.PEM)


def check_certificate(certificate: str, key: bytes, authority: str) -> x509.Certificate:
    """The certificate, if the authority issued it for this key. Raises InvalidError."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
        parsed.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
        ours = parsed.public_key() == load_pem_private_key(key, None).public_key()
    except Exception as error:  # whatever is wrong with it, it cannot be used
        raise InvalidError(f"the gateway sent a certificate that cannot be used: {error}") from None
    if not ours:
        raise InvalidError("the gateway sent a certificate for another key")
    return parsed


def half_of_life(certificate: x509.Certificate, now: datetime) -> datetime:
    """Counted from now, as a certificate begins in the past."""
    return now + (certificate.not_valid_after_utc - now) / 2
