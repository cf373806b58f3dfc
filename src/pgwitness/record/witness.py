"""What a log and a witness say to each other (c2sp.org/tlog-witness, c2sp.org/tlog-cosignature): bytes in,
values out.
"""

import base64
from collections.abc import Iterable, Sequence

from pgwitness.errors import RecordBroken
from pgwitness.record.notes import COSIGNATURE, Signature, Verifier, parse_note, parse_verifier

SIZE_TYPE = "text/x.tlog.size"
"""Content type of an answer that tells the size of the head which the witness has."""
MOST_HASHES = 63
_STAMP_BYTES = 8


def parse_witness_key(text: str) -> Verifier:
    """A witness's verifier key. Raises RecordBroken."""
    verifier = parse_verifier(text)
    if verifier.type != COSIGNATURE:
        raise RecordBroken(f"the key of {verifier.name} is not one of a witness (type 4)")
    return verifier


def add_checkpoint(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """Body of the request: the head that the witness has, a proof from there, the new head."""
    if len(proof) > MOST_HASHES:
        raise ValueError("a consistency proof has at most 63 hashes")
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof)]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + note


def cosigned_text(text: str, time: int) -> bytes:
    """What a witness signs of a checkpoint's text; ``time`` is in seconds since the epoch."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosignature_holds(verifier: Verifier, text: str, signature: Signature) -> bool:
    """Whether it is that witness's own signature of a checkpoint's text."""
    if (signature.name, signature.key_id) != (verifier.name, verifier.id):
        return False
    return verifier.holds(cosigned_text(text, cosigned_at(signature)), signature.signature[_STAMP_BYTES:])


def cosigned_at(signature: Signature) -> int:
    """When a witness signed, as it says: seconds since the epoch."""
    return int.from_bytes(signature.signature[:_STAMP_BYTES], "big")


def read_answer(answer: bytes, note: bytes, witnesses: Iterable[Verifier]) -> list[str]:
    """The signature lines of known witnesses in an answer; others are ignored. Raises RecordBroken when one
    of them does not fit, when there are none, and when the answer is malformed."""
    known = {(each.name, each.id): each for each in witnesses}
    text = parse_note(note).text
    lines = []
    for signature in parse_note(text.encode() + b"\n" + answer).signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        if not cosignature_holds(verifier, text, signature):
            raise RecordBroken(f"the cosignature of {verifier.name} does not fit the checkpoint")
        lines.append(signature.line)
    if not lines:
        raise RecordBroken(
            "the answer has no cosignature of " + ", ".join(each.name for each in known.values())
        )
    return lines


def read_size(answer: bytes) -> int:
    """The size in a conflict's answer. Raises RecordBroken."""
    text = answer.decode("ascii", "replace")
    number = text.removesuffix("\n")
    if not (number.isdecimal() and number.isascii() and str(int(number)) == number) or len(number) > 19:
        raise RecordBroken("the witness's answer is not the size of a tree")
    return int(number)
