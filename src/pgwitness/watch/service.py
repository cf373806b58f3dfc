"""The watch of a gateway: one watcher for every connection, in the background, and looks on demand.

Each connection has its own tasks, so that a server that hangs holds up nobody; one that cannot be looked at
is tried less and less often. Watchers belong to the event loop; ``look`` and ``status`` are for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from pgwitness.catalog.findings import Finding, Kind
from pgwitness.catalog.models import Connection
from pgwitness.catalog.store import Catalog
from pgwitness.errors import InvalidError, UnavailableError, WitnessError
from pgwitness.watch.look import LookError
from pgwitness.watch.report import PARTS
from pgwitness.watch.watcher import Means, Watcher

log = structlog.get_logger("pgwitness.watch")

AGAIN_SECONDS: Final = 1.0
"""After so long, somebody who was not ours is looked at again."""
LOOKS_ON_DEMAND: Final = 4
LONGEST_PAUSE: Final = 60.0
CATALOG_SECONDS: Final = 1.0
DEMAND_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Habits:
    """How often, and with whom not to bother."""

    interval: float
    """Seconds between looks at sessions; 0: only on demand."""
    rest: float
    """Seconds between looks at the rest."""
    expected: tuple[str, ...] = ()
    through: dict[str, str] = field(default_factory=dict)
    """Connection to the connection to look with."""


class Watch:
    """``start``, then ``stop``, once."""

    def __init__(self, catalog: Catalog, means: Means, habits: Habits) -> None:
        self._catalog = catalog
        self._means = means
        self._habits = habits
        self._loop = asyncio.get_running_loop()
        self._watchers: dict[str, Watcher] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._main: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        if self._habits.interval:
            self._main = self._loop.create_task(self._keep_watching())

    async def stop(self) -> None:
        self._stopped = True
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        if self._main is not None:
            tasks.append(self._main)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for watcher in self._watchers.values():
            watcher.close()

    def siblings(self, user: str, boot: str) -> list[str]:
        """The connections of this role to the server that was started then."""
        return [
            watcher.connection.name
            for watcher in self._watchers.values()
            if boot and watcher.boot == boot and watcher.connection.user == user
        ]

    # in the background

    async def _keep_watching(self) -> None:
        revision = -1
        while True:
            try:
                current = await asyncio.to_thread(self._catalog.revision)
                if current != revision:
                    self._watch_these(await asyncio.to_thread(self._catalog.connections.list))
                    revision = current
            except UnavailableError as error:
                log.error("watch_catalog_failed", error=str(error))
            await asyncio.sleep(CATALOG_SECONDS)

    def _watch_these(self, connections: list[Connection]) -> None:
        named = {connection.name: connection for connection in connections}
        for name, watcher in list(self._watchers.items()):
            if not self._unchanged(watcher, named):
                self._end(name)
        for name, connection in named.items():
            if name not in self._watchers:
                watcher = Watcher(self._means, connection, self._other(name, named), self._habits.expected)
                self._watchers[name] = watcher
                self._tasks[name] = [
                    self._loop.create_task(self._live(watcher)),
                    self._loop.create_task(self._rest(watcher)),
                ]

    def _unchanged(self, watcher: Watcher, named: dict[str, Connection]) -> bool:
        connection = named.get(watcher.connection.name)
        if connection is None:
            return False
        through = self._other(connection.name, named) or connection
        return _same(connection, watcher.connection) and _same(through, watcher.through)

    def _other(self, name: str, named: dict[str, Connection]) -> Connection | None:
        other = self._habits.through.get(name)
        return named.get(other) if other is not None else None

    def _end(self, name: str) -> None:
        for task in self._tasks.pop(name):
            task.cancel()
        self._watchers.pop(name).close()

    async def _live(self, watcher: Watcher) -> None:
        pause = self._habits.interval
        while True:
            try:
                doubtful = await watcher.live()
                pause = self._habits.interval
                await asyncio.sleep(min(AGAIN_SECONDS, pause) if doubtful else pause)
            except Exception as error:
                pause = min(max(pause, 1.0) * 2, LONGEST_PAUSE)
                self._failed(watcher, error)
                await asyncio.sleep(pause)

    async def _rest(self, watcher: Watcher) -> None:
        while True:
            try:
                await watcher.rest(("route", "feature", "statements"))
            except Exception as error:
                self._failed(watcher, error)
                await asyncio.sleep(min(LONGEST_PAUSE, self._habits.rest))
            else:
                await asyncio.sleep(self._habits.rest)

    def _failed(self, watcher: Watcher, error: Exception) -> None:
        """A server that is away is no news every few seconds."""
        known = isinstance(error, LookError | UnavailableError)
        problem = str(error) if known else f"{type(error).__name__}: {error}"
        if problem != watcher.status.problem or not known:
            log.warning("watch_failed", connection=watcher.connection.name, error=problem, exc_info=not known)
        watcher.status.problem = problem

    # on demand: these may be called from any thread but the loop's

    def look(
        self, name: str, *, through: str | None = None, parts: Collection[Kind] = PARTS
    ) -> dict[str, Any]:
        """Look now. Raises NotFoundError, InvalidError, UnavailableError if that cannot be done."""
        connection = self._catalog.connections.get(name)
        other = None
        through = through or self._habits.through.get(name)
        if through is not None and through != name:
            other = self._catalog.connections.get(through)
        future = asyncio.run_coroutine_threadsafe(self._look(connection, other, parts), self._loop)
        try:
            return future.result(DEMAND_SECONDS)
        except TimeoutError:
            future.cancel()
            raise UnavailableError(
                f"the look at {name!r} takes too long", hint="its server may hang"
            ) from None
        except LookError as error:
            raise UnavailableError(
                f"connection {name!r} cannot be looked at: {error}",
                hint=f"try: pgwitness connection check {name}",
            ) from None

    async def _look(
        self, connection: Connection, other: Connection | None, parts: Collection[Kind]
    ) -> dict[str, Any]:
        watcher = self._watchers.get(connection.name)
        own = (
            watcher is None
            or not _same(watcher.connection, connection)
            or not _same(watcher.through, other or connection)
        )
        if own:
            watcher = Watcher(self._means, connection, other, self._habits.expected)
        assert watcher is not None
        try:
            if other is not None:
                await self._check_same_server(connection, other, watcher)
            await self._look_with(watcher, parts)
            return await asyncio.to_thread(self._answer, watcher, parts)
        finally:
            if own:
                watcher.close()

    async def _look_with(self, watcher: Watcher, parts: Collection[Kind]) -> None:
        rest: list[Kind] = [part for part in PARTS if part in parts and part != "session"]
        if "session" in parts or rest:
            for _ in range(LOOKS_ON_DEMAND):
                if not await watcher.live():
                    break
                await asyncio.sleep(AGAIN_SECONDS)
        if rest:
            await watcher.rest(rest)

    async def _check_same_server(self, connection: Connection, other: Connection, watcher: Watcher) -> None:
        """The one looked at must be the one that is watched. Raises InvalidError."""
        if set(connection.addresses) & set(other.addresses):
            return
        await watcher.live()
        direct = Watcher(self._means, connection, None, ())
        try:
            await direct.live()
        finally:
            direct.close()
        if direct.boot != watcher.boot:
            raise InvalidError(f"{other.name!r} leads to another server than {connection.name!r}")

    def _answer(self, watcher: Watcher, parts: Collection[Kind]) -> dict[str, Any]:
        found = [one for one in self._catalog.findings.list(watcher.connection.name) if one.kind in parts]
        return {**self._status(watcher, parts), "findings": [document(one) for one in found]}

    def status(self, name: str) -> dict[str, Any] | None:
        """How the background check of this connection goes; None if there is none."""
        watcher = self._watchers.get(name)
        return None if watcher is None else self._status(watcher, PARTS)

    def _status(self, watcher: Watcher, parts: Collection[Kind]) -> dict[str, Any]:
        status = watcher.status
        comparison = status.comparison
        counted = None
        if comparison is not None and "statements" in parts:
            counted = {
                "since": comparison.since,
                "until": comparison.until,
                "server": comparison.server,
                "record": comparison.record,
                "own": comparison.own,
                "unrecorded": sum(one.calls for one in comparison.unrecorded),
                "uncounted": comparison.uncounted,
                "explained": comparison.explained,
            }
        return {
            "connection": watcher.connection.name,
            "as": watcher.through.name,
            "looked_at": status.looked_at,
            "problem": status.problem,
            "sessions": status.sessions,
            "limits": [text for part, texts in status.limits.items() if part in parts for text in texts],
            "statements": counted,
        }


def document(finding: Finding) -> dict[str, Any]:
    """For the API."""
    return {
        "connection": finding.connection,
        "key": finding.key,
        "kind": finding.kind,
        "level": finding.level,
        "what": finding.what,
        "first_seen": _moment(finding.first_seen),
        "last_seen": _moment(finding.last_seen),
        "gone_at": _moment(finding.gone_at),
        "accepted_at": _moment(finding.accepted_at),
        "accepted_by": finding.accepted_by,
        "counts": finding.counts,
        "details": finding.details,
    }


def _moment(value: Any) -> str | None:
    return None if value is None else value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _same(one: Connection, other: Connection) -> bool:
    """Secrets are compared too, and decrypted for that; those that cannot be never are the same."""
    try:
        return one == other
    except WitnessError:
        return False
