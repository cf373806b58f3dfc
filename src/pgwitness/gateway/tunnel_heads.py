"""Connectors are shown each new checkpoint, so that the record cannot be cut off or written anew behind their
backs; what they object to is on the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from pgwitness.errors import RecordBroken
from pgwitness.gateway.recorder import Recorder
from pgwitness.gateway.tunnel_online import Online
from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.sealing.offer import Heads
from pgwitness.wire.startup import printable
from pgwitness.wire.tunnel import Disputed, Head

log = structlog.get_logger("pgwitness.tunnel")

POLL_SECONDS: Final = 1.0
_CHARACTERS: Final = 500


class HeadTeller:
    """``run`` for as long as connectors are served."""

    def __init__(self, heads: Heads, online: Callable[[], Collection[Online]], recorder: Recorder) -> None:
        self._heads, self._online, self._recorder = heads, online, recorder

    async def run(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            note = self._heads.latest()
            for online in [each for each in self._online() if note and each.head != note]:
                await self._tell(online, note)

    async def _tell(self, online: Online, note: bytes) -> None:
        try:
            head = await asyncio.to_thread(self._make, note, online.head_size)
        except (RecordBroken, OSError) as error:
            log.error("head_not_told", connector=online.name, error=str(error))
            return
        online.say(head)
        online.head = note
        online.head_size = parse_checkpoint(note)[0].size

    def _make(self, note: bytes, old: int) -> Head:
        """Raises RecordBroken, OSError."""
        size = parse_checkpoint(note)[0].size
        # From a log that is larger than this one there is no proof; the connector sees that by itself.
        proof = self._heads.proof(old, note) if 0 < old <= size else []
        return Head(note, self._heads.verifier(), old, proof)

    def disputed(self, online: Online, said: Disputed) -> None:
        """For the record, and whoever reads the log."""
        facts = {
            "connector": online.name,
            "verdict": printable(said.verdict[:_CHARACTERS]),
            "why": printable(said.text[:_CHARACTERS]),
        }
        log.error("head_disputed", **facts)
        self._recorder.refused(
            {"event": "head_disputed", **facts, "kept": _text(said.kept), "offered": _text(said.offered)}
        )


def _text(note: bytes) -> str:
    return printable(note[:2000].decode("utf-8", "replace").replace("\n", " | "))
