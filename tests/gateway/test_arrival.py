"""What a client may do before it has logged in, and what happens to one that misbehaves: only to that one."""

import asyncio
import ssl
from typing import Any

import psycopg
import pytest
from rawclient import insecure_tls

from pgwitness.gateway.arrival import is_loopback
from pgwitness.wire import codec


def startup(minor: int = 0, **parameters: str) -> bytes:
    return codec.startup_message((3 << 16) | minor, {"user": "agent", "database": "shop", **parameters})


async def works(running: Any, **parameters: str) -> None:
    async with await running.connect("agent", "shop", **parameters) as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer", "require"])
async def test_sslmodes_of_libpq(running: Any, sslmode: str) -> None:
    await works(running, sslmode=sslmode, gssencmode="prefer")
    tls = running.headers()[0]["client"]["tls"]
    assert (tls is None) == (sslmode in ("disable", "allow"))
    plus = "SCRAM-SHA-256-PLUS" if tls else "SCRAM-SHA-256"
    assert running.headers()[0]["client"]["authentication"] == plus


async def test_verify_full_with_the_gateways_authority(running: Any) -> None:
    authority = str(running.settings.tls_directory / "ca.crt")
    await works(running, sslmode="verify-full", sslrootcert=authority, channel_binding="require")


async def test_direct_tls(running: Any) -> None:
    await works(running, sslmode="require", sslnegotiation="direct")


@pytest.mark.parametrize("alpn", [None, "h2"])
async def test_direct_tls_needs_alpn(dial: Any, running: Any, alpn: str | None) -> None:
    client = await dial(running)
    try:
        await client.start_tls(insecure_tls(alpn=alpn))
        await client.send(startup())
        assert await client.closed() == b""
    except (ssl.SSLError, ConnectionError):
        pass


@pytest.mark.parametrize("order", [["ssl", "gss"], ["gss", "ssl"], ["gss"], ["ssl"]])
async def test_encryption_requests_in_either_order(dial: Any, running: Any, order: list[str]) -> None:
    client = await dial(running)
    for request in order:
        if request == "gss" and order == ["ssl", "gss"]:
            break  # after TLS nothing more can be asked for; see the next test
        if request == "gss":
            await client.send(codec.gssenc_request())
            assert await client.read(1) == b"N"
        else:
            await client.send(codec.ssl_request())
            assert await client.read(1) == b"S"
            await client.start_tls(insecure_tls())
    await client.send(startup())
    kind, _ = await client.log_in("agent", running.tokens["agent"])
    assert kind == b"R"


@pytest.mark.parametrize(
    "requests",
    [
        [codec.gssenc_request(), codec.gssenc_request()],
        [codec.ssl_request(), codec.ssl_request()],
        [codec.ssl_request(), codec.gssenc_request()],
    ],
)
async def test_encryption_is_asked_for_once(dial: Any, running: Any, requests: list[bytes]) -> None:
    client = await dial(running)
    await client.send(requests[0])
    if await client.read(1) == b"S":
        await client.start_tls(insecure_tls())
    await client.send(requests[1])
    kind, payload = await client.message()
    assert kind == b"E" and codec.parse_error(payload).sqlstate == "08P01"


async def test_plaintext_behind_an_ssl_request_is_no_session(dial: Any, running: Any) -> None:
    """CVE-2021-23214: what is stuffed behind the request must not pass for the encrypted session's bytes."""
    client = await dial(running)
    await client.send(codec.ssl_request() + startup())
    assert (await client.read(1)) == b"S"
    assert b"R" not in (await client.closed())[:1]
    await works(running)


async def test_plaintext_is_refused_where_it_is_not_configured(make_gateway: Any, server18: Any) -> None:
    async with make_gateway(tls={"plaintext": "never"}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        with pytest.raises(psycopg.OperationalError, match="sslmode=require"):
            await running.connect("agent", "shop")
        await works(running, sslmode="prefer")
        (refused,) = running.events("login_refused")
        assert refused["reason"] == "plaintext" and refused["identity"] == "agent"


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [
        ("127.0.0.1:5", True),
        ("127.8.0.1:5", True),
        ("[::1]:5", True),
        ("[::ffff:127.0.0.1]:5", True),
        ("unix", True),
        ("10.0.0.1:5", False),
        ("[::ffff:10.0.0.1]:5", False),
        ("[fe80::1%eth0]:5", False),
        ("what", False),
    ],
)
def test_loopback(peer: str, loopback: bool) -> None:
    assert is_loopback(peer) is loopback


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0",
        b"\0\0\0\x04",
        b"\0\0\0\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\0\0\0\x08\0\x03\0\0",
        b"\0\0\0\x09\0\x03\0\0\0",
        b"\0\0\x27\x11" + bytes(10000),
        codec.startup_message(3 << 16, {"user": "agent"})[:-3],
        codec.startup_message(2 << 16, {"user": "agent"}),
        b"\0\0\0\x0a\0\x03\0\0\xff\xfe",
    ],
)
async def test_garbage_ends_only_that_connection(dial: Any, running: Any, garbage: bytes) -> None:
    client = await dial(running)
    await client.send(garbage)
    client.writer.write_eof()
    answer = await client.closed()
    assert answer[:1] in (b"", b"E", b"\x15")
    await works(running)


@pytest.mark.parametrize(
    ("message", "sqlstate"),
    [
        (codec.query("SELECT 1"), "08P01"),
        (b"p\0\0\0\x03", None),  # closed without a word, as PostgreSQL does
        (b"p\x7f\xff\xff\xff", None),
        (codec.password_message(b"guess"), "28P01"),
        (codec.sasl_initial_response("SCRAM-SHA-1", b"n,,n=,r=a"), "28P01"),
        (codec.sasl_initial_response("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=a"), "28P01"),
        (codec.sasl_initial_response("SCRAM-SHA-256", b"\xff" * 100), "28P01"),
        (codec.message(b"p", b"SCRAM-SHA-256\0\0\0\0\x09x"), "28P01"),
    ],
)
async def test_log_in_broken_by_the_client(
    dial: Any, running: Any, message: bytes, sqlstate: str | None
) -> None:
    client = await dial(running)
    await client.send(startup())
    assert (await client.message())[0] == b"R"
    await client.send(message)
    if sqlstate is not None:
        kind, payload = await client.message()
        assert kind == b"E" and codec.parse_error(payload).sqlstate == sqlstate
    assert await client.closed() == b""
    await works(running)


@pytest.mark.parametrize(
    ("minor", "options", "agreed", "key_length"),
    [(0, [], None, 4), (2, [], None, 32), (1, [], None, 4), (9999, [], 2, 32), (0, ["_pq_.x"], 0, 4)],
)
async def test_protocol_versions(
    dial: Any, running: Any, minor: int, options: list[str], agreed: int | None, key_length: int
) -> None:
    client = await dial(running)
    await client.send(startup(minor, **dict.fromkeys(options, "1")))
    if agreed is not None:
        kind, payload = await client.message()
        assert kind == b"v"
        assert codec.parse_negotiate_protocol_version(payload) == ((3 << 16) | agreed, options)
    assert (await client.log_in("agent", running.tokens["agent"]))[0] == b"R"
    said = await client.until_ready()
    assert len(said[b"K"][0]) == 4 + key_length
    assert any(b"server_version" in payload for payload in said[b"S"])


async def test_libpq_with_protocol_3_2(running: Any) -> None:
    if psycopg.pq.version() < 180000:
        pytest.skip("this libpq speaks 3.0 only")
    await works(running, max_protocol_version="3.2")
    assert running.headers()[0]["client"]["protocol"] == "3.2"
    assert running.headers()[0]["upstream"]["protocol"] == "3.2"


async def test_silent_clients_are_closed_at_the_deadline(dial: Any, make_gateway: Any) -> None:
    async with make_gateway(limits={"startup_seconds": 0.3}) as running:
        silent = await dial(running)
        dripping = await dial(running)
        half = await dial(running)
        await half.send(startup())
        for byte in startup()[:5]:
            await dripping.send(bytes([byte]))
            await asyncio.sleep(0.02)
        for client in (silent, dripping, half):
            await client.closed(within=2)
        assert [event["reason"] for event in running.events("login_refused")] == ["timeout"]


async def test_a_crowd_of_silent_clients_keeps_nobody_out(
    dial: Any, make_gateway: Any, server18: Any
) -> None:
    """The one who stands in the door longest must go, so an honest log-in always finds room."""
    async with make_gateway(limits={"unauthenticated": 5}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        crowd = [await dial(running) for _ in range(20)]
        await works(running)
        assert len(running.gateway._arriving) <= 5
        for client in crowd[:14]:
            await client.closed(within=2)


async def test_sessions_have_a_limit(make_gateway: Any, server18: Any) -> None:
    async with make_gateway(limits={"sessions": 1, "drain_seconds": 1}) as running:
        running.add_connection("shop", server18)
        running.add_identity("agent", "shop")
        async with await running.connect("agent", "shop"):
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                await running.connect("agent", "shop")
        await asyncio.sleep(0.2)
        await works(running)
