"""Encryption of what the catalog must be able to read again: passwords and private keys.

The key is not in the catalog: it comes from a setting or from a file that is made on first use, so that a
copy of the catalog alone gives nothing away. Ciphertext is Fernet (AES-128-CBC, HMAC-SHA-256).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets as random
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from pgwitness.catalog.models import Secret
from pgwitness.errors import InvalidError, UnavailableError

_KEY_HINT = "a key is 32 random bytes in URL-safe base64, for example from: head -c 32 /dev/urandom | base64"
SALT_BYTES = 16


class SecretBox:
    """Encrypts and decrypts under one key, and derives from it what must look random and stay the same."""

    def __init__(self, key: Secret, source: str = "the secret key") -> None:
        """``source`` names it in an error. Raises InvalidError."""
        try:
            raw = base64.urlsafe_b64decode(key.reveal().strip().replace("+", "-").replace("/", "_"))
            if len(raw) != 32:
                raise ValueError
        except ValueError:
            raise InvalidError(f"{source} is not 32 bytes in base64", hint=_KEY_HINT) from None
        self._fernet = Fernet(base64.urlsafe_b64encode(raw))
        self._salts = hmac.digest(raw, b"pgwitness scram salt", hashlib.sha256)

    def encrypt(self, secret: Secret) -> str:
        return self._fernet.encrypt(secret.reveal().encode()).decode()

    def decrypt(self, ciphertext: str) -> str:
        """Raises UnavailableError if it was encrypted under another key."""
        try:
            return self._fernet.decrypt(ciphertext.encode()).decode()
        except InvalidToken:
            raise UnavailableError(
                "a stored password cannot be decrypted: it was encrypted under another secret key",
                hint="start with the secret key that this catalog was made with, or set the password again "
                "with: pgwitness connection update NAME --password-stdin",
            ) from None

    def salt(self, name: str) -> bytes:
        """The SCRAM salt of an identity of that name, whether it exists or not.

        Existing identities get the same salt as unknown ones would, so a salt never tells whether a name is
        known, and does not change when the identity is added.
        """
        return hmac.digest(self._salts, name.encode(errors="surrogatepass"), hashlib.sha256)[:SALT_BYTES]


def open_box(key: Secret | None, key_file: Path) -> SecretBox:
    """A box under ``key`` or, if that is None, under the key in the file, which is made if need be."""
    if key is not None:
        return SecretBox(key, "the secret key of PGWITNESS_SECRET_KEY or of the setting secret_key")
    return SecretBox(_read_or_make(key_file), f"the secret key in {key_file}")


def _read_or_make(path: Path) -> Secret:
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o007:
            raise InvalidError(
                f"the secret key {path} can be read by every user of this machine", hint=f"chmod 600 {path}"
            )
        return Secret(path.read_text())
    except OSError as error:
        raise UnavailableError(f"cannot use the secret key {path}: {error.strerror}") from None


def _make(path: Path) -> None:
    """Write aside, then link: of two processes that start at once, one wins, and both read a whole file."""
    aside = path.with_name(f".{path.name}.{random.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.urlsafe_b64encode(random.token_bytes(32)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return
    finally:
        aside.unlink()
