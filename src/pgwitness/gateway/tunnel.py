"""The gateway's side of the tunnel: who may dial in, which connectors are online, dials through them.

``serve`` takes connectors in; ``drain`` says good-bye to them while sessions finish; ``stop`` ends
everything. A connector is let in by its certificate, which the catalog must hold as live, and a data
connection by a ticket of that very connector besides. Whoever is refused is on record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from pgwitness._core import Engine, Listener, Stream, StreamError, TlsServer
from pgwitness.catalog.models import Certificate, Connection
from pgwitness.errors import ConnectorRefused, WitnessError
from pgwitness.gateway.enrolment import enrol
from pgwitness.gateway.recorder import Recorder
from pgwitness.gateway.registry import Registry, farewell
from pgwitness.gateway.tunnel_heads import HeadTeller
from pgwitness.gateway.tunnel_online import Online
from pgwitness.identity.enrolment import Enrolment
from pgwitness.sealing.offer import Heads
from pgwitness.tunnel import streams
from pgwitness.tunnel.channel import HEARTBEAT_SECONDS, Channel
from pgwitness.upstream.dialling import Dialler, Upstream
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.wire import tunnel
from pgwitness.wire.startup import TLS_HANDSHAKE, printable
from pgwitness.wire.tunnel import (
    Bye,
    Data,
    Hello,
    MalformedTunnelMessageError,
    Refused,
    RefusedCode,
    Renewed,
    Welcome,
)

log = structlog.get_logger("pgwitness.tunnel")

ARRIVAL_SECONDS: Final = 10.0
ARRIVING: Final = 200
"""Connections that may be on their way in at the same time."""
CHECK_SECONDS: Final = 0.5
ACCEPT_PAUSE: Final = 0.1
LAST_WORDS_SECONDS: Final = 2.0
SOFTWARE_CHARACTERS: Final = 100


class ConnectorOfflineError(UpstreamError):
    """None of the connection's connectors is online."""

    def __init__(self, connectors: tuple[str, ...]) -> None:
        names = ", ".join(f'"{name}"' for name in connectors)
        one = len(connectors) == 1
        super().__init__(f"connector {names} is not online" if one else f"no connector of {names} is online")
        self.trouble = str(self)


class RefusedError(Exception):
    """This connection is not let in. ``text`` is for the peer, ``why`` for the record."""

    def __init__(self, code: RefusedCode, text: str, why: str, connector: str | None = None) -> None:
        super().__init__(text)
        self.code, self.text, self.why = code, text, why
        self.connector = connector


class Tunnel:
    """``serve``, ``drain``, ``stop``, once each; ``open`` in between."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        registry: Registry,
        dialler: Dialler,
        enrolment: Enrolment,
        tls: TlsServer,
        default_timeout: float,
        heads: Heads,
    ) -> None:
        self._engine, self._recorder, self._registry, self._dialler = engine, recorder, registry, dialler
        self._enrolment = enrolment
        self._tls = tls
        self._default_timeout = default_timeout
        self._online: dict[str, Online] = {}
        self._arriving: dict[asyncio.Task[None], int] = {}
        """With the relay thread that each is moved to."""
        self._conversations: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._teller = HeadTeller(heads, lambda: list(self._online.values()), recorder)
        self.listener: Listener

    def serve(self, listener: Listener) -> None:
        self.listener = listener
        self._tasks = [
            asyncio.create_task(self._accept()),
            asyncio.create_task(self._check()),
            asyncio.create_task(self._teller.run()),
        ]

    def drain(self) -> None:
        """Tell connectors that the gateway is about to stop, and let no other in."""
        self.listener.close()
        self._tasks[0].cancel()
        for online in self._online.values():
            online.say(Bye())

    def close(self) -> None:
        """Serve nobody any more, without a word. Idempotent."""
        self.listener.close()
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """End what is left."""
        self.close()
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._arriving, return_exceptions=True)
        # Only now does nobody come online any more, whom nothing would end.
        await asyncio.gather(*(online.end("the gateway stopped") for online in self._online.values()))
        await asyncio.gather(*self._conversations, return_exceptions=True)

    # sessions

    async def open(
        self, connection: Connection, database: str, minor: int, parameters: dict[str, str], thread: int
    ) -> Upstream:
        """As ``Dialler.open``: through the connection's connectors if it has some, the least busy first.

        Raises UpstreamError, StartupRefusedError.
        """
        if not connection.connectors:
            return await self._dialler.open(connection, database, minor, parameters, thread)
        serving = [each for name in connection.connectors if (each := self._serving(name))]
        if not serving:
            raise ConnectorOfflineError(connection.connectors)
        problems: list[str] = []
        last: UpstreamError | None = None
        seconds = connection.connect_timeout or self._default_timeout or None
        for online in sorted(serving, key=self._load):
            try:
                return await online.open(connection, database, minor, parameters, thread, seconds)
            except UpstreamError as error:
                problems.append(f"connector {online.name}: {error}")
                last = error
        failure = UpstreamError("; ".join(problems))
        failure.last = last
        raise failure

    def _serving(self, name: str) -> Online | None:
        online = self._online.get(name)
        return online if online is not None and not (online.draining or online.turned_out) else None

    def _load(self, online: Online) -> int:
        return online.opening + self._registry.through(online.lease)

    def describe(self) -> list[dict[str, Any]]:
        """The connectors that are online, for the API; from any thread."""
        return [
            {**online.describe(), "sessions": self._registry.through(online.lease)}
            for online in list(self._online.values())
        ]

    # arrivals

    async def _accept(self) -> None:
        while True:
            try:
                stream = await self.listener.accept()
                thread = self._neediest()
                if stream.worker != thread:
                    stream = self._engine.move(stream, thread)
            except OSError as error:
                log.error("accept_failed", error=str(error))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if len(self._arriving) >= ARRIVING:
                next(iter(self._arriving)).cancel()
            task = asyncio.create_task(self._receive(stream))
            self._arriving[task] = thread
            task.add_done_callback(self._over)

    def _neediest(self) -> int:
        """The relay thread that lacks most warm connections, those on their way counted."""
        coming = list(self._arriving.values())

        def lacks(thread: int) -> int:
            wanted = sum(online.pool.wants(thread) for online in self._online.values())
            return wanted - coming.count(thread)

        return max(range(self._engine.threads), key=lacks)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._arriving.pop(task, None)
        self._conversations.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("tunnel_peer_failed", exc_info=error)

    async def _receive(self, stream: Stream) -> None:
        """One connection, until it is warm, has become a control connection, or is refused."""
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                if not await self._secure(stream):
                    return
                tls = stream.tls
                if tls is not None and tls.alpn == tunnel.ENROL:
                    await enrol(stream, self._enrolment, self._recorder)
                    return
                certificate = await self._certified(stream)
                first = await streams.receive(stream)
                if isinstance(first, Data):
                    self._take_data(stream, certificate.connector, first)
                elif isinstance(first, Hello):
                    await self._welcome(stream, certificate, first)
                else:
                    why = "hello or data is expected"
                    raise RefusedError("message", why, why, certificate.connector)
        except RefusedError as refusal:
            await self._refuse(stream, refusal)
        except MalformedTunnelMessageError as error:
            await self._refuse(stream, RefusedError("message", str(error), "malformed message"))
        except OSError as error:  # also TimeoutError
            log.debug("tunnel_peer_left", address=stream.peer, error=str(error))
            stream.abort()
        except BaseException:
            stream.abort()
            raise

    async def _secure(self, stream: Stream) -> bool:
        """Whether the peer speaks TLS as it must. A failure of its certificate is on record."""
        first = await stream.peek()
        if first != TLS_HANDSHAKE:
            log.debug("tunnel_peer_left", address=stream.peer, error="not TLS")
            stream.abort()
            return False
        await streams.watch_peer(stream)
        try:
            await stream.start_tls_server(self._tls)
        except StreamError as error:
            self._record_refusal(stream, f"TLS: {error}", None)
            return False
        if stream.tls is None or stream.tls.alpn is None:
            # Without ALPN the handshake succeeds, but nobody knows what the peer is here for.
            raise RefusedError("version", f"speak {tunnel.TUNNEL} or {tunnel.ENROL} (ALPN)", "no ALPN")
        return True

    async def _certified(self, stream: Stream) -> Certificate:
        """Who the peer is. TLS has checked the chain."""
        shown = stream.tls.peer_certificate if stream.tls is not None else None
        try:
            return await asyncio.to_thread(self._enrolment.admit, shown)
        except ConnectorRefused as error:
            raise RefusedError("certificate", str(error), str(error)) from None

    def _take_data(self, stream: Stream, connector: str, first: Data) -> None:
        online = self._online.get(connector)
        if online is None or not online.pool.redeem(first.ticket):
            why = "the ticket is unknown, was used before or has expired"
            raise RefusedError("ticket", why, why, connector)
        online.pool.put(stream)

    async def _refuse(self, stream: Stream, refusal: RefusedError) -> None:
        self._record_refusal(stream, refusal.why, refusal.connector)
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await streams.send(stream, Refused(refusal.code, refusal.text))
                await stream.close()
        except (StreamError, TimeoutError):
            pass
        finally:
            stream.abort()

    def _record_refusal(self, stream: Stream, why: str, connector: str | None) -> None:
        event = {
            "event": "connector_refused",
            "address": stream.peer,
            "why": printable(why),
            "connector": connector,
        }
        log.warning("connector_refused", **{key: value for key, value in event.items() if key != "event"})
        self._recorder.refused(event)

    # connectors online

    async def _welcome(self, stream: Stream, certificate: Certificate, hello: Hello) -> None:
        if hello.version > tunnel.VERSION:
            why = f"it speaks version {hello.version} of the tunnel, and this gateway up to {tunnel.VERSION}"
            raise RefusedError("version", f"{why}: update the gateway", why, certificate.connector)
        await streams.send(stream, Welcome(certificate.connector, HEARTBEAT_SECONDS))
        address = stream.peer
        online = Online(
            certificate,
            channel=await Channel.over(self._engine, stream),
            address=address,
            software=printable(hello.software[:SOFTWARE_CHARACTERS]),
            allow=hello.allow,
            threads=self._engine.threads,
        )
        previous = self._online.get(online.name)
        self._online[online.name] = online
        if previous is not None:
            previous.cut("it dialled in anew")
        self._converse(self._keep(online))

    def _converse(self, conversation: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(conversation)
        self._conversations.add(task)
        task.add_done_callback(self._over)

    async def _keep(self, online: Online) -> None:
        """From online to offline, both on record; its sessions end with it."""
        facts = {"connector": online.name, "address": online.address}
        log.info("connector_online", **facts, software=online.software)
        self._recorder.note(
            {
                "event": "connector_online",
                **facts,
                "software": online.software,
                "serial": online.certificate.serial,
            }
        )
        why = "the gateway failed"
        try:
            await self._seen(online)
            why = await online.converse(self._renew, self._teller.disputed)
        finally:
            if self._online.get(online.name) is online:
                del self._online[online.name]
            log.info("connector_offline", **facts, why=why)
            self._recorder.note({"event": "connector_offline", **facts, "why": why})
            self._registry.end_lost(online.lease, lost(online.name), f'connector "{online.name}": {why}')
            await self._seen(online)

    async def _seen(self, online: Online) -> None:
        """For listings; a catalog that is away for a moment stops no connector."""
        try:
            await asyncio.to_thread(self._enrolment.seen, online.name, online.software)
        except WitnessError as error:
            log.warning("connector_not_noted", connector=online.name, error=str(error))

    async def _renew(self, online: Online, request: str) -> Renewed | Refused:
        try:
            certificate, pem = await asyncio.to_thread(
                self._enrolment.renew, online.certificate, request.encode()
            )
        except ConnectorRefused as error:
            return Refused("renewal", str(error))
        except WitnessError as error:  # sessions do not end for it: half of the certificate's life is left
            log.error("certificate_not_renewed", connector=online.name, error=str(error))
            return Refused("renewal", "the gateway failed; its log says why")
        online.certificate = certificate
        facts = {"connector": online.name, "serial": certificate.serial}
        log.info("certificate_renewed", **facts)
        self._recorder.note(
            {"event": "certificate_renewed", **facts, "not_after": certificate.not_after.isoformat()}
        )
        return Renewed(pem.decode())

    async def _check(self) -> None:
        """Twice a second: lock out whom the catalog no longer knows, and keep the pools in order."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self._lock_out()
            except Exception:
                log.exception("connector_check_failed")
            for online in self._online.values():
                online.pool.tidy()

    async def _lock_out(self) -> None:
        by_serial = {online.certificate.serial: online for online in self._online.values()}
        ended = await asyncio.to_thread(self._enrolment.ended, list(by_serial))
        for serial, why in ended.items():
            online = by_serial[serial]
            if online.certificate.serial == serial and not online.turned_out:  # nor renewed meanwhile
                online.turned_out = True
                self._converse(self._turn_out(online, why))  # not awaited: one that is frozen takes its time

    async def _turn_out(self, online: Online, why: str) -> None:
        try:
            await self._registry.end_through(online.lease, f'connector "{online.name}": {why}')
            online.say(Refused("certificate", why))
            await online.end(why)
        finally:
            online.cut(why)


def lost(connector: str) -> bytes:
    """What a client reads when its connector is gone."""
    return farewell("08006", f'connector "{connector}", or the way to it, was lost')
