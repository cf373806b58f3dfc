"""A connector that is online: its control conversation, its warm connections, and the dials through it.

Its control connection is the lease of everything else: when that ends, so does all that came through it.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog

from pgwitness._core import Stream, StreamError
from pgwitness.catalog.models import Certificate, Connection
from pgwitness.gateway.tunnel_pool import Pool, PoolClosedError
from pgwitness.posting import post
from pgwitness.tunnel import streams
from pgwitness.tunnel.channel import Channel, ChannelClosedError
from pgwitness.upstream.dialling import CANCEL_SECONDS, Upstream
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.upstream.login import Greeting, ServerRefusedError, StartupRefusedError
from pgwitness.wire import codec
from pgwitness.wire.codec import ErrorFields, MalformedPayloadError
from pgwitness.wire.tunnel import (
    Bye,
    Cancel,
    Dial,
    Disputed,
    Done,
    Failed,
    MalformedTunnelMessageError,
    Message,
    Opened,
    Prove,
    Refused,
    Renew,
    Renewed,
    Supply,
    encode,
    expect,
)

log = structlog.get_logger("pgwitness.tunnel")

STALE: Final = 3
"""Warm connections that may turn out to be broken before the way itself counts as broken."""
ADDRESSES_A_HOST: Final = 4
ANSWER_GRACE_SECONDS: Final = 5.0
_leases = itertools.count(1)

RenewCertificate = Callable[["Online", str], Awaitable[Renewed | Refused]]
"""Answers a certificate request of a connector."""
HearDispute = Callable[["Online", Disputed], None]
"""Told what a connector has against the record's checkpoint."""


class Online:
    """One connector from Welcome to the end of its control connection."""

    def __init__(
        self,
        certificate: Certificate,
        *,
        channel: Channel,
        address: str,
        software: str,
        allow: list[str],
        threads: int,
    ) -> None:
        self.name = certificate.connector
        self.certificate = certificate
        """The newest that it has: what its right to be here rests on."""
        self.lease = next(_leases)
        self.address = address
        self.software = software
        self.allow = allow
        self.since = datetime.now(UTC)
        self.draining = False
        self.turned_out = False
        """It may not be here any more, and is being told so."""
        self.head = b""
        """The record's checkpoint that it was shown last."""
        self.head_size = 0
        """Entries of it that a proof for the next one starts from."""
        self.pool = Pool(threads, self._supply, asyncio.get_running_loop().time)
        self.dialling: set[Stream] = set()
        self.opening = 0
        """Sessions that are being opened, those that wait for a connection among them."""
        self._channel = channel
        self._requests = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Done]] = {}
        self._ended: str | None = None
        self._over = False

    # the control conversation

    async def converse(self, renew: RenewCertificate, disputed: HearDispute) -> str:
        """Until it ends; why."""
        self.pool.order()
        try:
            while True:
                await self._take(await self._channel.receive(), renew, disputed)
        except (ChannelClosedError, MalformedTunnelMessageError) as error:
            return self._ended or ("it said good-bye" if self.draining else str(error))
        finally:
            self._forget()
            if self._ended is None:
                self._channel.abort()

    async def _take(self, message: Message, renew: RenewCertificate, disputed: HearDispute) -> None:
        if isinstance(message, Done):
            answer = self._answers.pop(message.request, None)
            if answer is not None and not answer.done():
                answer.set_result(message)
        elif isinstance(message, Renew):
            self.say(await renew(self, message.csr))
        elif isinstance(message, Prove):
            self.head, self.head_size = b"", message.old
        elif isinstance(message, Disputed):
            disputed(self, message)
        elif isinstance(message, Bye):
            self.draining = True
            self.pool.close("it is shutting down")
        else:
            raise MalformedTunnelMessageError(f"unexpected on a control connection: {message!r}")

    def say(self, message: Message) -> None:
        self._channel.send(message)

    def _supply(self, tickets: list[str]) -> None:
        self.say(Supply(tickets))

    async def end(self, why: str) -> None:
        """End it from our side, what was said before delivered; ``converse`` then returns ``why``."""
        if self._ended is None:
            self._ended = why
            self._forget()
            await self._channel.close()

    def cut(self, why: str) -> None:
        """As ``end``, at once and without last words."""
        self._ended = self._ended or why
        self._channel.abort()

    def _forget(self) -> None:
        self._over = True
        self.pool.close("it went offline")
        for stream in self.dialling:
            stream.abort()
        for answer in self._answers.values():
            if not answer.done():
                answer.cancel()
        self._answers.clear()

    # sessions

    async def open(
        self,
        connection: Connection,
        database: str,
        minor: int,
        parameters: dict[str, str],
        thread: int,
        seconds: float | None,
    ) -> Upstream:
        """As ``Dialler.open``; each address gets so many seconds. The connector keeps to that; one that says
        nothing at all is not waited for longer than an honest one could need.

        Raises UpstreamError, StartupRefusedError.
        """
        limit = None
        if seconds is not None:
            limit = seconds * len(connection.addresses) * ADDRESSES_A_HOST + ANSWER_GRACE_SECONDS
        self.opening += 1
        try:
            async with asyncio.timeout(limit):
                return await self._open(connection, database, minor, parameters, thread, seconds)
        except TimeoutError:
            raise UpstreamError(f"no answer within {limit:g} seconds") from None
        finally:
            self.opening -= 1

    async def _open(
        self,
        connection: Connection,
        database: str,
        minor: int,
        parameters: dict[str, str],
        thread: int,
        seconds: float | None,
    ) -> Upstream:
        for left in reversed(range(STALE)):
            # Anew each time: what came of one that was lost must not be taken for the next.
            dial = make_dial(connection, database, minor, parameters, seconds)
            stream = await self._data_connection(thread)
            try:
                answer = await self._ask(stream, dial)
            except StreamError as error:
                stream.abort()
                if not left or self._ended is not None:
                    raise UpstreamError(f"the way through it was lost: {error}") from error
            except MalformedTunnelMessageError as error:
                stream.abort()
                raise UpstreamError(f"it does not keep to the protocol: {error}") from error
            except BaseException:
                stream.abort()
                raise
            else:
                return self._upstream(stream, dial.dial, answer)
        raise AssertionError("unreachable")

    async def _data_connection(self, thread: int) -> Stream:
        try:
            return await self.pool.take(thread)
        except PoolClosedError as error:
            raise UpstreamError(str(error)) from None

    async def _ask(self, stream: Stream, dial: Dial) -> Opened:
        self.dialling.add(stream)
        try:
            post(stream, encode(dial))
            answer = await streams.receive(stream)
            await streams.allow_pauses(stream)
        finally:
            self.dialling.discard(stream)
        if isinstance(answer, Failed):
            stream.abort()
            raise failure(answer)
        return expect(answer, Opened)

    def _upstream(self, stream: Stream, dial: str, answer: Opened) -> Upstream:
        try:
            greeting = greet(answer)
        except MalformedPayloadError as error:
            stream.abort()
            raise UpstreamError(f"it passed on what no server says: {error}") from None
        tls = answer.tls
        return Upstream(
            stream,
            greeting,
            address=answer.address,
            tls={"version": tls.version, "cipher": tls.cipher} if tls is not None else None,
            cancel=partial(self._cancel, dial),
            connector=self.name,
            lease=self.lease,
            leaving=lambda: self.draining,
            lost=lambda: (self._ended or "it went offline") if self._over else None,
        )

    async def _cancel(self, dial: str) -> None:
        request = next(self._requests)
        answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._answers[request] = answer
        self.say(Cancel(request, dial))
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                done = await asyncio.shield(answer)
        except TimeoutError:
            raise UpstreamError(f"connector {self.name}: no answer to the cancel request") from None
        except asyncio.CancelledError:
            if answer.cancelled():
                raise UpstreamError(f"connector {self.name} went offline") from None
            raise
        finally:
            self._answers.pop(request, None)
        if done.error is not None:
            raise UpstreamError(f"connector {self.name}: {done.error}")

    def describe(self) -> dict[str, Any]:
        """For the API."""
        return {
            "connector": self.name,
            "address": self.address,
            "software": self.software,
            "allow": self.allow,
            "online_since": self.since.isoformat(timespec="microseconds"),
            "draining": self.draining,
        }


def make_dial(
    connection: Connection, database: str, minor: int, parameters: dict[str, str], seconds: float | None
) -> Dial:
    """What a connector needs to know to open this session."""
    key = connection.sslkey
    return Dial(
        dial=secrets.token_hex(8),
        connection=connection.name,
        hosts=connection.addresses,
        database=database,
        user=connection.user,
        sslmode=connection.sslmode,
        parameters=[
            (_bytes(name), _bytes(value))
            for name, value in parameters.items()
            if name not in ("user", "database")
        ],
        minor=minor,
        timeout=seconds,
        password=_bytes(connection.password.reveal()) if connection.password is not None else None,
        sslrootcert=connection.sslrootcert,
        sslcert=connection.sslcert,
        sslkey=_bytes(key.reveal()) if key is not None else None,
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def greet(answer: Opened) -> Greeting:
    """Raises MalformedPayloadError. The server's cancel key stays with the connector."""
    greeting = Greeting(answer.minor, answer.pid, passed_on=answer.passed_on, status=answer.status)
    for message in answer.passed_on:
        whole = len(message) >= 5 and int.from_bytes(message[1:5], "big") == len(message) - 1
        if not whole or message[:1] not in (b"S", b"N", b"A"):
            raise MalformedPayloadError("a message that does not belong into a greeting")
        if message[:1] == b"S":
            name, value = codec.parse_parameter_status(message[5:])
            greeting.parameters[name] = value
    if len(answer.status) != 1:
        raise MalformedPayloadError("a transaction status of one byte is expected")
    return greeting


def failure(answer: Failed) -> UpstreamError | StartupRefusedError:
    """The error that a dial of our own would have raised."""
    if answer.kind == "startup":
        return StartupRefusedError(answer.response)
    if answer.kind == "refused":
        return ServerRefusedError(ErrorFields("FATAL", answer.sqlstate, answer.text))
    return UpstreamError(answer.text)
