"""Sends a session's messages to the copy, each when what came before it is answered, and has both sides read.

The server takes messages one after the other, so waiting at every Sync, Query, FunctionCall and Flush changes
nothing of what it does; pipelines go out whole. A COPY gets its data when the server asks for it. If it does
not, because it failed here, the data are sent all the same: a server passes over them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

from pgwitness.reenact import stand_in
from pgwitness.reenact.line import Line
from pgwitness.reenact.plan import Plan
from pgwitness.reenact.spool import ClientMessages, Spool
from pgwitness.statements import sql
from pgwitness.statements.assembler import (
    CLIENT,
    SERVER,
    SESSION_ENDED,
    SESSION_STARTED,
    Frame,
    SessionAssembler,
)
from pgwitness.statements.model import Event, StatementRecorded
from pgwitness.statements.requests import COPY_DATA, COPY_DONE, COPY_FAIL
from pgwitness.statements.state import EXECUTE, FUNCTION, QUERY, SYNC
from pgwitness.wire import codec
from pgwitness.wire.messages import text
from pgwitness.wire.splitter import MalformedMessageError

_FLUSH: Final = 0x48
_TERMINATE: Final = 0x58
_BOUNDARIES: Final = frozenset({QUERY, SYNC, FUNCTION, _FLUSH})
_COPY: Final = frozenset({COPY_DATA, COPY_DONE, COPY_FAIL})
_NO_DATA: Final = codec.message(b"f", b"there are no data on record\0")
_SYNC: Final = codec.message(b"S")

Take = Callable[[list[Event]], None]


class LostError(Exception):
    """The copy's server closed the connection, or the way there broke."""


class NoAnswerError(Exception):
    """A statement took longer than the caller allows."""


class Player:
    """``recorded`` and ``here`` get what becomes known on each side. ``over`` says when it is enough;
    ``seconds`` is the longest that an answer may take."""

    def __init__(
        self, plan: Plan, recorded: Take, here: Take, over: Callable[[], bool], seconds: float | None
    ) -> None:
        self._plan = plan
        self._recorded, self._here, self._over = recorded, here, over
        self._seconds = seconds
        self._then = SessionAssembler(keep_results=True)
        self._now = SessionAssembler(keep_results=True)
        self._session, self._sequence = b"", 0
        self._sink = 0
        """The kind of the last Query or Execute, 0 if it was not sent."""
        self._last_tag: str | None = None
        self._end: Frame | None = None
        self._frames: Iterator[Frame] = iter(())
        self._frame: Frame | None = None
        """The one that is being sent: its answers come later."""
        self.waiting = False
        """For an answer."""
        self.stopped = False
        """At the place where the plan ends."""

    def begin(self, session: bytes, header: bytes) -> None:
        """``header``: of the session as it is run here."""
        self._session = session
        self._feed(SESSION_STARTED, header)

    def take(self, data: bytes) -> None:
        """What came from the server."""
        self._feed(SERVER, data)

    async def play(self, spool: Spool, line: Line) -> None:
        """All of it, or as far as the plan goes. Raises LostError, NoAnswerError."""
        messages = ClientMessages()
        self._frames = spool.frames()
        for frame in self._frames:
            self._frame = frame
            if frame[2] == SESSION_ENDED:
                self._end = frame
                return
            try:
                for ordinal, kind, payload in messages.feed(frame):
                    await self._message(line, ordinal, kind, payload)
                    if self.stopped or self._over():
                        return
            except MalformedMessageError:
                return
            self._recorded(self._then.feed(frame))
            if self._over():
                return

    def conclude(self) -> None:
        """The session is over on both sides."""
        if self._end is not None:
            self._recorded(self._then.feed(self._end))
        self._feed(SESSION_ENDED, b'{"reason":"terminated"}')

    async def conclude_pipeline(self, line: Line) -> None:
        """Have what was sent answered, though its Sync was not sent. Raises LostError, NoAnswerError."""
        await self._refuse_copy(line)
        await self._send(line, _SYNC, _SYNC)
        await self.settle(line)

    def read_on(self, wanted: Callable[[], bool]) -> None:
        """The record's answers to what was sent, without sending more."""
        if self._frame is not None and self._frame[2] != SESSION_ENDED:
            self._recorded(self._then.feed(self._frame))
        while wanted() and (frame := next(self._frames, None)) is not None and frame[2] != SESSION_ENDED:
            self._recorded(self._then.feed(frame))

    async def commit(self, line: Line) -> str | None:
        """Commit the block that is open, so that others can see it; what became of it, None if there is none.
        Raises LostError, NoAnswerError."""
        if not self._now.in_block:
            return None
        await self._send(line, codec.query("COMMIT"), codec.query("COMMIT"))
        await self.settle(line)
        return "committed" if self._last_tag == "COMMIT" else "rolled back"

    async def settle(self, line: Line) -> None:
        """Until all that can be answered is. Raises LostError, NoAnswerError."""
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        self.waiting = True
        while self._now.awaits == "answer":
            if line.failure is not None:
                raise line.failure
            if line.lost:
                raise LostError
            line.wake.clear()
            try:
                async with asyncio.timeout(None if deadline is None else max(deadline - time.monotonic(), 0)):
                    await line.wake.wait()
            except TimeoutError:
                raise NoAnswerError from None
        self.waiting = False

    async def _message(self, line: Line, ordinal: int, kind: int, payload: bytes) -> None:
        plan, stop = self._plan, self._plan.stop
        if kind == _TERMINATE:
            return
        if stop is not None and ordinal >= stop[0] and (ordinal > stop[0] or stop[1] == 0):
            self.stopped = True
            return
        out = ordinal in plan.dropped
        if kind in (QUERY, EXECUTE):
            self._sink = 0 if out else kind
        if out or (kind in _COPY and not self._sink):
            return
        if kind not in _COPY and kind not in (SYNC, _FLUSH):
            await self._refuse_copy(line)
        message = self._shortened(ordinal, kind, payload)
        wire = message
        if plan.stand_ins.get(ordinal):
            wire = stand_in.of(kind, message[5:], self._stand_ins(ordinal), self._now.encoding)
        self._now.at_message(ordinal)
        await self._send(line, message, wire)
        copied = kind in (COPY_DONE, COPY_FAIL) and self._sink == QUERY
        if kind in _BOUNDARIES or copied:
            await self.settle(line)
        if stop is not None and ordinal == stop[0]:
            self.stopped = True

    def _shortened(self, ordinal: int, kind: int, payload: bytes) -> bytes:
        """A Query without the statements that are not sent."""
        plan = self._plan
        parts = plan.kept.get(ordinal)
        last = plan.stop[1] if plan.stop is not None and plan.stop[0] == ordinal else None
        if kind != QUERY or (parts is None and last is None):
            return codec.message(bytes([kind]), payload)
        encoding = self._now.encoding
        chosen = [
            part
            for at, part in enumerate(sql.split(text(payload, encoding)))
            if (parts is None or at in parts) and (last is None or at < last)
        ]
        return codec.message(b"Q", ";".join(chosen).encode(encoding) + b"\0")

    def _stand_ins(self, ordinal: int) -> list[tuple[int, str, str]]:
        """By their place in what is sent of the message."""
        parts = self._plan.kept.get(ordinal)
        stopped = sorted(self._plan.stand_ins[ordinal])
        if parts is None:
            return stopped
        ordered = sorted(parts)
        return [(ordered.index(at), sqlstate, command) for at, sqlstate, command in stopped]

    async def _refuse_copy(self, line: Line) -> None:
        """A COPY that failed on record asks for data here."""
        if self._now.awaits != "data":
            return
        await self._send(line, _NO_DATA, _NO_DATA)
        if self._sink == EXECUTE:
            await self._send(line, _SYNC, _SYNC)
        await self.settle(line)

    async def _send(self, line: Line, message: bytes, wire: bytes) -> None:
        """``message`` is what is read as having been sent, ``wire`` what goes out."""
        self._feed(CLIENT, message)
        await line.send(wire)
        if line.failure is not None:
            raise line.failure
        if line.lost:
            raise LostError

    def _feed(self, kind: int, payload: bytes) -> None:
        frame = (self._session, self._sequence, kind, time.time_ns(), self._sequence, payload)
        self._sequence += 1
        events = self._now.feed(frame)
        for event in events:
            if isinstance(event, StatementRecorded):
                self._last_tag = event.statement.tag
        self._here(events)
