"""(a) Live: every session of the watched role, and every session in the watched databases, must be ours.

A session is reported when it was not ours in two looks: between a server's list and our own knowledge of what
we just opened there is always a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from pgwitness.catalog.findings import Found
from pgwitness.upstream.openings import Verdict
from pgwitness.watch.look import Row
from pgwitness.watch.report import Report, key

LIVE: Final = (
    "SELECT pid, usename, datname, backend_type, application_name, client_addr, client_port,"
    " backend_start, EXTRACT(EPOCH FROM backend_start) AS started, state,"
    " EXTRACT(EPOCH FROM clock_timestamp()) AS now,"
    " EXTRACT(EPOCH FROM pg_postmaster_start_time()) AS boot"
    " FROM pg_stat_activity"
)
_SESSIONS: Final = {"client backend", "walsender", None}
"""Kinds of backends that serve a client; None: the kind cannot be seen. The others are the server's own:
parallel workers belong to a backend that is listed too."""
_OF_THE_SERVER: Final = {"parallel worker", "logical replication launcher", "slotsync worker"}
BETWEEN_SECONDS: Final = 0.5
"""Two looks are so far apart at least."""
SHOWN: Final = 20
"""Sessions that one finding names."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A row of pg_stat_activity. What the looking role may not see is None."""

    pid: int
    user: str
    database: str | None
    kind: str | None
    application: str
    address: str | None
    port: int | None
    since: str | None
    started: float | None
    """Seconds since the epoch, by the server's clock."""
    state: str | None

    @property
    def id(self) -> tuple[int, str | None]:
        return self.pid, self.since

    @property
    def hidden(self) -> bool:
        return self.since is None

    @property
    def where(self) -> str:
        if self.hidden:
            return "an address that cannot be seen"
        return self.address or "the server's own machine (Unix socket)"

    @property
    def key(self) -> str:
        """The same for all sessions of one program on one machine: a pool's sessions come and go."""
        return key("session", "", self.user, self.database, self.address, self.application)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is watched: one role anywhere on the server, and everybody in these databases."""

    user: str
    databases: frozenset[str] | None
    """None: all."""
    expected: frozenset[str] = frozenset()
    """Other roles that may be in the databases."""

    def holds(self, backend: Backend) -> bool:
        if backend.user == self.user:
            return True
        if backend.user in self.expected or backend.database is None:
            return False
        return self.databases is None or backend.database in self.databases


def backends(rows: Iterable[Row]) -> list[Backend]:
    """Those that run in somebody's name."""
    return [
        Backend(
            pid=int(row["pid"] or 0),
            user=row["usename"],
            database=row["datname"],
            kind=row["backend_type"],
            application=row["application_name"] or "",
            address=row["client_addr"],
            port=int(row["client_port"]) if row["client_port"] else None,
            since=row["backend_start"],
            started=float(row["started"]) if row["started"] else None,
            state=row["state"],
        )
        for row in rows
        if row["usename"]
    ]


@dataclass(slots=True)
class Suspects:
    """What is remembered from one look at a server to the next."""

    _ours: set[tuple[int, str | None]] = field(default_factory=set)
    """Once ours, ours until it ends, whatever becomes of the clocks."""
    _seen: dict[tuple[int, str | None], float] = field(default_factory=dict)
    """Since when they are foreign."""

    def sort_out(
        self,
        listed: list[Backend],
        scope: Scope,
        judge: Callable[[Backend], Verdict],
        known: Callable[[Backend], bool],
        now: float,
    ) -> tuple[list[Backend], list[Backend]]:
        """(foreign beyond doubt, to be looked at again).

        ``known``: whether a finding tells of it already, so that one look is enough.
        """
        foreign: list[Backend] = []
        doubtful: list[Backend] = []
        ours: set[tuple[int, str | None]] = set()
        seen: dict[tuple[int, str | None], float] = {}
        for backend in listed:
            if backend.kind not in _SESSIONS or not scope.holds(backend):
                continue
            remembered = not backend.hidden and backend.id in self._ours
            verdict: Verdict = "ours" if remembered else judge(backend)
            if verdict == "ours":
                ours.add(backend.id)
            elif verdict == "maybe":
                doubtful.append(backend)
            else:
                since = seen[backend.id] = self._seen.get(backend.id, now)
                certain = now - since >= BETWEEN_SECONDS or known(backend)
                (foreign if certain else doubtful).append(backend)
        self._ours, self._seen = ours, seen
        return foreign, doubtful

    def ours(self, backend: Backend) -> None:
        """It is ours after all."""
        self._ours.add(backend.id)


def describe(foreign: Iterable[Backend], report: Report) -> None:
    """One finding for all sessions of one role from one place."""
    grouped: dict[str, list[Backend]] = {}
    for backend in foreign:
        grouped.setdefault(backend.key, []).append(backend)
    for name, group in grouped.items():
        group.sort(key=lambda backend: (backend.started or 0, backend.pid))
        report.add(_found(name, group))


def _found(name: str, group: list[Backend]) -> Found:
    first = group[0]
    what = f"{first.user} is connected to {first.database or 'the server'} from {first.where}"
    if first.application:
        what += f", application {first.application!r}"
    if any(backend.kind == "walsender" for backend in group):
        what += ", for replication"
    if len(group) > 1:
        what += f", {len(group)} sessions"
    what += f", process {first.pid}"
    if first.since:
        what += f", since {first.since}"
    sessions = [
        {"pid": one.pid, "since": one.since, "port": one.port, "kind": one.kind, "state": one.state}
        for one in group[:SHOWN]
    ]
    details = {
        "user": first.user,
        "database": first.database,
        "address": first.address,
        "application": first.application,
        "count": len(group),
        "sessions": sessions,
    }
    return Found(key=name, kind="session", level="alarm", what=what, details=details)


def background_work(listed: Iterable[Backend], user: str, report: Report) -> None:
    """The server works in the role's name by itself."""
    for kind in sorted({one.kind or "" for one in listed if one.user == user}):
        if kind and kind not in _SESSIONS | _OF_THE_SERVER:
            report.add(
                Found(
                    key=key("feature", "background", kind),
                    kind="feature",
                    level="weakness",
                    what=f"the server itself works as {user} ({kind}): no client sends what it does",
                    details={"backend_type": kind},
                )
            )


def hidden(listed: Iterable[Backend], scope: Scope, report: Report) -> None:
    """Say so if others' sessions are listed without their details."""
    if any(one.hidden and scope.holds(one) for one in listed):
        report.limit(
            "Sessions of other roles are seen without address and start: grant pg_monitor to the role that "
            "looks, or name a connection with such a role by --as."
        )
