"""Sessions' secrets for auditors: encrypted to their age recipients, so that who writes the record need not
be able to read it (docs/record-format.md, Secrets).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyrage

from pgwitness.errors import InvalidError, RecordBroken
from pgwitness.record.chunks import SECRET_BYTES
from pgwitness.record.entries import session_bytes
from pgwitness.record.files import Files, publish
from pgwitness.record.layout import Layout

Recipient = Any
Identity = Any
"""Of age or of SSH: pyrage's classes for them have nothing in common."""


class Wrapper:
    """Keeps each session's secret for the recipients, durably."""

    def __init__(self, layout: Layout, recipients: Sequence[str], files: Files | None = None) -> None:
        """Raises InvalidError for what is no recipient."""
        self._layout = layout
        self._recipients = [parse_recipient(text) for text in recipients]
        self._files = files or Files()

    def __call__(self, session: str, secret: bytes) -> None:
        """``chain.Wrap``. Raises OSError."""
        wrapped = pyrage.encrypt(session_bytes(session) + secret, self._recipients)
        publish(self._files, {self._layout.wrapped_secret(session): wrapped})


def parse_recipient(text: str) -> Recipient:
    """``age1…``, or an SSH public key. Raises InvalidError."""
    kind = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
    try:
        return kind.from_str(text.strip())
    except pyrage.RecipientError as error:
        raise InvalidError(f"{text!r} is no age recipient: {error}", hint="age-keygen makes a pair") from None


def read_identities(path: Path) -> list[Identity]:
    """The private keys of a file as age-keygen or ssh-keygen writes it. Raises InvalidError."""
    try:
        data = path.read_bytes()
        if b"PRIVATE KEY-----" in data:
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        found: list[Identity] = [
            pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")
        ]
    except OSError as error:
        raise InvalidError(f"{path} cannot be read: {error.strerror}") from None
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise InvalidError(f"{path} holds no age identity that can be used") from None
    if not found:
        raise InvalidError(f"{path} holds no age identity")
    return found


def unwrap(session: str, wrapped: bytes, identities: Sequence[Identity]) -> bytes:
    """The session's secret. Raises RecordBroken."""
    try:
        opened: bytes = pyrage.decrypt(wrapped, identities)
    except pyrage.DecryptError as error:
        raise RecordBroken(f"the secret of session {session} is not for this key: {error}") from None
    if len(opened) != 16 + SECRET_BYTES or opened[:16] != session_bytes(session):
        raise RecordBroken(f"what was encrypted is not the secret of session {session}")
    return opened[16:]
