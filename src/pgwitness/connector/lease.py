"""One time online: the control conversation with the gateway, and everything that rests on it.

``hold`` returns when the gateway is lost or we have drained, and raises ConnectorRefused when we may not come
back; by then no session of this lease is left.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from pgwitness import __version__
from pgwitness._core import Engine, Stream, StreamError
from pgwitness.connector.chores import Chores
from pgwitness.connector.heads import HeadWatch
from pgwitness.connector.membership import Membership, MembershipFile, new_request
from pgwitness.connector.reach import Way, explain
from pgwitness.connector.serving import Server, Session
from pgwitness.errors import ConnectorRefused, UnavailableError, WitnessError
from pgwitness.tunnel import streams
from pgwitness.tunnel.channel import Channel, ChannelClosedError
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.wire.tunnel import (
    VERSION,
    Bye,
    Cancel,
    Dial,
    Done,
    Head,
    Hello,
    MalformedTunnelMessageError,
    Message,
    Refused,
    Renew,
    Renewed,
    Supply,
    Welcome,
    expect,
)

log = structlog.get_logger("pgwitness.connector")

HELLO_SECONDS: Final = 10.0
DIALLING: Final = 32
"""Data connections on their way at the same time: of a larger burst the gateway would evict some."""
ATTEMPTS: Final = 3
ATTEMPT_PAUSE: Final = 0.3
RENEWAL_RETRY_SECONDS: Final = 60.0
_SOFTWARE: Final = f"pgwitness {__version__}"


class Holder:
    """Who we are, as it changes: the membership is renewed while we are online."""

    def __init__(self, file: MembershipFile, membership: Membership) -> None:
        self._file = file
        self.membership = membership
        self.tls = membership.tls()

    def renewed(self, key: bytes, certificate: str) -> None:
        """Raises InvalidError, UnavailableError; then the old certificate is used on."""
        membership = self.membership.renewed(key, certificate, datetime.now(UTC))
        self._file.save(membership)
        self.membership, self.tls = membership, membership.tls()


class Lease:
    """``hold`` once; ``drain`` from outside while it holds. ``chores`` outlive it."""

    def __init__(
        self,
        engine: Engine,
        way: Way,
        holder: Holder,
        server: Server,
        allow: list[str],
        chores: Chores,
        heads: HeadWatch,
    ) -> None:
        self._engine, self._way, self._holder, self._server = engine, way, holder, server
        self._allow, self._chores, self._heads = allow, chores, heads
        self._looking = asyncio.Lock()
        self._address = ""
        self._workers = itertools.cycle(range(engine.threads))
        self._data: set[asyncio.Task[None]] = set()
        self._warm: set[asyncio.Task[None]] = set()
        """Of these, those that wait for a dial."""
        self._sessions: dict[str, Session] = {}
        self._renewal: asyncio.Future[Renewed | Refused] | None = None
        self._channel: Channel | None = None
        self._draining = False
        self._places = asyncio.Semaphore(DIALLING)

    async def hold(self, online: Callable[[str], None]) -> str:
        """``online`` is called with our name once the gateway has welcomed us. Why it ended. Raises
        UnavailableError if it did not begin, ConnectorRefused."""
        stream, self._address = await self._way.find()
        welcome = await self._introduce(stream)
        try:
            channel = self._channel = await Channel.over(self._engine, stream, welcome.heartbeat)
        except OSError as error:
            raise UnavailableError(f"the control connection failed: {error}") from None
        online(welcome.name)
        renewing = asyncio.create_task(self._renew_in_time(channel))
        try:
            while True:
                self._take(channel, await channel.receive())
        except (ChannelClosedError, MalformedTunnelMessageError) as error:
            return str(error)
        finally:
            over = [renewing, *self._data]
            for task in over:
                task.cancel()
            await asyncio.gather(*over, return_exceptions=True)
            channel.abort()

    async def _introduce(self, stream: Stream) -> Welcome:
        await self._way.secure(stream, self._holder.tls)
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                await streams.send(stream, Hello(VERSION, _SOFTWARE, self._allow))
                answer = await streams.receive(stream)
            if isinstance(answer, Refused):
                raise _refused(answer)
            return expect(answer, Welcome)
        except StreamError as error:
            stream.abort()
            raise explain(error, self._way.gateway) from None
        except TimeoutError:
            stream.abort()
            raise UnavailableError(f"the gateway at {self._way.gateway} does not say welcome") from None
        except MalformedTunnelMessageError as error:
            stream.abort()
            raise UnavailableError(f"what answers at {self._way.gateway} is no gateway: {error}") from None
        except BaseException:
            stream.abort()
            raise

    # the control conversation

    def _take(self, channel: Channel, message: Message) -> None:
        if isinstance(message, Supply):
            for ticket in [] if self._draining else message.tickets:
                self._start(ticket)
        elif isinstance(message, Cancel):
            self._chores.start(self._cancel(channel, message))
        elif isinstance(message, Renewed) or (isinstance(message, Refused) and message.code == "renewal"):
            if self._renewal is not None and not self._renewal.done():
                self._renewal.set_result(message)
        elif isinstance(message, Refused):
            raise _refused(message)
        elif isinstance(message, Head):
            self._chores.start(self._look(channel, message))
        elif isinstance(message, Bye):
            log.info("gateway_is_stopping", gateway=self._way.gateway)
        else:
            raise MalformedTunnelMessageError(f"unexpected on a control connection: {message!r}")

    async def _look(self, channel: Channel, head: Head) -> None:
        async with self._looking:
            answer = await asyncio.to_thread(self._heads.look, head)
        if answer is not None:
            channel.send(answer)

    async def _cancel(self, channel: Channel, message: Cancel) -> None:
        session = self._sessions.get(message.dial)
        error = "there is no such session"
        if session is not None:
            try:
                await session.cancel()
            except UpstreamError as problem:
                error = str(problem)
            else:
                channel.send(Done(message.request))
                return
        channel.send(Done(message.request, error))

    # renewal

    async def _renew_in_time(self, channel: Channel) -> None:
        """At half of the certificate's life, and again until it is done."""
        while True:
            left = (self._holder.membership.renew_at - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(0.0, left))
            if await self._renew(channel):
                continue
            await asyncio.sleep(RENEWAL_RETRY_SECONDS)

    async def _renew(self, channel: Channel) -> bool:
        key, request = await asyncio.to_thread(new_request)
        self._renewal = asyncio.get_running_loop().create_future()
        channel.send(Renew(request.decode()))
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                answer = await self._renewal
            if isinstance(answer, Refused):
                raise ConnectorRefused(answer.text)
            self._holder.renewed(key, answer.certificate)
        except (WitnessError, TimeoutError) as error:
            ends = self._holder.membership.not_after.isoformat()
            log.error("certificate_not_renewed", why=str(error) or "no answer", ends=ends)
            return False
        log.info("certificate_renewed", ends=self._holder.membership.not_after.isoformat())
        return True

    # data connections

    def _start(self, ticket: str) -> None:
        task = asyncio.create_task(self._serve(ticket))
        self._data.add(task)
        self._warm.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._data.discard(task)
        self._warm.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("data_connection_crashed", exc_info=error)

    async def _serve(self, ticket: str) -> None:
        """One data connection from its dial to the end of its session."""
        stream = await self._connect()
        if stream is None:
            return
        try:
            dial = await self._server.wait(stream, ticket)
            self._warm -= {asyncio.current_task()}
            session = await self._server.open(stream, dial)
            if session is not None:
                await self._attend(dial, session)
        except ConnectorRefused as error:
            log.warning("data_connection_refused", why=str(error))
        except (StreamError, MalformedTunnelMessageError) as error:
            log.debug("data_connection_ended", why=str(error))
        finally:
            stream.abort()  # without effect once a copy owns it

    async def _connect(self) -> Stream | None:
        """A data connection, after a few attempts: a ticket is good for some seconds, and somebody waits."""
        for left in reversed(range(ATTEMPTS)):
            try:
                async with self._places:
                    stream = await self._way.dial(self._address, next(self._workers))
                    await self._way.secure(stream, self._holder.tls)
                    return stream
            except (UnavailableError, ConnectorRefused) as error:
                log.warning("data_connection_failed", why=str(error), attempts_left=left)
            await asyncio.sleep(ATTEMPT_PAUSE)
        return None

    async def _attend(self, dial: Dial, session: Session) -> None:
        self._sessions[dial.dial] = session
        log.info("session_started", dial=dial.dial, connection=dial.connection, database=dial.database)
        reason, detail = "lease_over", None
        try:
            end = await session.copy.wait()
            reason, detail = end.reason, end.detail
        except asyncio.CancelledError:
            session.copy.end(reason)
            raise
        finally:
            del self._sessions[dial.dial]
            log.info("session_ended", dial=dial.dial, reason=reason, detail=detail)
            if reason != "closed":
                self._chores.start(_stop(session))

    async def drain(self, grace: float, at_once: asyncio.Event) -> None:
        """No new sessions; open ones get so many seconds. Then ``hold`` returns."""
        if self._channel is None:
            return
        self._draining = True
        self._channel.send(Bye())
        for task in self._warm:
            task.cancel()
        hurry = asyncio.create_task(at_once.wait())
        finished = asyncio.create_task(_all_done(self._data))
        await asyncio.wait({hurry, finished}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        finished.cancel()
        if self._sessions:
            log.warning("sessions_cut_off", sessions=len(self._sessions))
        await self._channel.close()


async def _all_done(tasks: set[asyncio.Task[None]]) -> None:
    while tasks:
        await asyncio.wait(set(tasks))


async def _stop(session: Session) -> None:
    """Of a session that was lost: its backend would go on with a statement whose answer nobody reads."""
    try:
        await session.cancel()
    except UpstreamError as error:
        log.warning("cancel_failed", why=str(error))


def _refused(message: Refused) -> ConnectorRefused:
    return ConnectorRefused(
        f"the gateway refuses this connector: {message.text}",
        hint="to join anew: pgwitness connector rejoin NAME, at the gateway, gives a token"
        if message.code == "certificate"
        else None,
    )
