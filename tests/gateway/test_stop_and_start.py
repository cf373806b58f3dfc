"""How a gateway comes and goes: what it makes, what it leaves, and what it finds of one that died."""

import asyncio
import json
import resource
import stat
import sys
import time
import uuid
from typing import Any

import psycopg
import pytest

from pgwitness.errors import UnavailableError, WitnessError
from pgwitness.wire import codec


async def test_drain_lets_a_statement_finish(make_gateway: Any, server18: Any) -> None:
    async with make_gateway(limits={"drain_seconds": 5}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        busy = await running.connect("agent", "shop")
        idle = await running.connect("agent", "shop")
        sleeping = asyncio.create_task(busy.execute("SELECT pg_sleep(0.5)"))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(running.gateway.stop())
        assert (await sleeping).statusmessage == "SELECT 1"
        await stopping
        for connection in (busy, idle):
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")
            await connection.close()
        assert {end["reason"] for end in running.ends().values()} == {"shutdown"}
        assert json.loads(running.frames()[-1][5]) == {"event": "stopped"}


async def test_who_logs_in_while_it_drains_is_sent_away(make_gateway: Any, server18: Any) -> None:
    async with make_gateway(limits={"drain_seconds": 5}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        running.gateway.registry.drain()
        with pytest.raises(psycopg.OperationalError, match="shutting down"):
            await running.connect("agent", "shop")


async def test_drain_notices_who_is_quiet_though_a_sync_was_never_answered(
    make_gateway: Any, server18: Any, dial: Any
) -> None:
    """The server ignores a Sync during COPY, so an extended COPY leaves one without its ReadyForQuery."""
    async with make_gateway(limits={"drain_seconds": 20}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        client = await dial(running)
        await client.send(codec.startup_message(3 << 16, {"user": "agent", "database": "shop"}))
        await client.log_in("agent", running.tokens["agent"])
        await client.until_ready()
        await client.send(codec.query("CREATE TEMP TABLE t (a int)"))
        await client.until_ready()
        sync = codec.message(b"S")
        await client.send(
            codec.message(b"P", b"\0COPY t FROM STDIN\0\0\0")
            + codec.message(b"B", bytes(8))
            + codec.message(b"E", bytes(5))
            + sync
        )
        while (await client.message())[0] != b"G":
            pass
        await client.send(codec.message(b"c") + sync)
        await client.until_ready()
        began = time.monotonic()
        stopping = asyncio.create_task(running.gateway.stop())
        await client.closed()
        await client.close()
        await stopping
        assert time.monotonic() - began < 6


async def test_drain_has_an_end(make_gateway: Any, server18: Any) -> None:
    async with make_gateway(limits={"drain_seconds": 0.3}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        connection = await running.connect("agent", "shop")
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(3)"))
        await asyncio.sleep(0.2)
        await asyncio.wait_for(running.gateway.stop(), 3)
        with pytest.raises(psycopg.OperationalError):
            await sleeping
        await connection.close()
        assert [end["reason"] for end in running.ends().values()] == ["shutdown"]


async def test_the_second_signal_stops_at_once(make_gateway: Any, server18: Any) -> None:
    async with make_gateway(limits={"drain_seconds": 60}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        connection = await running.connect("agent", "shop")
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(3)"))
        await asyncio.sleep(0.2)
        at_once = asyncio.Event()
        stopping = asyncio.create_task(running.gateway.stop(at_once))
        await asyncio.sleep(0.1)
        at_once.set()
        await asyncio.wait_for(stopping, 3)
        with pytest.raises(psycopg.OperationalError):
            await sleeping
        await connection.close()


async def test_a_second_gateway_on_the_same_state(make_gateway: Any) -> None:
    async with make_gateway():
        with pytest.raises(UnavailableError, match=r"another gateway \(process \d+\) serves"):
            async with make_gateway():
                pass
    async with make_gateway():
        pass


async def test_a_port_that_is_taken(make_gateway: Any, state: Any) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    with pytest.raises(WitnessError, match=f"cannot listen on 127.0.0.1:{port}"):
        async with make_gateway(port=port):
            pass
    taken.close()
    async with make_gateway():
        pass


async def test_what_a_start_records_holds_no_secret(make_gateway: Any) -> None:
    async with make_gateway(catalog_url=None, secret_key=None) as running:
        (started,) = running.events("started")
        assert started["version"] and started["settings"]["port"] == 0
        assert "secret_key" not in started["settings"] and "catalog_url" not in started["settings"]
        keys = [running.settings.tls_directory / name for name in ("ca.key", "server.key")]
        assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


async def test_sessions_of_a_gateway_that_died_are_interrupted(make_gateway: Any, state: Any) -> None:
    directory = state / "tape"
    directory.mkdir()
    session = uuid.uuid4()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import os, sys; from pgwitness import _core\n"
        "tape = _core.Tape(sys.argv[1], segment_bytes=4 << 20)\n"
        f"held = tape.open_session({session.bytes!r}, b'{{}}')\n"
        "os._exit(9)",
        str(directory),
    )
    assert await child.wait() == 9
    async with make_gateway() as running:
        (recovered,) = running.events("recovered")
        assert recovered["open_sessions"] == [str(session)]
        assert running.ends()[str(session)]["reason"] == "interrupted"
    async with make_gateway() as running:
        assert len(running.events("recovered")) == 1, "the second start has nothing to recover"


async def test_as_many_descriptors_as_sessions_need(make_gateway: Any) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    try:
        async with make_gateway(limits={"sessions": 1000, "unauthenticated": 100}):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(2356, limits[1]), limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_the_ready_line(make_gateway: Any) -> None:
    async with make_gateway() as running:
        ready = running.gateway.ready
        assert ready["event"] == "ready" and ready["postgres"] == f"127.0.0.1:{running.port}"
        assert ready["tunnel"] == f"127.0.0.1:{running.gateway.tunnel.listener.port}"
        assert ready["state"] == str(running.settings.state)
