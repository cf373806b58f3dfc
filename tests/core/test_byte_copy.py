"""The byte copy of the connector, client certificates, and streams that move to another relay thread."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pgwitness._core import Engine, Relay, Stream, StreamError, TlsClient, TlsServer
from support.certificates import Authority, Pair

LARGE = 20 << 20


@dataclass
class Bench:
    """An engine of two relay threads, and pairs of sockets that the test holds one end of."""

    engine: Engine
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def pair(self) -> tuple[Stream, asyncio.StreamReader, asyncio.StreamWriter]:
        listener = self.engine.listen("127.0.0.1", 0)
        accepting = listener.accept()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        stream = await accepting
        listener.close()
        self.writers.append(writer)
        return stream, reader, writer


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    loop = asyncio.get_running_loop()
    engine = Engine(loop.create_future, 2)
    loop.add_reader(engine.fileno(), engine.drain)
    bench = Bench(engine)
    yield bench
    loop.remove_reader(engine.fileno())
    engine.close()
    for writer in bench.writers:
        writer.close()


@dataclass
class Copied:
    relay: Relay
    tunnel: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    database: tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def copied(bench: Bench) -> Copied:
    tunnel, *tunnel_end = await bench.pair()
    database, *database_end = await bench.pair()
    relay = bench.engine.copy(tunnel, database)
    return Copied(relay, (tunnel_end[0], tunnel_end[1]), (database_end[0], database_end[1]))


def reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, so that the peer's next operation fails."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_bytes_pass_both_ways_as_they_are(bench: Bench) -> None:
    copy = await copied(bench)
    there, back = os.urandom(LARGE), os.urandom(LARGE)

    async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async with asyncio.timeout(20):
        _, _, arrived, returned = await asyncio.gather(
            send(copy.tunnel[1], there),
            send(copy.database[1], back),
            copy.database[0].readexactly(LARGE),
            copy.tunnel[0].readexactly(LARGE),
        )
    assert (arrived, returned) == (there, back)
    assert (copy.relay.client_bytes, copy.relay.server_bytes) == (LARGE, LARGE)


async def test_the_end_of_the_tunnels_stream_is_passed_on_and_answers_still_come(bench: Bench) -> None:
    copy = await copied(bench)
    copy.tunnel[1].write(b"last words")
    copy.tunnel[1].write_eof()
    async with asyncio.timeout(10):
        assert await copy.database[0].read() == b"last words"
        copy.database[1].write(b"answer")
        copy.database[1].close()
        assert await copy.tunnel[0].read() == b"answer"
        end = await copy.relay.wait()
    assert (end.reason, end.detail) == ("closed", None)


@pytest.mark.parametrize(("lost", "other"), [("tunnel", "database"), ("database", "tunnel")])
async def test_a_side_that_is_lost_closes_the_other(bench: Bench, lost: str, other: str) -> None:
    copy = await copied(bench)
    reset(getattr(copy, lost)[1])
    async with asyncio.timeout(10):
        assert await getattr(copy, other)[0].read() == b""
        end = await copy.relay.wait()
    assert end.reason == "lost"
    assert end.detail is not None and lost in end.detail


async def test_an_order_ends_the_copy(bench: Bench) -> None:
    copy = await copied(bench)
    copy.relay.end("removed")
    async with asyncio.timeout(10):
        assert (await copy.relay.wait()).reason == "removed"
        assert await copy.tunnel[0].read() == b""
        assert await copy.database[0].read() == b""


async def test_a_reader_that_stops_reading_stops_the_sender(bench: Bench) -> None:
    copy = await copied(bench)
    sending = asyncio.create_task(_send_for_ever(copy.database[1]))
    passed = -1
    async with asyncio.timeout(20):
        while passed != copy.relay.server_bytes:
            passed = copy.relay.server_bytes
            await asyncio.sleep(0.3)
    assert 0 < passed < 64 << 20
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def _send_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1 << 16))
        await writer.drain()


async def test_a_bare_stream_moves_to_another_relay_thread(bench: Bench) -> None:
    stream, reader, writer = await bench.pair()
    elsewhere = 1 - stream.worker
    moved = bench.engine.move(stream, elsewhere)
    assert (moved.worker, moved.peer) == (elsewhere, stream.peer)
    writer.write(b"hello")
    async with asyncio.timeout(10):
        assert await moved.read_exactly(5) == b"hello"
        await moved.write(b"there")
        assert await reader.readexactly(5) == b"there"
        with pytest.raises(StreamError):
            await stream.read_exactly(1)


async def test_keep_alive_is_set_on_the_socket(bench: Bench) -> None:
    stream, reader, writer = await bench.pair()
    await stream.keep_alive(3, 9)
    table = await asyncio.to_thread(Path("/proc/net/tcp").read_text)
    port = int(stream.peer.rpartition(":")[2])
    mine = [line for line in table.splitlines() if line.split()[2].endswith(f":{port:04X}")]
    assert [line.split()[5].split(":")[0] for line in mine] == ["02"], "a keep-alive timer runs"
    await stream.write(b"still there")
    assert await reader.readexactly(11) == b"still there"
    writer.close()


CA = Authority()
SERVER = CA.issue("gateway", hosts=("gateway",))
CONNECTOR = CA.issue("connector")
STRANGER = Authority("another CA").issue("connector")


async def _handshake(bench: Bench, pair: Pair | None) -> tuple[Stream, Stream]:
    listener = bench.engine.listen("127.0.0.1", 0)
    accepting = listener.accept()
    client = await bench.engine.connect_tcp("127.0.0.1", listener.port, 0)
    server = await accepting
    listener.close()
    given = {} if pair is None else {"certificate_chain": pair.certificate, "private_key": pair.private_key}
    config = TlsServer(SERVER.certificate, SERVER.private_key, ["t/1"], CA.certificate)
    async with asyncio.timeout(10):
        await asyncio.gather(
            server.start_tls_server(config),
            client.start_tls_client(TlsClient(roots=CA.certificate, alpn=["t/1"], **given), "gateway"),
        )
    return server, client


async def test_a_client_certificate_is_asked_for_and_shown(bench: Bench) -> None:
    server, client = await _handshake(bench, CONNECTOR)
    assert server.tls is not None
    assert server.tls.peer_certificate == ssl.PEM_cert_to_DER_cert(CONNECTOR.certificate.decode())
    assert server.tls.alpn == "t/1"
    server.abort()
    client.abort()


async def test_no_client_certificate_is_for_the_caller_to_judge(bench: Bench) -> None:
    server, client = await _handshake(bench, None)
    assert server.tls is not None and server.tls.peer_certificate is None
    server.abort()
    client.abort()


async def test_a_client_certificate_of_another_authority_is_refused(bench: Bench) -> None:
    with pytest.raises(StreamError, match="UnknownIssuer"):
        await _handshake(bench, STRANGER)


def test_client_roots_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="client roots: no certificate in it"):
        TlsServer(SERVER.certificate, SERVER.private_key, [], b"")
