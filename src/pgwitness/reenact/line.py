"""The wire to the copy: bytes out, bytes in, both at any time.

The log-in is the project's own (``upstream``). A stream of the core does one thing at a time, and here a
server may answer while it is still being sent to; so the core copies the stream to a Unix socket of this
process, as the tunnel does. Whatever comes in is taken at once, so that the two sides never wait for each
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from pgwitness._core import Engine, ProtocolError, Stream, StreamError
from pgwitness.errors import ClientError, ConflictError, UnavailableError
from pgwitness.reenact.target import CONNECT_SECONDS, IDENTIFIER, IDENTITY, Target
from pgwitness.tunnel.channel import pair
from pgwitness.upstream.dialling import Dialler, Upstream
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.upstream.login import Greeting
from pgwitness.wire import codec

_CANCEL_SECONDS: Final = 10.0
_ANSWER_LIMIT: Final = 1 << 20


class Line(asyncio.Protocol):
    """``take`` gets what comes in. ``wake`` is set whenever something came, and at the end."""

    def __init__(self, upstream: Upstream, take: Callable[[bytes], None]) -> None:
        self._upstream = upstream
        self._take = take
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.wake = asyncio.Event()
        self.lost = False
        """No more will come."""
        self.failure: BaseException | None = None
        """What ``take`` raised."""

    @property
    def greeting(self) -> Greeting:
        return self._upstream.greeting

    async def send(self, data: bytes) -> None:
        """Returns when there is room for more."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        await self._writable.wait()

    async def cancel(self) -> None:
        """Ask the server to stop what it does. A server that does not listen is none that stops."""
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await self._upstream.cancel()
        except (TimeoutError, UpstreamError):
            return

    async def bid_farewell(self) -> None:
        """Say that the session is over, and let the server end it."""
        await self.send(codec.terminate())
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                while not self.lost:
                    self.wake.clear()
                    await self.wake.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            if self.failure is None:
                self._take(data)
        except Exception as error:
            self.failure = error
        self.wake.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._writable.set()
        self.wake.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()


@asynccontextmanager
async def dial(
    target: Target, parameters: Mapping[str, str], minor: int, take: Callable[[bytes], None]
) -> AsyncIterator[Line]:
    """Logged in, with these start-up parameters. Raises UnavailableError."""
    loop = asyncio.get_running_loop()
    engine = Engine(loop.create_future, 1)
    loop.add_reader(engine.fileno(), engine.drain)
    dialler = Dialler(engine, CONNECT_SECONDS)
    try:
        upstream = await _open(dialler, target, parameters, minor)
        try:
            await _check(upstream.stream, target)
        except BaseException:
            upstream.stream.abort()
            raise
        line = Line(upstream, take)
        ours, theirs = await pair(engine, upstream.stream.worker)
        await loop.create_unix_connection(lambda: line, sock=ours)
        copying = engine.copy(theirs, upstream.stream)
        try:
            yield line
        finally:
            line.close()
            copying.end("closed")
    finally:
        dialler.close()
        loop.remove_reader(engine.fileno())
        engine.close()


async def _open(dialler: Dialler, target: Target, parameters: Mapping[str, str], minor: int) -> Upstream:
    connection = target.connection
    try:
        return await dialler.open(connection, connection.database, minor, dict(parameters), 0, target.address)
    except UpstreamError as error:
        raise UnavailableError(f"the copy cannot be reached for the session: {error}") from None
    except ClientError as error:
        raise UnavailableError(f"the copy refuses the session's start-up parameters: {error}") from None


async def _check(stream: Stream, target: Target) -> None:
    """Is this the server and the database that were looked at? Raises ConflictError, UnavailableError."""
    known = target.place.system_identifier
    asked = [(IDENTITY, target.identity)] + ([(IDENTIFIER, known)] if known is not None else [])
    for sql, expected in asked:
        if await _ask(stream, sql) != expected:
            raise ConflictError(
                f"the session's connection does not reach {target.words}, which was looked at, but another "
                "server or database",
                hint="give --into one server, by its address: what stands between must lead to the same one",
            )


async def _ask(stream: Stream, sql: str) -> str | None:
    """The one value that it gives; None if it fails."""
    value: str | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await stream.write(codec.query(sql))
            while True:
                kind, payload = await stream.read_message(_ANSWER_LIMIT)
                if kind == ord("D"):
                    value = payload[6:].decode(
                        "ascii", "replace"
                    )  # behind the number of columns, and its length
                elif kind == ord("Z"):
                    return value
    except (TimeoutError, StreamError, ProtocolError) as error:
        raise UnavailableError(f"the copy does not tell the session what it is: {error}") from None
