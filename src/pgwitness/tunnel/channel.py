"""A control connection once both sides know each other: messages both ways at any time, and heartbeats.

A stream of the core does one operation at a time, and here one side speaks while it listens. So the core
copies the stream to a Unix socket whose other end asyncio reads and writes; nobody but this process can be
at that end.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from typing import Final

import structlog

from pgwitness._core import Engine, Relay, Stream
from pgwitness.wire import tunnel
from pgwitness.wire.tunnel import Heartbeat, Message

log = structlog.get_logger("pgwitness.tunnel")

HEARTBEAT_SECONDS: Final = 2.0
MISSED: Final = 3
UNREAD_BYTES: Final = 4 << 20
"""What may wait for a peer that does not read before it counts as dead."""
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class ChannelClosedError(Exception):
    """The peer is gone. The text says how that was found out."""


class Channel:
    """``over`` a stream, then ``send`` and ``receive`` until that raises, then ``close`` or ``abort``."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: Relay, heartbeat: float
    ) -> None:
        self._reader, self._writer, self._copy = reader, writer, copy
        self._heartbeat = heartbeat
        self._beating = asyncio.create_task(self._beat())

    @classmethod
    async def over(cls, engine: Engine, stream: Stream, heartbeat: float = HEARTBEAT_SECONDS) -> Channel:
        """The stream belongs to the channel from now on. Raises OSError."""
        ours, theirs = await pair(engine, stream.worker)
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            theirs.abort()
            raise
        try:
            copy = engine.copy(stream, theirs)
        except BaseException:
            theirs.abort()
            writer.transport.abort()
            raise
        return cls(reader, writer, copy, heartbeat)

    def send(self, message: Message) -> None:
        """Never waits. To a peer that is gone it says nothing: ``receive`` will find out."""
        if self._writer.transport.get_write_buffer_size() > UNREAD_BYTES:
            log.warning("tunnel_peer_does_not_read", unread=UNREAD_BYTES)
            self._writer.transport.abort()
        if not self._writer.is_closing():
            self._writer.write(tunnel.encode(message))

    async def receive(self) -> Message:
        """The next message that is not a heartbeat. Raises ChannelClosedError, also for silence, and
        MalformedTunnelMessageError."""
        while True:
            message = await self._next()
            if not isinstance(message, Heartbeat):
                return message

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._heartbeat * MISSED):
                head = await self._reader.readexactly(tunnel.HEAD_BYTES)
                body = await self._reader.readexactly(tunnel.body_length(head))
        except TimeoutError:
            raise ChannelClosedError(f"no heartbeat for {self._heartbeat * MISSED:g} seconds") from None
        except (OSError, asyncio.IncompleteReadError):
            raise ChannelClosedError("the control connection was closed") from None
        return tunnel.decode(body)

    async def _beat(self) -> None:
        while True:
            self.send(Heartbeat())
            await asyncio.sleep(self._heartbeat)

    def abort(self) -> None:
        """Close now; ``receive`` raises."""
        self._beating.cancel()
        self._copy.end("closed")
        self._writer.transport.abort()

    async def close(self) -> None:
        """What was sent before is still delivered to a peer that reads it within a moment."""
        self._beating.cancel()
        self._writer.close()
        try:
            async with asyncio.timeout(self._heartbeat):
                await self._copy.wait()
        except (TimeoutError, OSError):
            pass
        self.abort()


async def pair(engine: Engine, worker: int) -> tuple[socket.socket, Stream]:
    """Two ends of one Unix connection: asyncio's and the core's."""
    loop = asyncio.get_running_loop()
    name = f"\0pgwitness-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        listener.bind(name)
        listener.listen(1)
        theirs = await engine.connect_unix(name, worker)
        while True:
            ours, _ = await loop.sock_accept(listener)
            if _peer(ours) == os.getpid():
                return ours, theirs
            ours.close()  # somebody else on this machine was curious


def _peer(connection: socket.socket) -> int:
    """The process at the other end."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(found)[0]
    return pid
