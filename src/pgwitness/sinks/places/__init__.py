"""Where items are taken: a file, a webhook, a collector of OpenTelemetry, a syslog receiver.

``deliver`` returns when the other side has them, as far as its protocol can tell, and raises
``Undeliverable`` when it is not certain that it has: then they come again, all of them. Texts of errors hold
no address's path, no token, and nothing of what was to be delivered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pgwitness.sinks.items import Item


class Undeliverable(Exception):
    """The items did not arrive, or nobody knows whether they did."""

    def __init__(self, text: str, *, too_large: bool = False, pause: float = 0.0) -> None:
        super().__init__(text)
        self.too_large = too_large
        """Fewer at a time may go."""
        self.pause = pause
        """Seconds that the other side asked to wait."""


class Place(Protocol):
    @property
    def name(self) -> str:
        """As it may be shown: nothing secret in it."""

    @property
    def rejected(self) -> int:
        """Items that the other side took and said it threw away."""

    def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undeliverable."""

    def close(self) -> None:
        """Let go of what is open."""
