"""The route of live statements: JSON Lines that go on until the reader goes.

Nothing is held for a reader who does not read: the next page is made when the one before has been sent, from
the index and not from memory, and who takes nothing for ``STALLED_SECONDS`` is let go. How many look on at
once is limited. The tape and its recorder know nothing of it.
"""

# No ``from __future__ import annotations`` here: FastAPI cannot resolve those of a callable object.

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import ServicesHere
from pgwitness.api.review import JSON_LINES, FiltersHere, note_listing
from pgwitness.api.services import Services
from pgwitness.errors import TooManyRequests, UnavailableError, WitnessError
from pgwitness.review.tail import Tail, behind_seconds

MOST: Final = 32
LOOK_SECONDS: Final = 0.1
"""Between two looks at the index while nothing is new."""
MARK_SECONDS: Final = 2.0
"""A mark comes at least so often, so that both sides know that the other is there."""
STALLED_SECONDS: Final = 60.0

router = APIRouter()
_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Onlookers:
    """How many streams there are. For the event loop's thread."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.count = 0

    def admit(self) -> None:
        """Raises TooManyRequests."""
        if self.count >= self.most:
            raise TooManyRequests(f"{self.most} readers look on already", retry_after=10)
        self.count += 1

    def leave(self) -> None:
        self.count -= 1


class _Stream(StreamingResponse):
    """Gives up on who takes nothing, and says when it is over."""

    def __init__(self, lines: AsyncIterator[bytes], onlookers: Onlookers) -> None:
        super().__init__(lines, media_type=JSON_LINES)
        self._onlookers = onlookers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._onlookers.leave()

    async def stream_response(self, send: Send) -> None:
        async def sent(message: Message) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        try:
            await super().stream_response(sent)
        except TimeoutError:
            _log.warning("a reader of live statements took nothing for %.0f s and is let go", STALLED_SECONDS)


@router.get("/statements/tail", dependencies=[May.read])
async def statements_tail(
    request: Request,
    services: ServicesHere,
    reader: ReaderHere,
    filters: FiltersHere,
    cursor: Annotated[str | None, Query(max_length=8192)] = None,
) -> StreamingResponse:
    """JSON Lines, for as long as one reads them, each with its ``kind``: ``statement``, as it becomes known;
    ``settled``, what became of a transaction that was open; ``mark``, with the ``cursor`` to go on from and
    how far behind it is. ``since`` begins in the past."""
    if services.live is None:
        raise UnavailableError("no gateway is running here, so nothing is live")
    onlookers: Onlookers = request.app.state.onlookers
    narrowed = reader.restrict(filters)

    def begin() -> Tail:
        note_listing(services, reader.actor, narrowed, action="tail")
        return Tail(services.index, narrowed, cursor)

    onlookers.admit()
    try:
        tail = await run_in_threadpool(begin)
    except BaseException:
        onlookers.leave()
        raise
    return _Stream(_lines(request, services, reader, tail), onlookers)


async def _lines(request: Request, services: Services, reader: Reader, tail: Tail) -> AsyncIterator[bytes]:
    yield await run_in_threadpool(_mark, services, tail)
    marked = time.monotonic()
    while not getattr(request.app.state, "stopping", False):
        events = await run_in_threadpool(tail.poll)
        if not events and time.monotonic() - marked < MARK_SECONDS:
            await asyncio.sleep(0 if tail.more else LOOK_SECONDS)
            continue
        if not await run_in_threadpool(_still_may, services, reader):
            return
        lines = [_encode(event) + b"\n" for event in events]
        yield b"".join(lines) + await run_in_threadpool(_mark, services, tail)
        marked = time.monotonic()


def _mark(services: Services, tail: Tail) -> bytes:
    mark: dict[str, Any] = {
        "kind": "mark",
        "cursor": tail.cursor,
        "behind_seconds": behind_seconds(services.settings.tape_directory, tail.position),
    }
    return _encode(mark) + b"\n"


def _still_may(services: Services, reader: Reader) -> bool:
    """A token that was revoked, or has expired, reads on no longer."""
    if reader.token_id is None:
        return True
    try:
        services.directory.holder(reader.token_id)
    except WitnessError:
        return False
    return True
