"""The gateway's process from start to stop: what it opens, in which order, and how it lets go of it again.

``start`` returns when clients are served. ``stop`` drains: no new clients, open sessions finish what they are
doing, the tape's last frame is ``stopped``.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from pgwitness import __version__
from pgwitness._core import Engine, Listener, Stream, TapeError
from pgwitness.config import Settings
from pgwitness.errors import UnavailableError
from pgwitness.gateway import tls
from pgwitness.gateway.helpers import Helper, indexer, sealer, sinks
from pgwitness.gateway.http import HttpServer
from pgwitness.gateway.lost_tape import begin_above_what_is_known
from pgwitness.gateway.recorder import Recorder
from pgwitness.gateway.registry import SHUTDOWN, Registry
from pgwitness.gateway.session import House, serve
from pgwitness.gateway.tunnel import Tunnel
from pgwitness.identity.authority import open_authority
from pgwitness.identity.directory import Directory
from pgwitness.identity.enrolment import Enrolment
from pgwitness.sealing.offer import Heads
from pgwitness.state_lock import StateLock
from pgwitness.upstream.dialling import Dialler
from pgwitness.upstream.openings import Openings
from pgwitness.wire.tunnel import ENROL, TUNNEL

log = structlog.get_logger("pgwitness.gateway")

POLL_SECONDS: Final = 0.5
ACCEPT_PAUSE: Final = 0.1
LAST_WORDS_SECONDS: Final = 5.0
"""Of a connector's certificate, which it renews at half of that."""
_OTHER_DESCRIPTORS: Final = 256
"""For what is not a session: tape, catalog, API, indexer, cancel requests."""
_SECRET_SETTINGS: Final = {"catalog_url", "secret_key"}

MakeApps = Callable[["Gateway"], tuple[Any, Any]]
"""Makes the API's ASGI applications, with tokens and for the Unix socket, once the gateway has its registry,
recorder and address. It is given from above: the API knows the gateway, not the other way round."""


class Gateway:
    """``start``, then ``stop``, once."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        *,
        make_apps: MakeApps | None = None,
        config: Path | None = None,
        indexing: bool = True,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self._make_apps = make_apps
        self._config = config
        self._index = indexing
        self._clients: set[asyncio.Task[None]] = set()
        self._arriving: dict[asyncio.Task[None], None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._undo: list[Callable[[], None]] = []
        self._http: HttpServer | None = None
        self._indexing: Helper | None = None
        self._sealing: Helper | None = None
        self._delivering: Helper | None = None
        self._lock: StateLock | None = None
        self.engine: Engine
        self.dialler: Dialler
        self.openings: Openings
        self.listener: Listener
        self.tunnel: Tunnel
        self.recorder: Recorder
        self.registry: Registry
        self._house: House

    # start

    async def start(self) -> None:
        """Raises WitnessError, with nothing left open."""
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise

    async def _start(self) -> None:
        settings = self.settings
        self._lock = StateLock(settings.state)
        _allow_descriptors(
            2 * settings.limits.sessions + settings.limits.unauthenticated + _OTHER_DESCRIPTORS
        )
        self._open_tape()
        self._start_engine()
        limits = settings.limits
        self.dialler = Dialler(self.engine, limits.connect_seconds)
        self._undo.append(self.dialler.close)
        self.openings = Openings()
        self.registry = Registry(limits.sessions)
        self.tunnel = self._make_tunnel()
        self._house = House(
            engine=self.engine,
            recorder=self.recorder,
            directory=self.directory,
            tunnel=self.tunnel,
            openings=self.openings,
            registry=self.registry,
            tls=tls.load(
                settings.tls_directory,
                [settings.host],
                settings.tls.certificate,
                settings.tls.private_key,
            ),
            plaintext=settings.tls.plaintext,
            startup_seconds=limits.startup_seconds,
            results_default=settings.results_default,
            heads=Heads(settings.state) if settings.heads.tell_clients else None,
        )
        self.listener = self._listen(settings.port, "--port")
        self._undo.append(self.listener.close)
        self.tunnel.serve(self._listen(settings.tunnel_port, "--tunnel-port"))
        self._undo.append(self.tunnel.close)
        await self._start_services()
        self._tasks = [asyncio.create_task(self._accept()), asyncio.create_task(self._keep_house())]

    def _open_tape(self) -> None:
        settings = self.settings
        try:
            lost = begin_above_what_is_known(settings.state, settings.tape_directory)
            self.recorder = Recorder(
                settings.tape_directory,
                segment_bytes=settings.tape.segment_bytes,
                durability=settings.tape.durability,
            )
            self._undo.append(self.recorder.close)
            self.recorder.started(__version__, settings.model_dump(mode="json", exclude=_SECRET_SETTINGS))
            if lost is not None:
                log.error("tape_lost", up_to_segment=lost, advice="put it back: pgwitness index status")
                self.recorder.record({"event": "tape_lost", "up_to_segment": lost})
        except (TapeError, OSError) as error:
            raise UnavailableError(
                f"the tape in {settings.tape_directory} cannot be opened: {error}",
                hint="the gateway serves nobody whom it cannot record: make room, or check the permissions",
            ) from error

    def _start_engine(self) -> None:
        loop = asyncio.get_running_loop()
        self.engine = engine = Engine(loop.create_future, self.settings.relay_threads)
        loop.add_reader(engine.fileno(), engine.drain)

        def close() -> None:
            loop.remove_reader(engine.fileno())
            engine.close()

        self._undo.append(close)

    def _make_tunnel(self) -> Tunnel:
        settings = self.settings
        authority = open_authority(settings.tls_directory)
        lifetime = timedelta(seconds=settings.tunnel.certificate_seconds)
        return Tunnel(
            self.engine,
            self.recorder,
            self.registry,
            self.dialler,
            Enrolment(self.directory.catalog, authority, lifetime),
            tls.load_tunnel(settings.tls_directory, authority, [TUNNEL, ENROL]),
            settings.limits.connect_seconds,
            Heads(settings.state),
        )

    def _listen(self, port: int, option: str) -> Listener:
        host = self.settings.host
        hint = f"{option} chooses another port; 0 picks a free one"
        try:
            address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
            return self.engine.listen(address, port)
        except OSError as error:
            if isinstance(error, socket.gaierror) or f"os error {errno.EADDRNOTAVAIL}" in str(error):
                hint = "--host chooses another address: one of this machine, or 0.0.0.0 for all of them"
            raise UnavailableError(
                f"cannot listen on {host}:{port}: {error.strerror or error}", hint=hint
            ) from None

    async def _start_services(self) -> None:
        settings = self.settings
        if self._make_apps is not None:
            self._http = HttpServer(
                *self._make_apps(self),
                settings.http_host,
                settings.http_port,
                settings.admin_socket,
                settings.http.trusted_proxies,
            )
            await self._http.start()
        if self._index:
            self._indexing = indexer(settings.state, self._config, settings.index.text)
            self._indexing.start()
        if self._index and settings.seal.enabled:
            self._sealing = sealer(settings.state, self._config)
            self._sealing.start()
        if self._index and settings.sinks:
            self._delivering = sinks(settings.state, self._config, self.recorder.tape.position)
            self._delivering.start()

    @property
    def ready(self) -> dict[str, str | None]:
        """The line that tells who waits for it where to go."""
        return {
            "event": "ready",
            "postgres": _address(self.listener),
            "tunnel": _address(self.tunnel.listener),
            "http": self._http.url if self._http else None,
            "state": str(self.settings.state),
        }

    # while it serves

    async def _accept(self) -> None:
        while True:
            try:
                stream = await self.listener.accept()
            except OSError as error:  # out of file descriptors, most likely: others may close some
                log.error("accept_failed", error=str(error))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            self._take_in(stream)

    def _take_in(self, stream: Stream) -> None:
        """When the crowd that is not yet logged in is too large, whoever stands there longest must go: honest
        log-ins take milliseconds, so silent clients can never keep others out."""
        if len(self._arriving) >= self.settings.limits.unauthenticated:
            longest = next(iter(self._arriving))
            del self._arriving[longest]
            longest.cancel()
            log.warning("client_evicted", limit=self.settings.limits.unauthenticated)
        task: asyncio.Task[None] = asyncio.create_task(
            serve(self._house, stream, lambda: self._arriving.pop(task, None))
        )
        self._clients.add(task)
        self._arriving[task] = None
        task.add_done_callback(self._client_done)

    def _client_done(self, task: asyncio.Task[None]) -> None:
        self._clients.discard(task)
        self._arriving.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("client_task_failed", exc_info=error)

    async def _keep_house(self) -> None:
        """Twice a second: end what rests on a revoked token, and what has been idle for too long."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._end_the_ended()
            except Exception:
                log.exception("directory_poll_failed")
            if self.registry.draining:
                self.registry.drain()
            if self.settings.limits.idle_seconds:
                self.registry.end_idle(self.settings.limits.idle_seconds)

    async def _end_the_ended(self) -> None:
        uses = {session.use for session in self.registry}
        ended = await asyncio.to_thread(self.directory.ended, uses)
        if not ended:
            return
        for session in self.registry:
            if session.use in ended:
                self.registry.end_killed(session, "gateway", ended[session.use])

    # stop

    async def stop(self, at_once: asyncio.Event | None = None) -> None:
        """Sessions get ``drain_seconds`` to finish what they do, unless ``at_once`` is set meanwhile."""
        log.info("stopping", sessions=len(self.registry))
        self._tasks[0].cancel()
        self.listener.close()
        for task in list(self._arriving):
            task.cancel()
        self.registry.drain()
        self.tunnel.drain()
        await self._sessions_gone(self.settings.limits.drain_seconds, at_once)
        for session in self.registry:
            session.relay.end("shutdown", SHUTDOWN)
        await self._sessions_gone(LAST_WORDS_SECONDS, None)
        for task in [*self._clients, *self._tasks]:
            task.cancel()
        await asyncio.gather(*self._clients, *self._tasks, return_exceptions=True)
        await self.registry.close()
        await self.tunnel.stop()
        await self._close()
        log.info("stopped")

    async def _sessions_gone(self, seconds: float, at_once: asyncio.Event | None) -> None:
        waiting = {asyncio.create_task(_all_done(self._clients))}
        if at_once is not None:
            waiting.add(asyncio.create_task(_set(at_once)))
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _close(self) -> None:
        await self._stop_services()
        self._let_go()
        if self._sealing is not None:
            # After the tape is closed: then what is sealed ends with its last frame.
            await self._sealing.stop()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _stop_services(self) -> None:
        if self._http is not None:
            await self._http.stop()
        helpers = [helper for helper in (self._indexing, self._delivering) if helper is not None]
        await asyncio.gather(*(helper.stop() for helper in helpers))

    def _let_go(self) -> None:
        while self._undo:
            try:
                self._undo.pop()()
            except Exception:
                log.exception("stop_step_failed")


def _allow_descriptors(wanted: int) -> None:
    """A session holds two. The usual limit of 1,024 would refuse clients, and new segments of the tape, long
    before the limit of sessions does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return
    allowed = wanted if hard == unlimited else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("few_descriptors", allowed=allowed, wanted=wanted)


def _address(listener: Listener) -> str:
    return (
        f"[{listener.host}]:{listener.port}" if ":" in listener.host else f"{listener.host}:{listener.port}"
    )


async def _all_done(tasks: set[asyncio.Task[None]]) -> None:
    while tasks:
        await asyncio.wait(set(tasks))


async def _set(event: asyncio.Event) -> None:
    await event.wait()
