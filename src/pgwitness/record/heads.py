"""A head kept by somebody else: the latest checkpoint that a connector, or anyone, saw of a log.

Whoever holds the log can cut it off, or write another one and sign it with the same key: both are sound in
themselves. What gives them away is a head in other hands. ``HeadKeeper`` keeps one, takes only heads that are
proven to extend it, and says what is wrong with any other.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.files import Files, publish
from pgwitness.record.merkle import consistency_holds
from pgwitness.record.notes import Verifier, parse_verifiers


class Verdict(enum.StrEnum):
    """What a head is to somebody who has one."""

    extends = "extends"
    """Newer, and proven to contain all that the one kept contains."""
    same = "same"
    """The same tree; it may have been signed later."""
    forked = "forked"
    """It leaves out, changes or reorders something that was there."""
    rolled_back = "rolled_back"
    """It is smaller than the one kept: entries at the end are gone."""
    not_ours = "not_ours"
    """Not of this log, not signed by its key, or not a checkpoint."""

    @property
    def sound(self) -> bool:
        return self in (Verdict.extends, Verdict.same)


@dataclass(frozen=True, slots=True)
class Judgement:
    """On one head."""

    verdict: Verdict
    text: str
    """For a person; empty when all is well."""


def judge(kept: Checkpoint | None, new: Checkpoint, proof: Sequence[bytes]) -> Judgement:
    """A head against the one before. ``proof`` is RFC 6962's consistency proof between their sizes; without a
    head before, there is nothing to prove. Signatures are not looked at."""
    if kept is None:
        return Judgement(Verdict.extends, "")
    if new.origin != kept.origin:
        return Judgement(Verdict.not_ours, f"it is of the log {new.origin}, not of {kept.origin}")
    if new.size < kept.size:
        return Judgement(
            Verdict.rolled_back,
            f"the log had {kept.size} entries and now has {new.size}: its end was cut off",
        )
    if new.size == kept.size:
        if new.root == kept.root:
            return Judgement(Verdict.same, "")
        return Judgement(Verdict.forked, f"two logs of {new.size} entries with different roots")
    if not consistency_holds(kept.size, kept.root, new.size, new.root, proof):
        return Judgement(
            Verdict.forked,
            f"the log of {new.size} entries is not proven to contain the {kept.size} entries seen before",
        )
    return Judgement(Verdict.extends, "")


class HeadKeeper:
    """Keeps the latest head of one log in ``directory``: ``head``, and ``verifier`` with the log's key.

    The first key is trusted as it comes, like a host's key: give ``verifier`` where it is known. What was
    judged unsound is kept beside, in ``unsound``, as evidence; it never replaces the head.
    """

    def __init__(self, directory: Path, verifier: str | None = None, files: Files | None = None) -> None:
        """``verifier``: the log's public key as text, for a directory that has none yet. Raises RecordBroken
        when what is kept there, or the key, makes no sense, and OSError."""
        self._files = files or Files()
        self._key_file = directory / "verifier"
        self._head_file = directory / "head"
        self._unsound_file = directory / "unsound"
        if verifier is not None and not self._key_file.exists():
            parse_verifiers(verifier)
            publish(self._files, {self._key_file: verifier.strip().encode() + b"\n"})
        self._verifiers: list[Verifier] = []
        if self._key_file.exists():
            self._verifiers = parse_verifiers(self._key_file.read_text())
        self._kept: Checkpoint | None = None
        if self._head_file.exists():
            self._kept = parse_checkpoint(self._head_file.read_bytes())[0]

    @property
    def knows_key(self) -> bool:
        return bool(self._verifiers)

    @property
    def size(self) -> int:
        """Of the head that is kept, 0 when there is none: ask for a consistency proof from here."""
        return self._kept.size if self._kept else 0

    @property
    def head(self) -> bytes | None:
        """The note that is kept."""
        return self._head_file.read_bytes() if self._kept else None

    def check(self, note: bytes, proof: Sequence[bytes] = ()) -> Judgement:
        """Judge a head, and keep it if it is sound. ``proof`` leads from ``size`` to the head's size; none is
        needed when ``size`` is 0 or the same. Raises OSError when it cannot be kept."""
        try:
            new, parsed = parse_checkpoint(note)
            parsed.verify(self._verifiers)
        except RecordBroken as error:
            return self._unsound(note, Judgement(Verdict.not_ours, str(error)))
        judgement = judge(self._kept, new, proof)
        if not judgement.verdict.sound:
            return self._unsound(note, judgement)
        publish(self._files, {self._head_file: note})
        self._kept = new
        return judgement

    def _unsound(self, note: bytes, judgement: Judgement) -> Judgement:
        if judgement.verdict is not Verdict.not_ours:
            publish(self._files, {self._unsound_file: note})
        return judgement
