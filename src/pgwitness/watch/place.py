"""One server that a connection leads to: the look that is open there, and what was seen in the one before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from pgwitness.catalog.models import Connection
from pgwitness.upstream.openings import Address, Openings, Verdict
from pgwitness.watch.look import Dialler, Look, LookError, Record, RefusedError
from pgwitness.watch.sessions import LIVE, Backend, Scope, Suspects, backends

SLACK_SECONDS: Final = 1.0
"""How far two clocks may disagree about one moment, beside what the answer took."""

Recorded = Callable[[int, float], Awaitable[bool | None]]
"""Whether the record has a session with this backend's process id that began at about this time (epoch).
None: what was recorded before the gateway started is not read yet."""
CATCH_UP_SECONDS: Final = 60.0
"""How long that is an excuse."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every look needs."""

    dialler: Dialler
    openings: Openings
    record: Record
    recorded: Recorded
    worker: Callable[[], int]
    since: float = field(default_factory=time.time)
    """When this gateway began: what is opened since then, ``openings`` knows."""


@dataclass(slots=True)
class Live:
    """What one look at the sessions of one server came to."""

    listed: list[Backend] = field(default_factory=list)
    foreign: list[Backend] = field(default_factory=list)
    doubtful: list[Backend] = field(default_factory=list)
    boot: str = ""
    pooled: bool = False


class Place:
    """One at a time looks here. ``close`` ends the open look."""

    def __init__(
        self, tools: Tools, through: Connection, database: str, addresses: frozenset[Address]
    ) -> None:
        """``addresses``: all that are known of the server."""
        self._tools = tools
        self._addresses = addresses
        self._through = through
        self._database = database
        self._look: Look | None = None
        self._suspects = Suspects()
        self._strangers: set[tuple[int, str | None]] = set()
        """Not in the record either."""
        self._made = time.monotonic()
        self.lock = asyncio.Lock()

    @property
    def name(self) -> str:
        return f"{self._through.host}:{self._through.port}"

    async def look(self) -> Look:
        """The open look, or a new one. Raises LookError. Hold the lock."""
        if self._look is not None and self._look.leaving():
            self.close()
        if self._look is None:
            tools = self._tools
            self._look = await Look.open(
                tools.dialler, tools.openings, tools.record, self._through, self._database, tools.worker()
            )
        return self._look

    def close(self) -> None:
        look, self._look = self._look, None
        if look is not None:
            look.close()

    async def live(self, scope: Scope, known: Callable[[Backend], bool]) -> Live:
        """Raises LookError."""
        async with self.lock:
            try:
                return await self._live(await self.look(), scope, known)
            except RefusedError as error:
                self.close()
                raise LookError(str(error)) from error
            except (LookError, asyncio.CancelledError):
                self.close()
                raise

    async def _live(self, look: Look, scope: Scope, known: Callable[[Backend], bool]) -> Live:
        before = time.monotonic()
        rows = await look.rows(LIVE)
        after = time.monotonic()
        if not rows:
            raise LookError("the server lists no sessions, not even this one")
        listed = backends(rows)
        boot = rows[0]["boot"] or ""
        if look.pooled:
            return Live(listed, boot=boot, pooled=True)
        ahead = float(rows[0]["now"] or 0) - (before + after) / 2
        slack = (after - before) / 2 + SLACK_SECONDS

        def judge(backend: Backend) -> Verdict:
            started = None if backend.started is None else backend.started - ahead
            return self._tools.openings.judge(
                backend.pid, backend.user, backend.database, started, slack, self._addresses
            )

        suspects, doubtful = self._suspects.sort_out(listed, scope, judge, known, after)
        foreign = []
        for one in suspects:
            verdict = await self._by_record(one, ahead)
            if verdict == "foreign":
                foreign.append(one)
            elif verdict == "maybe":
                doubtful.append(one)
        self._strangers.intersection_update(backend.id for backend in listed)
        pids = {int(row["pid"] or 0) for row in rows}
        self._tools.openings.forget(look.address, self._through.connectors, before, pids)
        return Live(listed, foreign, doubtful, boot)

    async def _by_record(self, backend: Backend, ahead: float) -> Verdict:
        """Ours if an earlier process of this gateway opened it, and its last statement still runs."""
        if backend.started is None or backend.id in self._strangers:
            return "foreign"
        began = backend.started - ahead - time.monotonic() + time.time()
        if began > self._tools.since + SLACK_SECONDS and not self._tools.openings.overflowed:
            return "foreign"
        recorded = await self._tools.recorded(backend.pid, began)
        if recorded:
            self._suspects.ours(backend)
            return "ours"
        if recorded is None and time.monotonic() < self._made + CATCH_UP_SECONDS:
            return "maybe"
        self._strangers.add(backend.id)
        return "foreign"
