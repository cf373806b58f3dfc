"""A control channel over a real stream of the core: both ways at once, heartbeats, and how it ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pgwitness._core import Engine
from pgwitness.tunnel import channel as channels
from pgwitness.tunnel.channel import Channel, ChannelClosedError
from pgwitness.wire import tunnel
from pgwitness.wire.tunnel import MalformedTunnelMessageError

Pair = tuple[Channel, asyncio.StreamReader, asyncio.StreamWriter]
HEARTBEAT = 0.4


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A channel, and the other end of its connection in the test's hands."""
    loop = asyncio.get_running_loop()
    engine = Engine(loop.create_future, 1)
    loop.add_reader(engine.fileno(), engine.drain)
    listener = engine.listen("127.0.0.1", 0)
    accepting = listener.accept()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    channel = await Channel.over(engine, await accepting, HEARTBEAT)
    try:
        yield channel, reader, writer
    finally:
        channel.abort()
        writer.transport.abort()
        await asyncio.sleep(0)
        loop.remove_reader(engine.fileno())
        engine.close()


async def read(reader: asyncio.StreamReader) -> tunnel.Message:
    head = await reader.readexactly(tunnel.HEAD_BYTES)
    return tunnel.decode(await reader.readexactly(tunnel.body_length(head)))


async def test_messages_pass_both_ways_while_it_listens(pair: Pair) -> None:
    channel, reader, writer = pair
    listening = asyncio.create_task(channel.receive())
    assert await read(reader) == tunnel.Heartbeat()
    channel.send(tunnel.Supply(["one"]))
    assert await read(reader) == tunnel.Supply(["one"])
    assert not listening.done()
    writer.write(tunnel.encode(tunnel.Heartbeat()) + tunnel.encode(tunnel.Bye()))
    assert await listening == tunnel.Bye()


async def test_heartbeats_keep_it_open_and_silence_does_not(pair: Pair) -> None:
    channel, _, writer = pair
    listening = asyncio.create_task(channel.receive())
    for _ in range(6):
        await asyncio.sleep(HEARTBEAT)
        writer.write(tunnel.encode(tunnel.Heartbeat()))
    assert not listening.done()
    with pytest.raises(ChannelClosedError, match="no heartbeat for"):
        await listening


async def test_the_peer_s_end_is_noticed_at_once(pair: Pair) -> None:
    channel, _, writer = pair
    writer.close()
    with pytest.raises(ChannelClosedError, match="was closed"):
        await channel.receive()


async def test_nonsense_is_malformed(pair: Pair) -> None:
    channel, _, writer = pair
    writer.write(b"\0\0\0\x02{}")
    with pytest.raises(MalformedTunnelMessageError):
        await channel.receive()


async def test_close_delivers_the_last_words(pair: Pair) -> None:
    channel, reader, writer = pair
    channel.send(tunnel.Refused("certificate", "the connector was removed"))
    closing = asyncio.create_task(channel.close())
    while isinstance(message := await read(reader), tunnel.Heartbeat):
        pass
    assert message == tunnel.Refused("certificate", "the connector was removed")
    assert await reader.read() == b""
    writer.close()
    await closing


async def test_a_peer_that_never_reads_is_given_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "UNREAD_BYTES", 1 << 20)
    channel, _, _ = pair
    listening = asyncio.create_task(channel.receive())
    large = tunnel.Refused("message", "x" * 1_000_000)
    async with asyncio.timeout(10):
        while not listening.done():
            channel.send(large)
            await asyncio.sleep(0.001)
    with pytest.raises(ChannelClosedError):
        await listening
