"""How often somebody may ask: token buckets, one a key. Memory is bounded, whoever asks."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_KEPT = 10_000  # keys; those that were asked for least recently are forgotten, which fills their buckets


class Buckets:
    """``burst`` at once, and ``rate`` a second in the long run. A rate of 0 sets no limit. Safe between
    threads.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """One from this key's bucket. 0: it was there. Else nothing was taken, and it is there in so many
        seconds."""
        if not self._rate:
            return 0.0
        with self._lock:
            level = self._level(key)
            if level < 1:
                return (1 - level) / self._rate
            self._keep(key, level - 1)
            return 0.0

    def give_back(self, key: str) -> None:
        """What was taken last turned out not to count."""
        if self._rate:
            with self._lock:
                self._keep(key, min(self._burst, self._level(key) + 1))

    def _level(self, key: str) -> float:
        level, at = self._levels.get(key, (self._burst, 0.0))
        return min(self._burst, level + (self._clock() - at) * self._rate)

    def _keep(self, key: str, level: float) -> None:
        self._levels[key] = (level, self._clock())
        self._levels.move_to_end(key)
        if len(self._levels) > _KEPT:
            self._levels.popitem(last=False)


def neighbourhood(address: str) -> str:
    """The address, or for IPv6 its network, since one host may use any address of that."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
