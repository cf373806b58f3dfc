"""The connector as a witness of the record: it keeps the latest checkpoint that the gateway showed it, lets
no later one pass that does not contain it, and says aloud what it found.

The gateway's administrator can rewrite the gateway's files. He cannot rewrite what lies here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import structlog

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.record.heads import HeadKeeper, Judgement, Verdict
from pgwitness.wire.tunnel import Disputed, Head, Prove

log = structlog.get_logger("pgwitness.connector")

PATIENCE: Final = 5
"""Heads in a row that may come without the proof that was asked for."""


def heads_directory(state: Path, authority: str) -> Path:
    """Of the gateway with this certificate authority (PEM): another gateway has another log."""
    return state / "heads" / hashlib.sha256(authority.encode()).hexdigest()[:16]


class HeadWatch:
    """One gateway's heads. Not for two threads at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keeper: HeadKeeper | None = None
        self._unproven = 0
        self._said: Judgement | None = None

    def look(self, head: Head) -> Prove | Disputed | None:
        """What to say to the gateway about a head. Each dispute is said once, until all is well again."""
        try:
            keeper = self._keeper = self._keeper or HeadKeeper(self._directory, head.verifier)
            if self._needs_proof(keeper, head):
                return Prove(keeper.size)
            judgement = keeper.check(head.note, head.proof)
        except (RecordBroken, OSError) as error:
            log.error("head_not_kept", error=str(error))
            return None
        self._unproven = 0
        if judgement.verdict.sound:
            if self._said is not None:
                log.warning("record_is_in_order_again", size=keeper.size)
            self._said = None
            return None
        return self._dispute(keeper, head, judgement)

    def _needs_proof(self, keeper: HeadKeeper, head: Head) -> bool:
        """Whether to ask for a proof from where we are: but not for ever."""
        try:
            checkpoint, _ = parse_checkpoint(head.note)
        except RecordBroken:
            return False
        if keeper.size == 0 or checkpoint.size <= keeper.size or head.old == keeper.size:
            return False
        self._unproven += 1
        return self._unproven <= PATIENCE

    def _dispute(self, keeper: HeadKeeper, head: Head, judgement: Judgement) -> Disputed | None:
        known = self._said is not None and self._said.verdict is judgement.verdict
        self._said = judgement
        if known:
            return None
        log.error(
            "record_disputed",
            verdict=judgement.verdict.value,
            why=judgement.text,
            kept=str(self._directory / "head"),
            unsound=None if judgement.verdict is Verdict.not_ours else str(self._directory / "unsound"),
        )
        return Disputed(judgement.verdict.value, judgement.text, keeper.head or b"", head.note)
