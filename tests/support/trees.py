"""Small logs in memory, signed, for tests that need proofs and heads but no record."""

import base64
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pgwitness.record.checkpoint import Checkpoint
from pgwitness.record.merkle import consistency_proof, leaf_hash, perfect_root, root
from pgwitness.record.notes import COSIGNATURE, Signer, Verifier
from pgwitness.record.witness import cosigned_text


class Log:
    """Leaves, and the heads and proofs of what they were at any size."""

    def __init__(self, *leaves: bytes, name: str = "pgwitness/test", seed: bytes = b"log") -> None:
        self.leaves = list(leaves)
        self.signer = Signer(name, Ed25519PrivateKey.from_private_bytes(sha256(seed).digest()))

    @property
    def verifier(self) -> str:
        return str(self.signer.verifier)

    def grow(self, count: int) -> "Log":
        """As many more leaves, each its own."""
        self.leaves += [f"{len(self.leaves) + n}".encode() for n in range(count)]
        return self

    def head(self, size: int | None = None) -> bytes:
        size = len(self.leaves) if size is None else size
        return Checkpoint(self.signer.name, size, root(self._subtree, size)).sign(self.signer)

    def proof(self, old: int, new: int | None = None) -> list[bytes]:
        return consistency_proof(self._subtree, old, len(self.leaves) if new is None else new)

    def _subtree(self, level: int, index: int) -> bytes:
        width = 1 << level
        return perfect_root([leaf_hash(leaf) for leaf in self.leaves[index * width : (index + 1) * width]])


class WitnessKey:
    """Cosigns, as c2sp.org/tlog-cosignature has it."""

    def __init__(self, name: str = "witness.example/w1", seed: bytes = b"witness") -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(sha256(seed).digest())
        self.verifier = Verifier(name, self.private.public_key().public_bytes_raw(), COSIGNATURE)

    def cosign(self, note: bytes, time: int) -> str:
        """A signature line, with its newline."""
        text = note.decode().rpartition("\n\n")[0] + "\n"
        signature = self.private.sign(cosigned_text(text, time))
        packed = self.verifier.id + time.to_bytes(8, "big") + signature
        return f"— {self.verifier.name} {base64.b64encode(packed).decode()}\n"
