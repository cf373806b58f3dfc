"""The join token of a connector: ``pgwj_<id>_<secret>_<pin>`` (docs/tunnel.md, Joining).

The id finds it and may be shown, the secret proves it, and the pin is the SHA-256 of the authority's
certificate in DER: by it the connector knows the gateway before it tells the secret.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH = 10
_SECRET_BYTES = 32
_TOKEN = re.compile(r"pgwj_([a-z0-9]{10})_([0-9a-f]{64})_([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class JoinToken:
    id: str
    secret: str = field(repr=False)
    pin: str

    @property
    def text(self) -> str:
        return f"pgwj_{self.id}_{self.secret}_{self.pin}"


def new_join_token(pin: str) -> JoinToken:
    token_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    return JoinToken(token_id, secrets.token_hex(_SECRET_BYTES), pin)


def parse_join_token(text: str) -> JoinToken | None:
    """None if it is none, or a part of one."""
    match = _TOKEN.fullmatch(text.strip())
    return match and JoinToken(match[1], match[2], match[3])


def pin_of(certificate: bytes) -> str:
    """What a token pins: of a certificate in DER."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def hash_of(secret: str) -> bytes:
    """What is kept of a secret. It has 256 random bits, so a plain hash gives nothing away."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
