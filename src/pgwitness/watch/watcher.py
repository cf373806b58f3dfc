"""Watches one connection: looks at its servers, compares, and keeps what it found.

``live`` is quick and often; ``rest`` reads the ways in, the features and the counters. Either raises
LookError when the server cannot be looked at, and then nothing is said to be gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from pgwitness.catalog.findings import Change, Finding, Findings, Found, Kind
from pgwitness.catalog.models import ANY, Connection
from pgwitness.watch import counters, differences, features, routes, sessions
from pgwitness.watch.compare import Comparison, Question
from pgwitness.watch.look import LookError
from pgwitness.watch.place import Place, Tools
from pgwitness.watch.report import Report
from pgwitness.watch.sessions import Backend, Scope

REWRITTEN_SECONDS: Final = 30.0
"""How stale ``last_seen`` of a session that stays may be."""
COMPARE_SECONDS: Final = 180.0


_NOUNS: Final = {"route": "ways in", "feature": "features of the server", "statements": "counters"}


@dataclass(frozen=True, slots=True)
class Means:
    """What every watcher needs, of one gateway."""

    tools: Tools
    findings: Findings
    state: Path
    position: Callable[[], int]
    """Of the tape."""
    note: Callable[[dict[str, Any]], None]
    """Puts an event on the tape, or the log says why not."""
    flood: Callable[[dict[str, Any]], None]
    """As ``note``, for what a stranger can cause any number of times."""
    connections: Callable[[str, str], list[str]]
    """Names of the connections of a role that lead to the server with that start time."""
    comparing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """One process at a time parses statements."""


@dataclass(slots=True)
class Status:
    """How the last looks went."""

    looked_at: str | None = None
    problem: str | None = None
    """Why the server cannot be looked at."""
    limits: dict[str, list[str]] = field(default_factory=dict)
    """By part: what could not be seen."""
    comparison: Comparison | None = None
    sessions: int = 0
    """Sessions in view, ours among them."""


class Watcher:
    """``through``: the connection to look with, if it is another one."""

    def __init__(
        self, means: Means, connection: Connection, through: Connection | None, expected: Iterable[str]
    ) -> None:
        self.connection = connection
        self.through = through or connection
        self.status = Status()
        self.boot = ""
        self._means = means
        databases = connection.also_databases
        self._scope = Scope(
            connection.user,
            None if databases == ANY else frozenset({connection.database, *databases}),
            frozenset(expected),
        )
        addresses = frozenset((*connection.addresses, *self.through.addresses))
        self._places = [
            Place(
                means.tools, replace(self.through, host=host, port=str(port)), connection.database, addresses
            )
            for host, port in self.through.addresses
        ]
        self._known: dict[str, Found] | None = None
        """Open findings of sessions; None before they were read."""
        self._told: set[tuple[int, str | None]] = set()
        self._written = 0.0
        self._resting = asyncio.Lock()

    def close(self) -> None:
        for place in self._places:
            place.close()

    # sessions

    async def live(self) -> bool:
        """Whether somebody should be looked at again soon. Raises LookError."""
        known = await self._open_findings()
        seen = await self._everywhere(lambda backend: backend.key in known)
        report = Report()
        listed = [backend for live in seen for backend in live.listed]
        if any(live.pooled for live in seen):
            report.limit(
                "A pooler stands between the gateway and the server: the process ids that it gives are its "
                "own, so sessions cannot be told apart."
            )
        sessions.hidden(listed, self._scope, report)
        foreign = [backend for live in seen for backend in live.foreign]
        sessions.describe(foreign, report)
        doubtful = any(live.doubtful for live in seen)
        self.boot = seen[0].boot
        self.status.sessions = sum(self._scope.holds(backend) for backend in listed)
        self.status.limits["session"] = report.limits
        undecided = any(backend.key in known for live in seen for backend in live.doubtful)
        complete = len(seen) == len(self._places) and not undecided and not any(live.pooled for live in seen)
        await self._keep_sessions(report, foreign, known, gone=complete)
        return doubtful

    async def _everywhere(self, known: Callable[[Backend], bool]) -> list[Any]:
        """At every server of the connection; those that do not answer do not matter while one does."""
        answers = await asyncio.gather(
            *(place.live(self._scope, known) for place in self._places), return_exceptions=True
        )
        problems = []
        for place, answer in zip(self._places, answers, strict=True):
            if isinstance(answer, LookError):
                problems.append(f"{place.name}: {answer}" if len(self._places) > 1 else str(answer))
            elif isinstance(answer, BaseException):
                raise answer
        seen = [answer for answer in answers if not isinstance(answer, BaseException)]
        self.status.problem = "; ".join(problems) or None
        if not seen:
            raise LookError("; ".join(problems))
        self.status.looked_at = _now()
        return seen

    async def _open_findings(self) -> dict[str, Found]:
        if self._known is None:
            stored = await asyncio.to_thread(self._means.findings.list, self.connection.name)
            self._known = {one.key: one for one in stored if one.kind == "session"}
            self._told = {
                (one["pid"], one["since"])
                for finding in self._known.values()
                for one in finding.details.get("sessions", ())
            }
        return self._known

    async def _keep_sessions(
        self, report: Report, foreign: list[Backend], known: dict[str, Found], *, gone: bool
    ) -> None:
        for backend in foreign:
            if backend.id not in self._told:
                self._means.flood(self._unrecorded(backend))
        self._told = {backend.id for backend in foreign}
        found = {one.key: one for one in report.found}
        ended = known.keys() - found.keys() if gone else set()
        fresh = found != {name: one for name, one in known.items() if name in found}
        stale = bool(found) and time.monotonic() - self._written > REWRITTEN_SECONDS
        if ended or fresh or stale:
            await self._keep(report.found, ("session",) if gone else ())
            self._written = time.monotonic()
        self._known = found if gone else {**known, **found}

    def _unrecorded(self, backend: Backend) -> dict[str, Any]:
        return {
            "event": "unrecorded_session",
            "connection": self.connection.name,
            "key": backend.key,
            "pid": backend.pid,
            "user": backend.user,
            "database": backend.database,
            "address": backend.address,
            "application": backend.application,
            "since": backend.since,
        }

    # the rest

    async def rest(self, parts: Collection[Kind]) -> None:
        """``parts`` of "route", "feature" and "statements". Raises LookError."""
        async with self._resting:
            try:
                await self._rest(parts)
            except LookError as error:
                for part in parts:
                    self.status.limits[part] = [f"The last look at the {_NOUNS[part]} failed: {error}."]
                raise

    async def _rest(self, parts: Collection[Kind]) -> None:
        connection = self.connection
        place = await self._first_place()
        reports = {part: Report() for part in parts}
        read = None
        async with place.lock:
            try:
                look = await place.look()
                if "route" in parts:
                    await routes.look(look, connection.user, connection.database, reports["route"])
                if "feature" in parts:
                    await features.look(look, connection.user, reports["feature"])
                if "statements" in parts:
                    moment, position = _now(), self._means.position()
                    read = await counters.read(look, connection.user, moment, position, reports["statements"])
            except BaseException:
                place.close()
                raise
        if "feature" in parts:
            await self._background_work(reports["feature"])
        compared = read is not None and await self._compare(read, reports["statements"])
        for part, report in reports.items():
            self.status.limits[part] = report.limits
            gone: tuple[Kind, ...] = () if part == "statements" else (part,)
            await self._keep(report.found, gone, report.unseen)
        if read is not None and compared:
            # Last of all: what could not be kept is found again.
            data = counters.pack(read)
            await asyncio.to_thread(self._means.findings.keep_baseline, connection.name, data)

    async def _first_place(self) -> Place:
        """The first that answers."""
        problems = []
        for place in self._places:
            try:
                async with place.lock:
                    await place.look()
            except LookError as error:
                problems.append(str(error))
            else:
                return place
        self.status.problem = "; ".join(problems)
        raise LookError(self.status.problem)

    async def _background_work(self, report: Report) -> None:
        for live in await self._everywhere(lambda _: True):
            sessions.background_work(live.listed, self.connection.user, report)

    # statements

    async def _compare(self, now: counters.Counters, report: Report) -> bool:
        """Against the baseline; whether these counters can be the next one."""
        name = self.connection.name
        stored = await asyncio.to_thread(self._means.findings.baseline, name)
        before = counters.unpack(stored) if stored is not None else None
        if before is not None and before.address == now.address and before.position <= now.position:
            comparison = await self._ask(before, now)
            self.status.comparison = comparison
            if comparison.behind:
                report.limit(
                    "The index is too far behind the tape to be compared with; the next look tries again."
                )
                return False
            await self._differences(comparison, report)
        return True

    async def _ask(self, before: counters.Counters, now: counters.Counters) -> Comparison:
        user = self.connection.user
        names = {self.connection.name, *self._means.connections(user, self.boot)}
        position, connectors = self._means.position(), self.through.connectors
        question = Question(str(self._means.state), user, sorted(names), before, now, position, connectors)
        async with self._means.comparing:
            return await _compare_apart(question)

    async def _differences(self, comparison: Comparison, report: Report) -> None:
        stored = await asyncio.to_thread(self._means.findings.list, self.connection.name, past=True)
        differences.describe(comparison, {one.key: one for one in stored}, report)

    async def _keep(self, found: list[Found], gone: tuple[Kind, ...], unseen: Collection[str] = ()) -> None:
        saw = partial(self._means.findings.saw, gone=gone, unseen=unseen, at=datetime.now(UTC))
        changes = await asyncio.to_thread(saw, self.connection.name, found)
        for change, finding in changes:
            self._means.note(_event(change, finding))


def _event(change: Change, finding: Finding) -> dict[str, Any]:
    return {
        "event": "watch_finding",
        "change": change,
        "connection": finding.connection,
        "key": finding.key,
        "kind": finding.kind,
        "level": finding.level,
        "what": finding.what,
        "details": finding.details,
        "first_seen": finding.first_seen.isoformat(),
        "last_seen": finding.last_seen.isoformat(),
    }


async def _compare_apart(question: Question) -> Comparison:
    """In a process of its own. Raises LookError if that fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pgwitness.watch.compare",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMPARE_SECONDS):
            out, _ = await process.communicate(msgspec.json.encode(question))
        if process.returncode:
            raise LookError(
                f"the comparison with the record ended with code {process.returncode}; see the log"
            )
        return msgspec.json.decode(out, type=Comparison)
    except TimeoutError:
        raise LookError("the comparison with the record took too long") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
