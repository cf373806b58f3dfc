"""Warm data connections of one connector, and the tickets for those that are on their way.

A pool keeps some connections for every relay thread, since both streams of a session belong on one thread.
It only counts and waits: who owns it dials nothing either, but asks the connector for what the pool
``orders``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from pgwitness._core import Stream

TICKET_BYTES: Final = 32
TICKET_SECONDS: Final = 10.0
FEWEST: Final = 2
MOST: Final = 16
"""Connections that a pool keeps warm a thread, at first and at most."""
CALM_SECONDS: Final = 30.0
"""Without a session that had to wait, after which the pool wants fewer."""


class PoolClosedError(Exception):
    """The connector went offline; the text says why."""


class _Thread:
    """The connections for one relay thread."""

    __slots__ = ("target", "waited_at", "waiting", "warm")

    def __init__(self) -> None:
        self.warm: list[Stream] = []
        self.waiting: deque[asyncio.Future[Stream]] = deque()
        self.target = FEWEST
        self.waited_at = 0.0

    @property
    def wants(self) -> int:
        return max(0, len(self.waiting) + self.target - len(self.warm))


class Pool:
    """``supply`` is called with new tickets whenever connections are missing."""

    def __init__(self, threads: int, supply: Callable[[list[str]], None], clock: Callable[[], float]) -> None:
        self._threads = [_Thread() for _ in range(threads)]
        self._supply = supply
        self._clock = clock
        self._tickets: dict[str, float] = {}
        self._closed: str | None = None

    def wants(self, thread: int) -> int:
        """Connections that are missing on this thread; those on their way are not counted."""
        return self._threads[thread].wants

    async def take(self, thread: int) -> Stream:
        """A connection on this relay thread, at once or when the next one arrives. Raises PoolClosedError."""
        if self._closed is not None:
            raise PoolClosedError(self._closed)
        place = self._threads[thread]
        if place.warm:
            stream = place.warm.pop()
            self.order()
            return stream
        place.target = min(MOST, place.target * 2)
        place.waited_at = self._clock()
        arrival: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        place.waiting.append(arrival)
        self.order()
        try:
            return await arrival
        except asyncio.CancelledError:
            if arrival in place.waiting:
                place.waiting.remove(arrival)
            elif not arrival.cancelled() and arrival.exception() is None:
                self.put(arrival.result())  # it came at the moment when nobody wanted it any more
            raise

    def redeem(self, ticket: str) -> bool:
        """Whether it is one of ours, unused and in time. It is used now."""
        ends = self._tickets.pop(ticket, None)
        return ends is not None and self._clock() < ends

    def put(self, stream: Stream) -> None:
        """A data connection arrived: for whoever waits for one on its thread, or to keep."""
        place = self._threads[stream.worker]
        while place.waiting:
            arrival = place.waiting.popleft()
            if not arrival.done():
                arrival.set_result(stream)
                return
        if self._closed is not None or len(place.warm) >= place.target:
            stream.abort()
        else:
            place.warm.append(stream)
        self.order()  # it may be another thread that is still short

    def order(self) -> None:
        """Ask for what is missing beyond what is on its way."""
        if self._closed is not None:
            return
        missing = sum(place.wants for place in self._threads) - len(self._tickets)
        if missing > 0:
            ends = self._clock() + TICKET_SECONDS
            tickets = [secrets.token_urlsafe(TICKET_BYTES) for _ in range(missing)]
            self._tickets.update(dict.fromkeys(tickets, ends))
            self._supply(tickets)

    def tidy(self) -> None:
        """Now and then: forget tickets that brought nothing, want fewer where it is calm, order anew."""
        now = self._clock()
        self._tickets = {ticket: ends for ticket, ends in self._tickets.items() if now < ends}
        for place in self._threads:
            if place.target > FEWEST and now - place.waited_at > CALM_SECONDS:
                place.target = max(FEWEST, place.target // 2)
                place.waited_at = now
            while len(place.warm) > place.target:
                place.warm.pop(0).abort()
        self.order()

    def close(self, why: str) -> None:
        """Close what is warm and turn away whoever waits."""
        self._closed = self._closed or why
        self._tickets.clear()
        for place in self._threads:
            while place.warm:
                place.warm.pop().abort()
            while place.waiting:
                arrival = place.waiting.popleft()
                if not arrival.done():
                    arrival.set_exception(PoolClosedError(why))
