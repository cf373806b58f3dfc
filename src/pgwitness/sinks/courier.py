"""Brings one sink what it is to be told, on a thread of its own: the next batch, its place, its position.

What fails is tried again after a pause that grows, and is never the same for two: receivers that come back
are not stormed. Nothing of a batch that failed is kept in memory; the next attempt reads it from the index
again, under the same ids, and without what was erased meanwhile.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pgwitness.sinks.feed import Batch, Feed
from pgwitness.sinks.items import stub
from pgwitness.sinks.places import Place, Undeliverable

SHORTEST_SLEEP: Final = 0.2
LONGEST_SLEEP: Final = 0.5
SLEEP_FACTOR: Final = 8.0
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0
BEHIND: Final = "the index is being made anew, and is not yet where this sink was"


@dataclass(slots=True)
class Delivery:
    """How it stands with one sink. Times are seconds since the epoch."""

    sink: str
    place: str
    delivered: int = 0
    """Items, since the process began."""
    rejected: int = 0
    """Of them, that the other side said it threw away."""
    delivered_at: float | None = None
    """When something arrived last."""
    waiting_since: str | None = None
    """Of what did not arrive: when the first of it happened. None: all that there is has arrived."""
    error: str | None = None
    """Why the latest attempt failed; None if it did not."""
    failing_since: float | None = None


class Courier:
    def __init__(self, sink: str, feed: Feed, place: Place, changed: Callable[[], None]) -> None:
        """``changed`` is called, on this courier's thread, when ``delivery`` says something new."""
        self.delivery = Delivery(sink, place.name)
        self._feed = feed
        self._place = place
        self._changed = changed
        self._stopping = threading.Event()
        self._last_moment = 0.0
        self._to_rewind = False
        self._thread = threading.Thread(target=self._run, name=f"sink {sink}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Returns at once. What there is may still be delivered, for that long."""
        self._last_moment = time.monotonic() + seconds
        self._stopping.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        try:
            while not self._over:
                began = time.monotonic()
                try:
                    more = self._deliver()
                except Undeliverable as error:
                    self._failed(str(error))
                    if self._stopping.is_set():
                        return
                    self._stopping.wait(max(error.pause, pause * random.uniform(0.5, 1.0)))
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
                pause = FIRST_PAUSE
                if not more:
                    if self._stopping.is_set():
                        return
                    worked = time.monotonic() - began
                    self._stopping.wait(min(max(SHORTEST_SLEEP, worked * SLEEP_FACTOR), LONGEST_SLEEP))
        finally:
            self._place.close()

    @property
    def _over(self) -> bool:
        return self._stopping.is_set() and time.monotonic() >= self._last_moment

    def _deliver(self) -> bool:
        """One batch. Whether there may be another one at once. Raises Undeliverable."""
        try:
            if self._to_rewind:
                self._feed.rewind()
            self._to_rewind = True
            batch = self._feed.next()
            if batch.waits:
                raise Undeliverable(BEHIND)
            if batch.items:
                self._take_there(batch)
            self._feed.keep(batch)
            self._to_rewind = False
        except Undeliverable:
            raise
        except Exception as error:
            # Whatever it is, the thread goes on, and it is not kept quiet. Its text may hold a statement.
            raise Undeliverable(f"the next batch cannot be made or kept: {type(error).__name__}") from error
        self._arrived(batch)
        return batch.more

    def _take_there(self, batch: Batch) -> None:
        """In parts, if it is too large for the other side: what has arrived of a batch that then fails comes
        again."""
        self.delivery.waiting_since = batch.items[0].at
        self._changed()
        size, at = len(batch.items), 0
        while at < len(batch.items):
            try:
                self._place.deliver(batch.items[at : at + size])
                at += size
            except Undeliverable as error:
                if error.too_large and size > 1:
                    size //= 2
                    continue
                self.delivery.waiting_since = batch.items[at].at
                if not error.too_large:
                    raise
                # One item that the other side will never take must not hold up all behind it.
                self._place.deliver([stub(batch.items[at])])
                at += 1

    def _arrived(self, batch: Batch) -> None:
        delivery, count = self.delivery, len(batch.items)
        if not count and delivery.error is None and delivery.waiting_since is None:
            return
        if count:
            delivery.delivered += count
            delivery.rejected = self._place.rejected
            delivery.delivered_at = time.time()
        delivery.waiting_since = batch.items[-1].at if batch.more and batch.items else None
        delivery.error = delivery.failing_since = None
        self._changed()

    def _failed(self, why: str) -> None:
        delivery = self.delivery
        if delivery.error is None:
            delivery.failing_since = time.time()
        delivery.error = why
        self._changed()
