"""Signed notes and checkpoints, against notes that Go's package signed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.notes import (
    Signer,
    Verifier,
    add_signatures,
    parse_note,
    parse_verifier,
    parse_verifiers,
)

NOTES = json.loads((Path(__file__).parent / "samples" / "tlog-vectors.json").read_text())["notes"]
SIGNER = Signer("pgwitness/1", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
NOTE = SIGNER.sign("some\ntext\n").encode()


@pytest.mark.parametrize("vector", NOTES, ids=range(len(NOTES)))
def test_signing_and_verifying_are_those_of_go(vector: dict) -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
    signer = Signer("pgwitness/0011223344556677", private)
    assert str(signer.verifier) == vector["verifier"]
    assert signer.sign(vector["text"]) == vector["note"]
    note = parse_note(vector["note"].encode())
    assert note.text == vector["text"]
    assert note.verify([parse_verifier(vector["verifier"])]) == [signer.verifier]


def test_every_changed_bit_of_a_note_is_refused() -> None:
    for at in range(len(NOTE)):
        for bit in range(8):
            bent = bytes([*NOTE[:at], NOTE[at] ^ 1 << bit, *NOTE[at + 1 :]])
            with pytest.raises(RecordBroken):
                parse_note(bent).verify([SIGNER.verifier])


def test_every_changed_character_of_a_key_is_refused() -> None:
    key = str(SIGNER.verifier)
    for at in range(len(key)):
        for other in "A9+/=a\n":
            if other != key[at]:
                with pytest.raises(RecordBroken):
                    parse_verifier(key[:at] + other + key[at + 1 :])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nnot a signature\n",
        NOTE[:-1],
        NOTE.replace(b"some", b"so\x01e"),
        NOTE.replace("—".encode(), b"-"),
        b"\xff" + NOTE,
        NOTE + b"more\n",
        b"text\n\n" + "— a AAAAAAAA\n".encode() * 65,
        b"a" * (1 << 20) + NOTE,
    ],
)
def test_what_is_no_note(data: bytes) -> None:
    with pytest.raises(RecordBroken):
        parse_note(data)


def test_signatures_of_unknown_keys_count_for_nothing_and_harm_nothing() -> None:
    other = Signer("witness.example/w1", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    line = other.sign("some\ntext\n").splitlines()[-1]
    both = add_signatures(NOTE, [line, line.replace("w1", "w2")])
    assert parse_note(both).verify([SIGNER.verifier]) == [SIGNER.verifier]
    assert parse_note(both).verify([SIGNER.verifier, other.verifier]) == [SIGNER.verifier, other.verifier]
    assert add_signatures(both, [line]) == both
    with pytest.raises(RecordBroken, match=r"signed by pgwitness/1\+.*, not by witness"):
        parse_note(NOTE).verify([other.verifier])
    with pytest.raises(RecordBroken, match="does not fit"):
        parse_note(both.replace(b"some", b"same")).verify([other.verifier])


def test_a_verifier_file_holds_one_or_more_keys() -> None:
    other = Verifier("w", bytes(32), b"\x04")
    assert parse_verifiers(f"{SIGNER.verifier}\n\n{other}\n") == [SIGNER.verifier, other]
    with pytest.raises(RecordBroken, match="no verifier key"):
        parse_verifiers("\n")


CHECKPOINT = Checkpoint("pgwitness/1", 7, bytes(32), datetime(2026, 11, 22, 6, 45, tzinfo=UTC), 99, 1, 1234)


def test_a_checkpoint_comes_back_as_it_was() -> None:
    checkpoint, note = parse_checkpoint(CHECKPOINT.sign(SIGNER))
    assert checkpoint == CHECKPOINT
    assert note.verify([SIGNER.verifier])
    assert note.text.splitlines()[3:] == ["time 2026-11-22T06:45:00.000000Z", "tape 99", "chunks 1 1234"]


def test_a_checkpoint_of_another_log_needs_three_lines_only() -> None:
    text = "go.sum database tree\n4\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nsomething else\n"
    checkpoint, _ = parse_checkpoint(SIGNER.sign(text).encode())
    assert (checkpoint.size, checkpoint.time, checkpoint.tape) == (4, None, 0)


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n",
        "a\n01\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "a\n-1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "a\n1\nAAAA\n",
        "a\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        "a\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\ntime yesterday\n",
        "a\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\ntape far\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(RecordBroken):
        parse_checkpoint(SIGNER.sign(text).encode())
