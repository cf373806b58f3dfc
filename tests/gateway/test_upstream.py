"""PostgreSQL behind a connection: every sslmode, every way to log in, and what clients learn of trouble."""

import asyncio
import dataclasses
import os
from typing import Any

import psycopg
import pytest

from pgwitness.catalog.models import Secret
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.wire import codec
from support.certificates import Authority


@pytest.fixture
async def in_front_of_15(make_gateway: Any, server15: Any) -> Any:
    async with make_gateway() as running:
        yield running


async def upstream_tls(running: Any, server: Any, **fields: Any) -> bool:
    """A session through a connection with these fields runs a query; whether its upstream speaks TLS."""
    running.add_connection("c", server, **fields)
    running.add_identity("agent", "c")
    async with await running.connect("agent", "c") as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
        row = await (
            await connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        ).fetchone()
    header = running.headers()[-1]
    assert row == (header["upstream"]["tls"] is not None,)
    return bool(row[0])


async def trouble(running: Any, server: Any, **fields: Any) -> tuple[str, str]:
    """(message that the client gets, reason in the record)"""
    running.add_connection("c", server, **fields)
    running.add_identity("agent", "c")
    with pytest.raises(psycopg.OperationalError) as caught:
        await running.connect("agent", "c")
    (event,) = running.events("session_refused")
    assert event["identity"] == "agent" and event["connection"] == "c"
    return str(caught.value), event["detail"]


@pytest.mark.parametrize(
    ("sslmode", "tls"),
    [
        ("disable", False),
        ("allow", False),
        ("prefer", True),
        ("require", True),
        ("verify-ca", True),
        ("verify-full", True),
    ],
)
async def test_sslmodes(
    in_front_of_15: Any, server15: Any, authority: Authority, sslmode: str, tls: bool
) -> None:
    roots = authority.certificate if sslmode.startswith("verify") else None
    assert await upstream_tls(in_front_of_15, server15, sslmode=sslmode, sslrootcert=roots) is tls


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer"])
async def test_a_server_without_tls(running: Any, server18: Any, sslmode: str) -> None:
    running.add_connection("c", server18, sslmode=sslmode)
    running.catalog.identities.grant("agent", ("c",), actor="test")
    await (await running.connect("agent", "c")).close()
    assert running.headers()[-1]["upstream"]["tls"] is None


async def test_require_of_a_server_without_tls(make_gateway: Any, server18: Any) -> None:
    async with make_gateway() as running:
        message, detail = await trouble(running, server18, sslmode="require")
        assert 'connection "c": PostgreSQL cannot be reached' in message
        assert "does not support TLS" in detail


@pytest.mark.parametrize("sslmode", ["allow", "prefer", "require"])
async def test_allow_tries_tls_when_plaintext_is_rejected(
    in_front_of_15: Any, server15: Any, sslmode: str
) -> None:
    assert await upstream_tls(in_front_of_15, server15, user="app_tls", sslmode=sslmode)


async def test_prefer_tries_plaintext_when_tls_is_rejected(
    make_gateway: Any, make_server: Any, authority: Authority
) -> None:
    server = make_server(15)
    hba = server.data / "pg_hba.conf"
    hba.write_text("hostssl all app 127.0.0.1/32 reject\n" + hba.read_text())
    server.sql("SELECT pg_reload_conf()")
    await asyncio.sleep(0.3)
    async with make_gateway() as running:
        assert not await upstream_tls(running, server, sslmode="prefer")


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
async def test_another_authority_is_refused(in_front_of_15: Any, server15: Any, sslmode: str) -> None:
    """``require`` with a root certificate verifies the chain too."""
    other = Authority("another CA").certificate
    message, _ = await trouble(in_front_of_15, server15, sslmode=sslmode, sslrootcert=other)
    assert "cannot be reached" in message


async def test_verify_full_checks_the_name_and_verify_ca_does_not(
    make_gateway: Any, make_server: Any, authority: Authority
) -> None:
    server = make_server(15)
    pair = authority.issue("elsewhere", hosts=("elsewhere.example",))
    server.own("server.crt", pair.certificate)
    server.own("server.key", pair.private_key)
    server.sql("SELECT pg_reload_conf()")
    await asyncio.sleep(0.3)
    async with make_gateway() as running:
        _, detail = await trouble(running, server, sslmode="verify-full", sslrootcert=authority.certificate)
        assert 'does not match host name "127.0.0.1"' in detail
        running.add_connection("ca", server, sslmode="verify-ca", sslrootcert=authority.certificate)
        running.catalog.identities.grant("agent", ("ca",), actor="test")
        await (await running.connect("agent", "ca")).close()


async def test_client_certificate(in_front_of_15: Any, server15: Any, authority: Authority) -> None:
    pair = authority.issue("app_cert")
    assert await upstream_tls(
        in_front_of_15,
        server15,
        user="app_cert",
        password=None,
        sslmode="require",
        sslcert=pair.certificate,
        sslkey=Secret(pair.private_key.decode()),
    )


@pytest.mark.parametrize("user", ["app", "app_md5", "app_clear", "app_trust"])
async def test_ways_to_log_in(in_front_of_15: Any, server: Any, user: str) -> None:
    await upstream_tls(in_front_of_15, server, user=user)


async def test_channel_binding_with_the_server(in_front_of_15: Any, server15: Any) -> None:
    assert await upstream_tls(in_front_of_15, server15, sslmode="require")


@pytest.mark.parametrize("password", [Secret("wrong"), None])
@pytest.mark.parametrize("user", ["app", "app_md5", "app_clear"])
async def test_wrong_password(in_front_of_15: Any, server15: Any, user: str, password: Any) -> None:
    message, detail = await trouble(in_front_of_15, server15, user=user, password=password)
    assert 'connection "c"' in message
    assert user not in message and str(server15.port) not in message.partition("FATAL")[2]
    expected = "password authentication failed" if password else "none is registered"
    assert expected in detail


async def test_unix_socket(make_gateway: Any, server18: Any) -> None:
    async with make_gateway() as running:
        running.add_connection("c", server18, host=str(server18.directory), sslmode="require")
        running.add_identity("agent", "c")
        await (await running.connect("agent", "c")).close()
        assert running.headers()[0]["upstream"]["address"].endswith(f"/.s.PGSQL.{server18.port}")


async def test_abstract_socket(running: Any) -> None:
    """``@`` as libpq has it; the catalog is more careful about hosts than the gateway need be."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(codec.error_response("FATAL", "57P03", "reached"))
        await writer.drain()
        writer.transport.abort()

    name = f"pgwitness-{os.getpid()}"
    server = await asyncio.start_unix_server(serve, f"\0{name}/.s.PGSQL.5432")
    connection = dataclasses.replace(running.catalog.connections.get("shop"), host=f"@{name}", port="5432")
    with pytest.raises(UpstreamError, match="57P03 reached"):
        await running.gateway.dialler.open(connection, "shop", 0, {}, 0)
    server.close()


@pytest.mark.parametrize("minor", [0, 2])
async def test_a_server_of_an_older_protocol(make_gateway: Any, server15: Any, dial: Any, minor: int) -> None:
    async with make_gateway() as running:
        running.add_connection("c", server15)
        running.add_identity("agent", "c")
        client = await dial(running)
        parameters = {"user": "agent", "database": "c"}
        await client.send(codec.startup_message((3 << 16) | minor, parameters))
        await client.log_in("agent", running.tokens["agent"])
        assert len((await client.until_ready())[b"K"][0]) == (36 if minor else 8)
        (header,) = running.headers()
        assert (header["client"]["protocol"], header["upstream"]["protocol"]) == (f"3.{minor}", "3.0")


async def test_several_hosts_are_tried_in_order(make_gateway: Any, server18: Any) -> None:
    async with make_gateway() as running:
        running.add_connection(
            "c", host="127.0.0.1,no-such-host.invalid,localhost", port=f"1,1,{server18.port}"
        )
        running.add_identity("agent", "c")
        await (await running.connect("agent", "c")).close()
        assert running.headers()[0]["upstream"]["address"] == f"127.0.0.1:{server18.port}"


async def test_nobody_there(make_gateway: Any) -> None:
    async with make_gateway() as running:
        message, detail = await trouble(running, None, host="127.0.0.1,no-such-host.invalid", port="1")
        assert "08001" in message or 'connection "c": PostgreSQL cannot be reached' in message
        assert "127.0.0.1:1: " in detail and "no-such-host.invalid" in detail


async def test_a_server_that_hangs(make_gateway: Any, scripted_server: Any) -> None:
    port = await scripted_server(b"", close_after=60)
    async with make_gateway(limits={"connect_seconds": 0.3, "drain_seconds": 1}) as running:
        _, detail = await trouble(running, None, port=str(port))
        assert "no answer within 0.3 seconds" in detail


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"R\0\0\0\x08\0\0\0\x07",  # GSSAPI
        b"R\0\0\0\x08\0\0\0\x63",
        b"R\0\0\0\x04",
        b"R\0\0\0\x03",
        b"Z\0\0\0\x05I",
        b"E\xff\xff\xff\xff",
        b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0" + b"R\0\0\0\x08\0\0\0\0",  # yes, without a proof of its own
        b"R\0\0\0\x08\0\0\0\0" + b"S\0\0\0\x06ab",
        b"R\0\0\0\x08\0\0\0\0" + b"D\0\0\0\x06\0\0",
        b"R\0\0\0\x08\0\0\0\0" + b"K\0\0\0\x05a",
    ],
)
async def test_a_server_that_talks_nonsense(make_gateway: Any, scripted_server: Any, script: bytes) -> None:
    port = await scripted_server(script)
    async with make_gateway(limits={"connect_seconds": 2, "drain_seconds": 1}) as running:
        message, _ = await trouble(running, None, port=str(port))
        assert 'connection "c"' in message


async def test_a_server_that_never_stops_greeting(make_gateway: Any, scripted_server: Any) -> None:
    notices = codec.notice_response("NOTICE", "00000", "x" * 100_000) * 30
    port = await scripted_server(codec.authentication_ok() + notices, close_after=5)
    async with make_gateway(limits={"connect_seconds": 5, "drain_seconds": 1}) as running:
        _, detail = await trouble(running, None, port=str(port))
        assert "more than a mebibyte" in detail


@pytest.mark.parametrize(
    ("parameters", "sqlstate"),
    [
        ({"options": "-c statement_timeout=soon"}, "22023"),
        ({"options": "-c no_such_setting=1"}, "42704"),
        ({"client_encoding": "klingon"}, "22023"),
    ],
)
async def test_the_clients_own_mistakes_are_told_as_the_server_said(
    running: Any, parameters: dict[str, str], sqlstate: str
) -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        await running.connect("agent", "shop", **parameters)
    assert "invalid value for parameter" in str(caught.value) or "no_such_setting" in str(caught.value)
    (event,) = running.events("session_refused")
    assert event["reason"] == "refused_by_server"


async def test_unknown_database_of_a_connection_that_allows_any(running: Any, server18: Any) -> None:
    running.add_connection("wide", server18, also_databases="any")
    running.catalog.identities.grant("agent", ("wide",), actor="test")
    with pytest.raises(psycopg.OperationalError, match='database "nowhere" does not exist'):
        await running.connect("agent", "wide/nowhere")
    async with await running.connect("agent", "wide/postgres") as connection:
        row = await (await connection.execute("SELECT current_database()")).fetchone()
        assert row == ("postgres",)


async def test_startup_parameters_are_forwarded(running: Any) -> None:
    async with await running.connect(
        "agent",
        "shop",
        application_name="prüfung",
        client_encoding="LATIN1",
        options=r"-c DateStyle=SQL,\ DMY -c pgwitness.run=run\ 81",
    ) as connection:
        cursor = await connection.execute(
            "SELECT current_setting('application_name'), current_setting('client_encoding'),"
            " current_setting('DateStyle'), current_setting('pgwitness.run')"
        )
        assert await cursor.fetchone() == (r"pr\xc3\xbcfung", "LATIN1", "SQL, DMY", "run 81")
    assert running.headers()[0]["claims"] == {"application_name": "prüfung", "run": "run 81"}


async def test_replication_is_refused_unless_the_connection_allows_it(running: Any, server18: Any) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not allow replication"):
        await running.connect("agent", "shop", replication="database")
    running.add_connection("replica", server18, replication=True)
    running.catalog.identities.grant("agent", ("replica",), actor="test")
    async with await running.connect("agent", "replica", replication="database") as connection:
        cursor = await connection.execute(b"IDENTIFY_SYSTEM")
        assert len(await cursor.fetchall()) == 1


async def test_notices_of_the_log_in_reach_the_client(running: Any, make_server: Any) -> None:
    server = make_server(18)
    server.sql(
        "CREATE FUNCTION hello() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE NOTICE 'welcome'; END $$",
        "CREATE EVENT TRIGGER hello ON login EXECUTE FUNCTION hello()",
        "ALTER EVENT TRIGGER hello ENABLE ALWAYS",
        database="shop",
    )
    running.add_connection("noisy", server)
    running.catalog.identities.grant("agent", ("noisy",), actor="test")
    import subprocess

    done = await asyncio.to_thread(
        subprocess.run,
        ["psql", running.dsn("agent", "noisy"), "-Atc", "SELECT 1"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout == "1\n" and "welcome" in done.stderr
    assert [(said["severity"], said["message"]) for said in running.events("notice")] == [
        ("NOTICE", "welcome")
    ]
