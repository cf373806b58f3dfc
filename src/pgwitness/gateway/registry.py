"""The live sessions: who is connected now, which cancel key is whose, and how one is ended from outside.

All of it belongs to the event loop's thread; ``list`` and ``kill`` may be called from any other.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import structlog

from pgwitness._core import Relay, SessionTape, TapeError
from pgwitness.errors import ClientError, TooManyClients
from pgwitness.gateway.recorder import encode
from pgwitness.identity.directory import Principal, Use
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.wire import codec

log = structlog.get_logger("pgwitness.sessions")

STATEMENT_STOP_SECONDS: Final = 0.25
"""What a running statement gets to stop by cancel before its session is closed over it."""
ANSWER_SECONDS: Final = 5.0

T = TypeVar("T")


class ShuttingDownError(ClientError):
    """The gateway stops: come back later."""

    sqlstate = "57P03"


@dataclass(slots=True, eq=False)
class LiveSession:
    """One open session. Keep it small: there may be thousands."""

    id: uuid.UUID
    principal: Principal
    connection_id: str
    connection: str
    database: str
    claims: dict[str, str]
    address: str
    started_at: float
    pid: int
    key: bytes
    """Ours: what the client was given to cancel with."""
    connector: str | None
    """Who dialled the server; None: the gateway did."""
    lease: int
    """Which time online of that connector the session came through; 0: none."""
    cancel: Callable[[], Awaitable[None]]
    """Ask the server to stop what the session does. Raises UpstreamError."""
    relay: Relay
    tape: SessionTape
    end_detail: str | None = None
    ending: bool = False

    @property
    def use(self) -> Use:
        return Use(self.principal.token_id, self.connection_id)

    def event(self, event: dict[str, Any]) -> bool:
        """Whether this event of the session could be recorded; if not, the log says why."""
        try:
            self.tape.event(encode(event))
        except TapeError as error:
            log.error("event_not_recorded", session=str(self.id), event_name=event["event"], error=str(error))
            return False
        return True

    def describe(self) -> dict[str, Any]:
        """For the API."""
        return {
            "session": str(self.id),
            "identity": self.principal.identity,
            "kind": self.principal.kind,
            "on_behalf_of": self.principal.on_behalf_of,
            "token": self.principal.token_id,
            "run": self.claims.get("run"),
            "application_name": self.claims.get("application_name"),
            "connection": self.connection,
            "database": self.database,
            "connector": self.connector,
            "address": self.address,
            "pid": self.pid,
            "started_at": datetime.fromtimestamp(self.started_at, UTC).isoformat(timespec="microseconds"),
            "idle": self.relay.idle,
            "quiet_seconds": round(self.relay.quiet_seconds, 3),
            "client_bytes": self.relay.client_bytes,
            "server_bytes": self.relay.server_bytes,
        }


def farewell(sqlstate: str, message: str) -> bytes:
    """The last message that a client gets."""
    return codec.error_response("FATAL", sqlstate, message)


KILLED: Final = farewell("57P01", "terminating connection due to administrator command")
IDLE: Final = farewell("57P05", "terminating connection due to idle-session timeout")
SHUTDOWN: Final = farewell("57P01", "terminating connection because the gateway is shutting down")


class Registry:
    """Holds live sessions from the start of their relay to its end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._places = 0
        self._sessions: dict[uuid.UUID, LiveSession] = {}
        self._by_pid: defaultdict[int, list[LiveSession]] = defaultdict(list)
        self._by_lease: Counter[int] = Counter()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    # places: sessions that are open or being opened

    def take_place(self) -> None:
        """Raises TooManyClients, ShuttingDownError. Give it back by ``leave_place``."""
        if self._draining:
            raise ShuttingDownError("the gateway is shutting down")
        if self._places >= self._limit:
            raise TooManyClients("sorry, too many clients already")
        self._places += 1

    def leave_place(self) -> None:
        self._places -= 1

    # sessions

    def add(self, session: LiveSession) -> None:
        self._sessions[session.id] = session
        self._by_pid[session.pid].append(session)
        self._by_lease[session.lease] += 1
        if self._draining:  # it was on its way in when the drain began
            session.relay.drain("shutdown", SHUTDOWN)

    def remove(self, session: LiveSession) -> None:
        if self._sessions.pop(session.id, None) is None:
            return
        same = self._by_pid[session.pid]
        same.remove(session)
        if not same:
            del self._by_pid[session.pid]
        self._by_lease[session.lease] -= 1
        if not self._by_lease[session.lease]:
            del self._by_lease[session.lease]

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def holder(self, pid: int, key: bytes) -> LiveSession | None:
        """Whose cancel key this is. Time does not tell how much of a wrong key was right."""
        found = None
        for session in self._by_pid.get(pid, ()):
            if hmac.compare_digest(session.key, key):
                found = session
        return found

    def through(self, lease: int) -> int:
        """How many sessions came through that time online of a connector."""
        return self._by_lease[lease]

    # what happens to a session from outside

    async def cancel(self, session: LiveSession) -> None:
        """Ask the session's server to stop its statement. The event is recorded by the caller, before."""
        try:
            await session.cancel()
        except UpstreamError as error:
            log.warning("cancel_failed", session=str(session.id), error=str(error))

    def end_killed(self, session: LiveSession, by: str, why: str | None = None) -> None:
        """Stop what the session does, then end it. Returns at once."""
        if session.ending:
            return
        session.ending = True
        session.end_detail = f"by {by}" + (f": {why}" if why else "")
        session.relay.hold()  # before the event: no statement is on the record after it
        session.event({"event": "kill_requested", "by": by, "why": why})
        log.info("session_killed", session=str(session.id), by=by, why=why)
        task = self._loop.create_task(self._stop_and_end(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop_and_end(self, session: LiveSession) -> None:
        """Cancelling first lets the server's own word about the statement reach the record."""
        try:
            if not session.relay.idle:
                await self._stop_statement(session)
        finally:
            session.relay.end("killed", KILLED)

    async def _stop_statement(self, session: LiveSession) -> None:
        cancelling = self._loop.create_task(self.cancel(session))
        self._tasks.add(cancelling)
        cancelling.add_done_callback(self._tasks.discard)
        deadline = self._loop.time() + STATEMENT_STOP_SECONDS
        await asyncio.wait({cancelling}, timeout=STATEMENT_STOP_SECONDS)
        while not session.relay.idle and self._loop.time() < deadline:  # noqa: ASYNC110 no event of the core
            await asyncio.sleep(0.01)

    async def end_through(self, lease: int, why: str) -> None:
        """End what came through a connector that may not be one any more; returns once it has ended, or has
        had its time to."""
        for session in self:
            if session.lease == lease:
                self.end_killed(session, "gateway", why)
        deadline = self._loop.time() + 2 * STATEMENT_STOP_SECONDS
        while self.through(lease) and self._loop.time() < deadline:  # noqa: ASYNC110 no event of the core
            await asyncio.sleep(0.01)

    def end_lost(self, lease: int, last_words: bytes, detail: str) -> None:
        """End what came through a connector that is gone. What has ended by itself says so."""
        for session in self:
            if session.lease == lease and not session.ending:
                session.ending = True
                session.end_detail = detail
                session.relay.end("interrupted", last_words)

    def end_idle(self, limit: float) -> None:
        """End the sessions that were quiet for longer than ``limit`` seconds."""
        for session in self:
            if not session.ending and session.relay.quiet_seconds > limit:
                session.ending = True
                session.end_detail = f"quiet for more than {limit:g} seconds"
                session.relay.end("idle", IDLE)

    def drain(self) -> None:
        """Let nobody in any more, and end every session at its next quiet moment. Call it again now and then:
        that a session is quiet may show by the time that passes, not by a message.
        """
        self._draining = True
        for session in self:
            session.relay.drain("shutdown", SHUTDOWN)

    @property
    def draining(self) -> bool:
        return self._draining

    async def close(self) -> None:
        """Give up what is still being cancelled."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # LiveSessions, as the API knows it

    def list(self) -> list[dict[str, Any]]:
        """The live sessions, oldest first."""
        return self._on_loop(lambda: [session.describe() for session in self._sessions.values()])

    def kill(self, session_id: str, by: str) -> bool:
        """Whether there was such a session. It ends within a second, with 57P01."""
        try:
            wanted = uuid.UUID(session_id)
        except ValueError:
            return False

        def end() -> bool:
            session = self._sessions.get(wanted)
            if session is not None:
                self.end_killed(session, by)
            return session is not None

        return self._on_loop(end)

    def _on_loop(self, function: Callable[[], T]) -> T:
        if threading.get_ident() == self._thread:
            return function()

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(ANSWER_SECONDS)
