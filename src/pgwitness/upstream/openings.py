"""The backends that this gateway opened: what the watch compares a server's list of sessions with.

A backend is known by its process id and by when it was started: between the moment we began to dial and the
moment we were told the process id. An id that the server gives to somebody else later has another start.
Times are of this machine's monotonic clock. All of it belongs to the event loop's thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from pgwitness.catalog.models import Connection

KEPT: Final = 20_000
"""Openings held. Beyond that the oldest are forgotten; their sessions are in the record."""
LINGERING_SECONDS: Final = 15.0
"""A dial that was given up may leave a backend for so long before the server notices."""

Verdict = Literal["ours", "maybe", "foreign"]
Address = tuple[str, int]
"""Host and port."""


@dataclass(slots=True, eq=False)
class Opening:
    """One dial: under way while ``ended`` is None, given up if there is no ``pid`` then."""

    user: str
    database: str
    addresses: frozenset[Address]
    """As registered: where it may lead to."""
    connectors: frozenset[str]
    """Who may have dialled; none: the gateway. ``localhost`` beside each of two is two servers."""
    began: float
    ended: float | None = None
    pid: int | None = None
    address: str = ""

    def opened(self, pid: int, address: str) -> None:
        """The server said who serves us."""
        self.pid, self.address = pid, address


class Openings:
    """Every dial is made within ``dialling``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept: int = KEPT) -> None:
        self._clock = clock
        self._kept = kept
        self._under_way: set[Opening] = set()
        self._given_up: OrderedDict[Opening, None] = OrderedDict()
        self._opened: OrderedDict[Opening, None] = OrderedDict()
        self._by_pid: dict[int, list[Opening]] = {}
        self.overflowed = False
        """Some were forgotten that may still be there."""

    def __len__(self) -> int:
        return len(self._opened)

    @contextmanager
    def dialling(self, connection: Connection, database: str) -> Iterator[Opening]:
        """Around one dial, whatever comes of it."""
        addresses = frozenset(connection.addresses)
        opening = Opening(
            connection.user, database, addresses, frozenset(connection.connectors), self._clock()
        )
        self._under_way.add(opening)
        try:
            yield opening
        finally:
            self._under_way.discard(opening)
            opening.ended = self._clock()
            if opening.pid is not None:
                self._keep(opening, opening.pid)
            else:
                self._given_up[opening] = None
                self._drop_given_up()

    def judge(
        self,
        pid: int,
        user: str,
        database: str | None,
        started: float | None,
        slack: float,
        addresses: Collection[Address],
    ) -> Verdict:
        """Whose backend that is. ``started``: on our clock, give or take ``slack``; None if it cannot be
        seen. ``database`` None: it has none. ``addresses``: those that this server is registered under.

        ``maybe``: a dial of ours to there is under way, or was given up a moment ago, that it may belong to.
        """
        for opening in self._by_pid.get(pid, ()):
            if _same(opening, user, database) and _covers(opening, started, slack):
                return "ours"
        if any(
            not dial.addresses.isdisjoint(addresses)
            and _same(dial, user, database)
            and _covers(dial, started, slack)
            for dial in (*self._under_way, *self._recently_given_up())
        ):
            return "maybe"
        return "foreign"

    def forget(
        self, address: str, connectors: Collection[str], before: float, listed: Collection[int]
    ) -> None:
        """The server at ``address``, as these connectors reach it, listed its backends after the moment
        ``before``: what we had opened there by then and it did not list has ended."""
        by = frozenset(connectors)
        ended = [
            opening
            for opening in self._opened
            if opening.address == address
            and opening.connectors == by
            and opening.pid not in listed
            and opening.ended is not None
            and opening.ended < before
        ]
        for opening in ended:
            self._remove(opening)

    def _keep(self, opening: Opening, pid: int) -> None:
        self._opened[opening] = None
        self._by_pid.setdefault(pid, []).append(opening)
        if len(self._opened) > self._kept:
            self.overflowed = True
            self._remove(next(iter(self._opened)))

    def _remove(self, opening: Opening) -> None:
        del self._opened[opening]
        assert opening.pid is not None
        same = self._by_pid[opening.pid]
        same.remove(opening)
        if not same:
            del self._by_pid[opening.pid]

    def _recently_given_up(self) -> list[Opening]:
        self._drop_given_up()
        return list(self._given_up)

    def _drop_given_up(self) -> None:
        """In the order of their end, so the first that is recent ends it."""
        now = self._clock()
        while self._given_up:
            oldest = next(iter(self._given_up))
            if len(self._given_up) <= self._kept and (oldest.ended or 0) > now - LINGERING_SECONDS:
                return
            del self._given_up[oldest]


def _same(opening: Opening, user: str, database: str | None) -> bool:
    """A physical replication connection names a database and has none."""
    return opening.user == user and database in (None, opening.database)


def _covers(opening: Opening, started: float | None, slack: float) -> bool:
    if started is None:
        return True
    return opening.began - slack <= started and (opening.ended is None or started <= opening.ended + slack)
