"""Mutated bytes on real sockets: the gateway answers or closes, forgets the client, and serves the next."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from pgwitness.wire import codec

CORPUS = [
    codec.ssl_request(),
    codec.gssenc_request() + codec.ssl_request(),
    codec.cancel_request(4711, bytes(32)),
    codec.startup_message(3 << 16, {"user": "agent", "database": "shop"}),
    codec.startup_message(3 << 16, {"user": "agent", "database": "shop"})
    + codec.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abcdef")
    + codec.sasl_response(b"c=biws,r=abcdef,p=AAAA"),
    bytes.fromhex("16030100c8010000c40303") + bytes(200),
]


def mutate(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(CORPUS))
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(data))
        data[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 4))
        data = data or bytearray(b"x")
    return bytes(data[: rng.randint(1, len(data))])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def attack(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def fuzz(running: Any, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    descriptors = open_files()
    for _ in range(rounds // 20):
        answers = await asyncio.gather(*(attack(running.port, mutate(rng)) for _ in range(20)))
        assert all(answer[:1] in (b"", b"S", b"N", b"E", b"R", b"v", b"\x15", b"\x16") for answer in answers)
    async with await running.connect("agent", "shop") as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
    await asyncio.sleep(0.3)
    assert not running.gateway._arriving and len(running.gateway._clients) <= 1
    assert open_files() <= descriptors + 10


async def test_a_sample(running: Any) -> None:
    await fuzz(running, 200, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_at_volume(running: Any) -> None:
    await fuzz(running, 100_000, seed=2)
