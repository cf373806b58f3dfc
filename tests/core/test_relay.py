"""The relay between real sockets: recorded first, then forwarded, nothing lost, both ends closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgwitness._core import (
    KIND_CLIENT,
    KIND_ELIDED,
    KIND_SERVER,
    Engine,
    Listener,
    ProtocolError,
    Relay,
    SessionTape,
    StreamError,
    Tape,
    TapeReader,
)

if TYPE_CHECKING:
    from pgwitness._core import Frame, RelayEnd

TAPE_FAREWELL = b"E\x00\x00\x00\x08tape"
PROTOCOL_FAREWELL = b"E\x00\x00\x00\x08prot"

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def message(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + struct.pack(">I", len(payload) + 4) + payload


READY = message(b"Z", b"I")


@dataclass
class Session:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    relay: Relay
    tape: SessionTape
    id: bytes

    async def send(self, *messages: bytes) -> None:
        self.writer.write(b"".join(messages))
        await self.writer.drain()

    async def end(self) -> RelayEnd:
        async with asyncio.timeout(10):
            return await self.relay.wait()


class Bench:
    """An engine, a tape, and sessions to a server that the test scripts."""

    def __init__(self, directory: Path, durability: str = "process") -> None:
        loop = asyncio.get_running_loop()
        self.directory = directory
        self.engine = Engine(loop.create_future, 2)
        loop.add_reader(self.engine.fileno(), self.engine.drain)
        self.tape = Tape(
            directory, segment_bytes=4 << 20, durability="disk" if durability == "disk" else "process"
        )
        self.listener: Listener = self.engine.listen("127.0.0.1", 0)
        self.servers: list[asyncio.Server] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def session(self, server: Server, results: int = -1, lost_farewell: bytes | None = None) -> Session:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await server(reader, writer)
            finally:
                writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(listening)
        port = listening.sockets[0].getsockname()[1]
        accepting = self.listener.accept()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        self.writers.append(writer)
        client = await accepting
        upstream = await self.engine.connect_tcp("127.0.0.1", port, client.worker)
        session_id = uuid.uuid4().bytes
        tape = self.tape.open_session(session_id, b"{}")
        relay = self.engine.relay(
            client,
            upstream,
            tape,
            results=results,
            tape_farewell=TAPE_FAREWELL,
            protocol_farewell=PROTOCOL_FAREWELL,
            lost_farewell=lost_farewell,
        )
        return Session(reader, writer, relay, tape, session_id)

    def frames(self, session: Session) -> list[Frame]:
        reader = TapeReader(self.directory, session=session.id)
        frames: list[Frame] = []
        while batch := reader.read():
            frames += batch
        return frames

    def recorded(self, session: Session, kind: int) -> bytes:
        return b"".join(frame[5] for frame in self.frames(session) if frame[2] == kind)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.engine.fileno())
        self.engine.close()
        self.tape.close()
        for writer in self.writers:
            writer.close()
        for server in self.servers:
            server.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "tape")
    yield bench
    await bench.close()


async def until_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.read()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("this should have come true within five seconds")


def sockets() -> int:
    """How many this process has open; the tape's keeper opens files as it likes."""
    named = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            named += str(descriptor.readlink()).startswith("socket:")
    return named


async def test_what_passes_is_recorded_to_the_byte_and_forwarded_to_the_byte(bench: Bench) -> None:
    received = bytearray()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            received.extend(data)
            if data.endswith(b"X\x00\x00\x00\x04"):
                break
            writer.write(message(b"C", b"SELECT 1\0") + READY)

    session = await bench.session(server)
    await session.send(message(b"Q", b"select 1\0"))
    answer = await session.reader.readexactly(len(message(b"C", b"SELECT 1\0") + READY))
    await session.send(message(b"X"))
    end = await session.end()
    assert (end.reason, end.detail) == ("terminated", None)
    assert bytes(received) == message(b"Q", b"select 1\0") + message(b"X")
    assert bench.recorded(session, KIND_CLIENT) == bytes(received)
    assert bench.recorded(session, KIND_SERVER) == answer
    assert (end.client_bytes, end.server_bytes) == (len(received), len(answer))


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_a_request_is_on_the_tape_before_the_server_sees_it(tmp_path: Path, durability: str) -> None:
    bench = Bench(tmp_path / "tape", durability)
    checked = 0

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal checked
        seen = b""
        while data := await reader.read(100_000):
            seen += data
            assert bench.recorded(session, KIND_CLIENT).startswith(seen)
            checked += 1
            writer.write(READY)

    session = await bench.session(server)
    for n in range(50):
        await session.send(message(b"Q", b"%d\0" % n))
        assert await session.reader.readexactly(len(READY)) == READY
    session.writer.close()
    await session.end()
    assert checked == 50
    await bench.close()


async def test_a_header_that_arrives_byte_by_byte_is_neither_lost_nor_doubled(bench: Bench) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(len(query))
        for byte in request:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.002)

    query = message(b"Q", b"select\0")
    session = await bench.session(server)
    for byte in query:
        await session.send(bytes([byte]))
        await asyncio.sleep(0.002)
    assert await until_end(session.reader) == query
    assert (await session.end()).reason == "server_closed"
    assert bench.recorded(session, KIND_CLIENT) == bench.recorded(session, KIND_SERVER) == query


@pytest.mark.parametrize("length", [0, 3, 0x40000000, 0xFFFFFFFF])
async def test_a_malformed_length_ends_the_session_and_reaches_nobody(bench: Bench, length: int) -> None:
    received = bytearray()

    async def server(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())

    session = await bench.session(server)
    await session.send(b"Q" + struct.pack(">I", length) + b"drop table orders")
    assert await session.reader.readexactly(len(PROTOCOL_FAREWELL)) == PROTOCOL_FAREWELL
    session.writer.close()
    end = await session.end()
    assert end.reason == "protocol_error"
    assert end.detail is not None
    assert f"'Q' that announces {length} bytes" in end.detail
    assert b"drop" not in received


async def test_results_beyond_the_cap_are_counted_and_all_else_is_kept(bench: Bench) -> None:
    row = message(b"D", bytes(95))
    rows, big = 1000, message(b"D", bytes(300_000))
    answer = message(b"T", b"columns") + row * rows + message(b"C", b"SELECT 1000\0")
    second = message(b"T", b"columns") + row + big + row + message(b"C", b"SELECT 3\0") + READY

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(message(b"Q", b"q\0")))
        writer.write(answer + second)
        await reader.read()

    session = await bench.session(server, results=1000)
    await session.send(message(b"Q", b"q\0"))
    assert await session.reader.readexactly(len(answer + second)) == answer + second
    session.writer.close()
    await session.end()
    kept = [
        frame[5] if frame[2] == KIND_SERVER else struct.unpack("<QQ", frame[5])
        for frame in bench.frames(session)
        if frame[2] in (KIND_SERVER, KIND_ELIDED)
    ]
    joined: list[bytes | tuple[int, ...]] = []
    for item in kept:
        if isinstance(item, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += item
        else:
            joined.append(item)
    assert joined == [
        message(b"T", b"columns") + row * 10,
        (rows - 10, (rows - 10) * len(row)),
        message(b"C", b"SELECT 1000\0") + message(b"T", b"columns") + row,
        (2, len(big) + len(row)),
        message(b"C", b"SELECT 3\0") + READY,
    ]


async def test_a_client_that_does_not_read_stops_the_server_and_not_the_others(bench: Bench) -> None:
    sent = 0

    async def firehose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        piece = message(b"d", bytes(1 << 16))
        writer.transport.set_write_buffer_limits(1 << 16)
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)

    slow = await bench.session(firehose, results=0)
    other = await bench.session(echo)
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(0.5)
    stalled = sent
    await asyncio.sleep(0.3)
    assert sent == stalled, "the server must be stopped by back pressure"
    assert stalled < 64 << 20
    query = message(b"Q", b"x\0")
    for _ in range(100):
        await other.send(query)
        assert await other.reader.readexactly(len(query)) == query
    slow.relay.end("killed", b"")
    assert (await slow.end()).reason == "killed"


async def test_a_client_that_leaves_in_mid_statement_has_its_outcome_recorded(bench: Bench) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(query))
        assert await reader.read() == b"", "the server sees the end of its input"
        writer.write(message(b"C", b"UPDATE 40000\0") + READY)

    query = message(b"Q", b"update\0")
    session = await bench.session(server)
    await session.send(query)
    session.writer.close()
    assert (await session.end()).reason == "client_closed"
    assert bench.recorded(session, KIND_SERVER) == message(b"C", b"UPDATE 40000\0") + READY


async def test_a_half_closed_client_still_gets_its_answers(bench: Bench) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())

    query = message(b"Q", b"select\0")
    session = await bench.session(server)
    await session.send(query)
    session.writer.write_eof()
    assert await until_end(session.reader) == query
    assert (await session.end()).reason == "client_closed"


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_an_ended_session_tells_its_client_and_the_server(bench: Bench) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def server(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())

    session = await bench.session(server)
    session.relay.end("killed", message(b"E", b"57P01"))
    session.relay.end("second", b"")
    assert await until_end(session.reader) == message(b"E", b"57P01")
    session.writer.close()
    assert (await session.end()).reason == "killed"
    assert await asyncio.wait_for(heard, 5) == message(b"X")


async def test_a_drain_waits_for_the_answer(bench: Bench) -> None:
    release = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(query))
        await release.wait()
        writer.write(READY)
        await reader.read()

    query = message(b"Q", b"x\0")
    session = await bench.session(server)
    await session.send(query)
    await asyncio.sleep(0.05)
    assert not session.relay.idle
    session.relay.drain("shutdown", message(b"E", b"57P01"))
    answer = asyncio.ensure_future(until_end(session.reader))
    await asyncio.sleep(0.2)
    assert not answer.done()
    release.set()
    assert await answer == READY + message(b"E", b"57P01")
    session.writer.close()
    assert (await session.end()).reason == "shutdown"


async def test_a_tape_that_refuses_stops_the_request_and_tells_the_client(bench: Bench) -> None:
    received = bytearray()

    async def server(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())

    session = await bench.session(server)
    for file in bench.directory.glob("*.tape"):
        file.unlink()
    await asyncio.sleep(0.01)
    await session.send(message(b"Q", b"delete from orders\0"))
    assert await until_end(session.reader) == TAPE_FAREWELL
    session.writer.close()
    end = await session.end()
    assert end.reason == "tape_error"
    assert end.detail is not None
    assert "removed" in end.detail
    assert b"delete" not in received


async def test_closing_the_engine_ends_every_session(bench: Bench) -> None:
    session = await bench.session(silent)
    waiting = session.relay.wait()
    asyncio.get_running_loop().call_later(0.05, bench.engine.close)
    assert await until_end(session.reader) == b""
    waiting.cancel()


async def test_streams_read_exactly_what_they_are_asked_for(bench: Bench) -> None:
    accepting = bench.listener.accept()
    _, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port)
    stream = await accepting
    writer.write(message(b"p", b"secret") + b"rest")
    assert await stream.peek() == ord("p")
    assert await stream.read_message(100) == (ord("p"), b"secret")
    assert await stream.read_exactly(2) == b"re"
    writer.close()
    with pytest.raises(StreamError, match="ended"):
        await stream.read_exactly(3)
    with pytest.raises(StreamError, match="closed"):
        await stream.write(b"x")


async def test_messages_are_read_up_to_one_that_is_waited_for(bench: Bench) -> None:
    accepting = bench.listener.accept()
    _, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port)
    stream = await accepting
    greeting = [(b"S", b"a\0b\0"), (b"K", b"key"), (b"Z", b"I"), (b"S", b"")]
    writer.write(b"".join(message(*each) for each in greeting))
    assert await stream.read_messages(100, b"ZE") == [(kind[0], payload) for kind, payload in greeting[:3]]
    assert await stream.read_message(100) == (ord("S"), b"")
    writer.write(message(b"N", bytes(40)) * 3)
    with pytest.raises(ProtocolError, match="'N' announces 44 bytes"):
        await stream.read_messages(100, b"Z")
    writer.close()


async def test_a_message_above_the_limit_of_log_in_is_refused(bench: Bench) -> None:
    accepting = bench.listener.accept()
    _, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port)
    stream = await accepting
    writer.write(b"p\x00\x10\x00\x00")
    with pytest.raises(ProtocolError, match="'p' announces 1048576 bytes"):
        await stream.read_message(10_000)
    writer.close()


async def test_aborting_a_stream_ends_what_waits_on_it(bench: Bench) -> None:
    accepting = bench.listener.accept()
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port)
    stream = await accepting
    waiting = stream.read_exactly(1)
    await asyncio.sleep(0.01)
    stream.abort()
    with pytest.raises(StreamError, match="closed"):
        await waiting
    assert await until_end(reader) == b""
    writer.close()


async def test_a_refused_dial_says_so(bench: Bench) -> None:
    with pytest.raises(StreamError, match="refused"):
        await bench.engine.connect_tcp("127.0.0.1", 1, 0)
    with pytest.raises(StreamError, match="No such file"):
        await bench.engine.connect_unix("/nowhere/.s.PGSQL.5432", 0)
    with pytest.raises(ValueError, match="not an IP address"):
        bench.engine.connect_tcp("localhost", 1, 0)


async def test_a_request_refused_in_its_middle_is_not_completed_by_our_own_bytes(bench: Bench) -> None:
    received = bytearray()

    async def server(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            received.extend(data)

    whole = message(b"d", b"A" * 100)
    session = await bench.session(server)
    await session.send(whole[:50])
    await until(lambda: len(received) == 50)
    for file in bench.directory.glob("*.tape"):
        file.unlink()
    await asyncio.sleep(0.01)
    await session.send(whole[50:])
    await until_end(session.reader)
    session.writer.close()
    assert (await session.end()).reason == "tape_error"
    await asyncio.sleep(0.05)
    assert bytes(received) == whole[:50], "not even a Terminate may stand in the rest of the message"


async def test_answers_before_a_malformed_one_are_recorded(bench: Bench) -> None:
    answer = message(b"C", b"UPDATE 40000\0")

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(query))
        writer.write(answer + b"Z\x00\x00\x00\x01")
        await reader.read()

    query = message(b"Q", b"update\0")
    session = await bench.session(server)
    await session.send(query)
    await until_end(session.reader)
    session.writer.close()
    assert (await session.end()).reason == "protocol_error"
    assert bench.recorded(session, KIND_SERVER) == answer


async def test_a_client_that_stays_does_not_keep_its_ended_session_open(bench: Bench) -> None:
    session = await bench.session(silent)
    began = asyncio.get_running_loop().time()
    session.relay.end("killed", message(b"E", b"57P01"))
    assert (await session.end()).reason == "killed"
    assert asyncio.get_running_loop().time() - began < 1


async def test_an_execute_without_sync_is_work_under_way(bench: Bench) -> None:
    session = await bench.session(silent)
    assert session.relay.idle
    await session.send(message(b"E", b"\0\0\0\0\0"), message(b"H"))
    await until(lambda: session.relay.client_bytes > 0)
    assert not session.relay.idle


async def test_a_dial_that_nobody_waits_for_is_given_up(bench: Bench) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((host, port))
        before = sockets()
        dials = [bench.engine.connect_tcp(host, port, 0) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert not all(dial.done() for dial in dials), "the backlog must be full for this to mean anything"
        for dial in dials:
            if not dial.cancel():
                dial.result().abort()
        await until(lambda: sockets() <= before)


@pytest.mark.parametrize("told", [True, False])
async def test_a_server_that_is_cut_off_is_lost_and_the_client_is_told_where_that_is_asked_for(
    bench: Bench, told: bool
) -> None:
    farewell = message(b"E", b"lost")

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    session = await bench.session(server, lost_farewell=farewell if told else None)
    await session.send(message(b"Q", b"select 1\0"))
    assert await until_end(session.reader) == (farewell if told else b"")
    assert (await session.end()).reason == "server_lost"
