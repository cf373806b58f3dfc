"""A session from log-in to its end, by real clients against a real server."""

import asyncio
import json
import time
import uuid
from typing import Any

import asyncpg
import psycopg
import pytest

from pgwitness import _core
from pgwitness.wire import codec


async def until(condition: Any, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.02)


async def open_raw(dial: Any, running: Any, minor: int = 0) -> tuple[Any, int, bytes]:
    """(client, pid, key) of a session made byte by byte."""
    client = await dial(running)
    parameters = {"user": "agent", "database": "shop"}
    await client.send(codec.startup_message((3 << 16) | minor, parameters))
    await client.log_in("agent", running.tokens["agent"])
    said = await client.until_ready()
    return client, *codec.parse_backend_key_data(said[b"K"][0])


async def test_a_session_and_its_header(running: Any) -> None:
    async with await running.connect("agent", "shop", options="-c pgwitness.run=run-81") as connection:
        cursor = await connection.execute("SELECT current_user, current_setting('pgwitness.run')")
        assert await cursor.fetchall() == [("app", "run-81")]
        pid = connection.info.backend_pid
        await until(running.gateway.registry.list)
        (live,) = running.gateway.registry.list()
        assert live["identity"] == "agent" and live["run"] == "run-81" and live["idle"] is True
    (header,) = running.headers()
    assert uuid.UUID(header["session"]).version == 7
    assert header["session"] == live["session"]
    assert header["identity"] == "agent" and header["kind"] == "service"
    assert (header["connection"], header["database"], header["user"]) == ("shop", "shop", "app")
    assert header["claims"]["run"] == "run-81"
    assert header["client"]["authentication"] == "SCRAM-SHA-256"
    assert header["client"]["protocol"] == "3.0"
    assert header["client"]["address"].startswith("127.0.0.1:")
    assert header["upstream"]["pid"] == pid
    assert header["upstream"]["parameters"]["server_version"].startswith("18")
    assert header["results"] == 65536
    await until(lambda: running.ends())
    end = running.ends()[header["session"]]
    assert end["reason"] == "terminated" and end["client_bytes"] > 0 and end["server_bytes"] > 0
    assert running.gateway.registry.list() == []


async def test_asyncpg(running: Any) -> None:
    connection = await asyncpg.connect(running.dsn("agent", "shop").partition("?")[0], ssl="prefer")
    assert await connection.fetchval("SELECT $1::int + 1", 41) == 42
    await connection.close()
    assert running.headers()[0]["client"]["tls"]["version"] == "TLSv1.3"


async def test_a_lost_client_is_recorded(dial: Any, running: Any) -> None:
    client, _, _ = await open_raw(dial, running)
    await client.close()
    await until(running.ends)
    (end,) = running.ends().values()
    assert end["reason"] in ("client_lost", "client_closed")


async def test_cancel(running: Any) -> None:
    async with await running.connect("agent", "shop") as connection:
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.3)
        await connection.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await sleeping
    (event,) = running.events("cancel_requested")
    assert event["address"].startswith("127.0.0.1:")
    kinds = [frame[2] for frame in running.frames()]
    cancelled_at = kinds.index(_core.KIND_EVENT)
    answer = b"".join(frame[5] for frame in running.frames()[cancelled_at:])
    assert b"57014" in answer, "the request is recorded before the server's answer to it"


async def test_cancel_over_tls_upstream(make_gateway: Any, server15: Any) -> None:
    async with make_gateway() as running:
        running.add_connection("shop", server15, sslmode="require")
        running.add_identity("agent", "shop")
        async with await running.connect("agent", "shop", sslmode="require") as connection:
            sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
            await asyncio.sleep(0.3)
            await connection.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                await sleeping


@pytest.mark.parametrize("minor", [0, 2])
async def test_cancel_with_keys_of_both_protocols(dial: Any, running: Any, minor: int) -> None:
    client, pid, key = await open_raw(dial, running, minor)
    assert len(key) == (32 if minor else 4)
    await client.send(codec.query("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.3)
    canceller = await dial(running)
    await canceller.send(codec.cancel_request(pid, key))
    assert await canceller.closed() == b""
    errors = (await client.until_ready())[b"E"]
    assert [codec.parse_error(error).sqlstate for error in errors] == ["57014"]


async def test_cancel_with_a_wrong_key_does_nothing(dial: Any, running: Any) -> None:
    client, pid, key = await open_raw(dial, running)
    for wrong_pid, wrong_key in [(pid, bytes(4)), (pid, key + b"\0"), (pid + 1, key), (0, b"x")]:
        canceller = await dial(running)
        await canceller.send(codec.cancel_request(wrong_pid, wrong_key))
        assert await canceller.closed() == b""
    await client.send(codec.query("SELECT 1"))
    assert (await client.message())[0] == b"T"
    assert len(running.events("cancel_refused")) == 4
    assert running.events("cancel_requested") == []
    assert key not in running.everything() or len(key) < 5


async def test_a_cancel_that_cannot_be_recorded_is_not_passed_on(dial: Any, running: Any) -> None:
    class FullTape:
        def event(self, payload: bytes) -> None:
            raise _core.TapeError("no space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(tape, name)

    client, pid, key = await open_raw(dial, running)
    await until(lambda: len(running.gateway.registry))
    (session,) = running.gateway.registry
    tape, session.tape = session.tape, FullTape()
    await client.send(codec.query("SELECT pg_sleep(1)"))
    await asyncio.sleep(0.2)
    canceller = await dial(running)
    await canceller.send(codec.cancel_request(pid, key))
    assert await canceller.closed() == b""
    assert b"E" not in await client.until_ready()
    session.tape = tape


async def test_kill_while_idle(running: Any) -> None:
    async with await running.connect("agent", "shop") as connection:
        await until(running.gateway.registry.list)
        (live,) = running.gateway.registry.list()
        assert await asyncio.to_thread(running.gateway.registry.kill, live["session"], "bob")
        with pytest.raises(psycopg.errors.AdminShutdown):
            await asyncio.sleep(0.2)
            await connection.execute("SELECT 1")
    await until(running.ends)
    assert running.events("kill_requested") == [{"event": "kill_requested", "by": "bob", "why": None}]
    assert running.ends()[live["session"]]["reason"] == "killed"
    assert "bob" in running.ends()[live["session"]]["detail"]
    assert not running.gateway.registry.kill(live["session"], "bob")
    assert not running.gateway.registry.kill("nonsense", "bob")


async def test_kill_stops_the_running_statement(running: Any, server18: Any) -> None:
    connection = await running.connect("agent", "shop")
    pid = connection.info.backend_pid
    sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.3)
    (live,) = running.gateway.registry.list()
    started = time.monotonic()
    running.gateway.registry.kill(live["session"], "bob")
    with pytest.raises(psycopg.OperationalError):
        await sleeping
    assert time.monotonic() - started < 1
    await connection.close()
    await until(lambda: pid not in server18.backends())


async def test_nothing_runs_after_a_kill(running: Any) -> None:
    """An agent that goes on after a cancelled statement is the client that a kill is for."""
    connection = await running.connect("agent", "shop")
    sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.3)
    (live,) = running.gateway.registry.list()
    running.gateway.registry.kill(live["session"], "bob")
    with pytest.raises(psycopg.OperationalError):
        await sleeping
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 'after the kill'")
    await connection.close()
    await until(running.ends)
    assert running.ends()[live["session"]]["reason"] == "killed"
    assert b"after the kill" not in b"".join(frame[5] for frame in running.frames())


@pytest.mark.parametrize("how", ["token", "identity", "grant", "connection"])
async def test_what_a_session_rests_on_is_withdrawn(running: Any, how: str) -> None:
    async with await running.connect("agent", "shop") as connection:
        started = time.monotonic()
        if how == "token":
            running.catalog.tokens.revoke(running.headers()[0]["token"], actor="test")
        elif how == "identity":
            running.catalog.identities.set_disabled("agent", True, actor="test")
        elif how == "grant":
            running.catalog.identities.revoke("agent", ("shop",), actor="test")
        else:
            running.catalog.connections.remove("shop", actor="test")
        with pytest.raises(psycopg.errors.AdminShutdown):
            while True:
                await connection.execute("SELECT 1")
                await asyncio.sleep(0.02)
        assert time.monotonic() - started < 1.5  # a second, and a half for a busy machine
    await until(running.ends)
    (end,) = running.ends().values()
    assert end["reason"] == "killed" and end["detail"].startswith("by gateway: ")


async def test_idle_limit(make_gateway: Any, server18: Any) -> None:
    async with make_gateway(limits={"idle_seconds": 0.3, "drain_seconds": 1}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        async with await running.connect("agent", "shop"):
            await until(running.ends, 3)
        (end,) = running.ends().values()
        assert end["reason"] == "idle" and "0.3 seconds" in end["detail"]


async def test_the_upstream_dies(running: Any, make_server: Any) -> None:
    server = make_server(18)
    running.add_connection("fragile", server)
    running.catalog.identities.grant("agent", ("fragile",), actor="test")
    async with await running.connect("agent", "fragile") as connection:
        await asyncio.to_thread(server.crash)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
    await until(running.ends)
    (end,) = running.ends().values()
    assert end["reason"] in ("server_closed", "server_lost")
    with pytest.raises(psycopg.OperationalError, match="cannot be reached"):
        await running.connect("agent", "fragile")
    await asyncio.to_thread(server.start)
    await (await running.connect("agent", "fragile")).close()


async def test_a_record_that_cannot_be_opened_opens_no_session(
    running: Any, server18: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullTape:
        def open_session(self, session: bytes, payload: bytes) -> None:
            raise _core.TapeError("no space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(tape, name)

    tape = running.gateway.recorder.tape
    monkeypatch.setattr(running.gateway.recorder, "tape", FullTape())
    with pytest.raises(psycopg.OperationalError, match="cannot be recorded"):
        await running.connect("agent", "shop")
    monkeypatch.undo()
    await (await running.connect("agent", "shop")).close()
    await until(lambda: server18.backends() == [])


async def test_many_sessions_at_once_leave_nothing_behind(running: Any, server18: Any) -> None:
    async def one(number: int) -> None:
        async with await running.connect("agent", "shop") as connection:
            cursor = await connection.execute("SELECT %s::int", (number,))
            assert await cursor.fetchone() == (number,)

    await asyncio.gather(*(one(number) for number in range(50)))
    await until(lambda: len(running.ends()) == 50)
    assert len(running.headers()) == 50
    assert {end["reason"] for end in running.ends().values()} == {"terminated"}
    gateway = running.gateway
    await until(lambda: not gateway._clients)
    assert not gateway._arriving and gateway.registry._places == 0 and not gateway.registry._by_pid


async def test_listing_from_another_thread(running: Any) -> None:
    async with await running.connect("agent", "shop"):
        await until(running.gateway.registry.list)
        listed = await asyncio.to_thread(running.gateway.registry.list)
        assert json.dumps(listed) and len(listed) == 1
