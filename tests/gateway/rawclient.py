"""A client that says exactly the bytes that a test wants said."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

from pgwitness.wire import codec, scram
from pgwitness.wire.scram import ClientExchange


@dataclass
class RawClient:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> "RawClient":
        return cls(*await asyncio.open_connection(host, port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self, n: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(n), 10)

    async def message(self) -> tuple[bytes, bytes]:
        head = await self.read(5)
        return head[:1], await self.read(int.from_bytes(head[1:]) - 4)

    async def closed(self, within: float = 10) -> bytes:
        """What still came before the gateway closed."""
        try:
            return await asyncio.wait_for(self.reader.read(), within)
        except ConnectionError:
            return b""

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="localhost")

    async def log_in(self, user: str, password: str, *, binding: bytes | None = None) -> tuple[bytes, bytes]:
        """SCRAM, after the start-up packet was sent: the message that ends it."""
        kind, payload = await self.message()
        if kind != b"R":
            return kind, payload
        _, data = codec.parse_authentication(payload)
        exchange = ClientExchange(codec.parse_sasl_mechanisms(data), binding, "raw-client-nonce")
        await self.send(codec.sasl_initial_response(exchange.mechanism, exchange.first()))
        kind, payload = await self.message()
        if kind != b"R":
            return kind, payload
        asked = exchange.challenge(payload[4:])
        keys = scram.derive_keys(password, asked.salt, asked.iterations)
        await self.send(codec.sasl_response(exchange.final(keys)))
        kind, payload = await self.message()
        if kind != b"R":
            return kind, payload
        exchange.verify(payload[4:])
        return await self.message()

    async def until_ready(self) -> dict[bytes, list[bytes]]:
        """Payloads by type up to ReadyForQuery."""
        found: dict[bytes, list[bytes]] = {}
        while b"Z" not in found:
            kind, payload = await self.message()
            found.setdefault(kind, []).append(payload)
        return found

    async def close(self) -> None:
        """At once, without TLS's good-bye."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def insecure_tls(*, alpn: str | None = "postgresql") -> ssl.SSLContext:
    """Encrypts, checks nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context
