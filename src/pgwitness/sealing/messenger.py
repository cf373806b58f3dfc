"""Carries heads out of the house, one thread for each place, so that none of them can hold up sealing or
another one.

A place gets the latest head there is when its turn comes; what is overtaken meanwhile is skipped. What fails
is tried again, with growing pauses, and is said in ``report``.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


class Undeliverable(Exception):
    """A place did not take a head. The text says why, without secrets."""


class Place(Protocol):
    """Somewhere to send heads to."""

    @property
    def name(self) -> str:
        """As it may be shown: nothing secret in it."""

    @property
    def interval(self) -> float:
        """Seconds between two heads, at least."""

    def send(self, note: bytes) -> None:
        """Raises Undeliverable."""

    def close(self) -> None:
        """Let go of what is open."""


@dataclass
class Delivery:
    """How it stands with one place."""

    place: str
    delivered_at: float | None = None
    """Seconds since the epoch."""
    head: bytes | None = None
    """The head that arrived last."""
    error: str | None = None
    """Why the latest attempt failed; None if it did not."""


class Messenger:
    """Takes heads to one place."""

    def __init__(self, place: Place, changed: Callable[[], None] = lambda: None) -> None:
        """``changed`` is called, on this messenger's thread, when ``delivery`` says something new."""
        self.delivery = Delivery(place.name)
        self._place = place
        self._changed = changed
        self._waiting: bytes | None = None
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"head to {place.name}", daemon=True)
        self._thread.start()

    def carry(self, note: bytes) -> None:
        """Returns at once. Whatever still waits is replaced."""
        with self._wake:
            self._waiting = note
            self._wake.notify()

    def close(self, seconds: float) -> None:
        """One attempt more with what waits, for that long."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._place.close()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while (note := self._next()) is not None:
            try:
                self._place.send(note)
            except Undeliverable as error:
                self._failed(note, str(error))
                if self._stopping:
                    return
                self._rest(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self.delivery.delivered_at = time.time()
            self.delivery.head = note
            self.delivery.error = None
            self._changed()
            pause = FIRST_PAUSE
            self._rest(self._place.interval)

    def _next(self) -> bytes | None:
        """The head to take; None once there is no more."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting is not None or self._stopping)
            note, self._waiting = self._waiting, None
            return note

    def _failed(self, note: bytes, why: str) -> None:
        with self._wake:
            self._waiting = self._waiting or note
        if self.delivery.error != why:
            self.delivery.error = why
            self._changed()

    def _rest(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping, seconds)


def report(messengers: list[Messenger]) -> list[dict[str, Any]]:
    """One entry a place, for the status."""
    return [
        {
            "place": each.delivery.place,
            "delivered_at": each.delivery.delivered_at,
            "size": int(each.delivery.head.split(b"\n")[1]) if each.delivery.head else None,
            "error": each.delivery.error,
        }
        for each in messengers
    ]
