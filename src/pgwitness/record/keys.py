"""The key pair that signs checkpoints, made with the record."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pgwitness.errors import RecordBroken
from pgwitness.record.files import Files, ensure_directory, publish
from pgwitness.record.layout import Layout
from pgwitness.record.notes import Signer, Verifier, parse_verifiers


def make_signer(layout: Layout, files: Files | None = None) -> Signer:
    """The record's signing key; made, with the verifier, if there is no record yet.

    A record without its key is not continued under a new one: whoever verifies would call it forged. Raises
    RecordBroken, OSError.
    """
    files = files or Files()
    if layout.signing_key.exists():
        return load_signer(layout, files)
    if layout.checkpoint.exists():
        raise RecordBroken(
            f"the record in {layout.directory} has lost its signing key",
            hint=f"restore {layout.signing_key} from a backup, or move the record away to begin a new one",
        )
    signer = Signer(f"pgwitness/{os.urandom(8).hex()}", Ed25519PrivateKey.generate())
    ensure_directory(files, layout.keys)
    # The verifier comes second and holds the name: a key without one was never used.
    publish(files, {layout.signing_key: _pem(signer)})
    publish(files, {layout.verifier: f"{signer.verifier}\n".encode()})
    return signer


def load_signer(layout: Layout, files: Files | None = None) -> Signer:
    """Raises RecordBroken, OSError."""
    try:
        private = load_pem_private_key(layout.signing_key.read_bytes(), password=None)
    except ValueError as error:
        raise RecordBroken(f"{layout.signing_key} is no private key: {error}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise RecordBroken(f"{layout.signing_key} is no Ed25519 key")
    if not layout.verifier.exists() and not layout.checkpoint.exists():
        signer = Signer(f"pgwitness/{os.urandom(8).hex()}", private)
        publish(files or Files(), {layout.verifier: f"{signer.verifier}\n".encode()})
        return signer
    for verifier in read_verifiers(layout.verifier):
        signer = Signer(verifier.name, private)
        if signer.verifier == verifier:
            return signer
    raise RecordBroken(f"{layout.signing_key} and {layout.verifier} are not of one pair")


def read_verifiers(path: Path) -> list[Verifier]:
    """The public keys in a file. Raises RecordBroken."""
    try:
        return parse_verifiers(path.read_text())
    except RecordBroken as error:
        raise RecordBroken(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecordBroken(f"{path} cannot be read: {error}") from None


def _pem(signer: Signer) -> bytes:
    return signer.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
