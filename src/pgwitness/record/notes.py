"""Signed notes (c2sp.org/signed-note) with Ed25519: text, a blank line, signatures that name their keys."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pgwitness.errors import RecordBroken

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
"""Type of a witness's key (c2sp.org/tlog-cosignature)."""
MAX_BYTES = 1 << 20
MAX_SIGNATURES = 64
_DASH = "— "


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key under its name."""

    name: str
    public: bytes
    type: bytes = ED25519

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + self.type + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encode(self.type + self.public)}"

    def holds(self, text: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key under its name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, self.private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The note of a text that ends in a newline, with this signature."""
        signature = self.verifier.id + self.private.sign(text.encode())
        return f"{text}\n{_DASH}{self.name} {_encode(signature)}\n"


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    signature: bytes
    line: str


@dataclass(frozen=True, slots=True)
class Note:
    """A note taken apart. Nothing of it is to be believed before ``verify``."""

    text: str
    signatures: tuple[Signature, ...]

    def verify(self, verifiers: Iterable[Verifier]) -> list[Verifier]:
        """Those of the keys that signed it, at least one; keys of witnesses are not asked. A signature
        that names one of the keys and does not fit spoils the whole. Raises RecordBroken."""
        known = {(each.name, each.id): each for each in verifiers if each.type == ED25519}
        signed = []
        for signature in self.signatures:
            verifier = known.get((signature.name, signature.key_id))
            if verifier is None:
                continue
            if not verifier.holds(self.text.encode(), signature.signature):
                raise RecordBroken(f"the signature of {signature.name} does not fit the text")
            signed.append(verifier)
        if not signed:
            found = ", ".join(f"{each.name}+{each.key_id.hex()}" for each in self.signatures)
            wanted = ", ".join(f"{name}+{key_id.hex()}" for name, key_id in known)
            raise RecordBroken(f"it is signed by {found}, not by {wanted}")
        return signed


def parse_note(data: bytes) -> Note:
    """Raises RecordBroken."""
    if len(data) > MAX_BYTES:
        raise RecordBroken("a note of more than 1 MiB")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise RecordBroken("it is not UTF-8") from None
    if any(character < " " and character != "\n" for character in whole):
        raise RecordBroken("it has a control character")
    text, blank, rest = whole.rpartition("\n\n")
    if not blank or not rest.endswith("\n"):
        raise RecordBroken("it is not a signed note: no text, blank line and signatures")
    lines = rest[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise RecordBroken(f"it has more than {MAX_SIGNATURES} signatures")
    return Note(text + "\n", tuple(_signature(line) for line in lines))


def parse_verifiers(text: str) -> list[Verifier]:
    """The keys of a verifier file, one a line. Raises RecordBroken."""
    keys = [parse_verifier(line.strip()) for line in text.splitlines() if line.strip()]
    if not keys:
        raise RecordBroken("there is no verifier key")
    return keys


def parse_verifier(text: str) -> Verifier:
    """``name+hash+base64``. Raises RecordBroken."""
    name, first, rest = text.partition("+")
    key_id, second, key = rest.partition("+")
    data = _decode(key)
    if not first or not second or not is_name(name) or data is None or len(data) != 33:
        raise RecordBroken("a verifier key has the form name+hash+base64")
    verifier = Verifier(name, data[1:], data[:1])
    if verifier.type not in (ED25519, COSIGNATURE) or verifier.id.hex() != key_id:
        raise RecordBroken(f"the verifier key of {name} does not fit its hash, or is of an unknown type")
    return verifier


def is_name(name: str) -> bool:
    """Whether a key may be called that."""
    return bool(name) and "+" not in name and not any(each.isspace() or each < " " for each in name)


def add_signatures(note: bytes, lines: Sequence[str]) -> bytes:
    """The note with further signature lines, as a witness gives them. The first line per key counts."""
    have = {(each.name, each.key_id) for each in parse_note(note).signatures}
    more = [line for line in lines if _key(_signature(line)) not in have]
    return note + "".join(f"{line}\n" for line in more).encode()


def _key(signature: Signature) -> tuple[str, bytes]:
    return signature.name, signature.key_id


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    data = _decode(encoded)
    if not line.startswith(_DASH) or not space or not is_name(name) or data is None or len(data) < 5:
        raise RecordBroken("a signature line is malformed")
    return Signature(name, data[:4], data[4:], line)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes | None:
    """Only the one spelling: otherwise a changed byte could mean the same."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _encode(data) == text else None
