"""Who may dial in to the tunnel, and what becomes of everybody else: refused, closed, on record."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgwitness.connector.membership import new_request
from pgwitness.errors import UnavailableError
from pgwitness.gateway import tunnel_pool
from pgwitness.identity.authority import open_authority
from pgwitness.wire import tunnel
from support.rawconnector import RawConnector, member_of, refused

Dial = Callable[..., Any]
BUSY_MACHINE_SECONDS = 2.0
"""What a promise of time gets on top where others compute too."""


@pytest.fixture
async def knock(make_gateway: Any) -> AsyncIterator[tuple[Any, Dial]]:
    """A gateway, and ``await dial(member)`` to its tunnel port; all of them are closed afterwards."""
    opened: list[RawConnector] = []
    async with make_gateway() as running:

        async def dial(member: Any, **options: Any) -> RawConnector:
            port = running.gateway.tunnel.listener.port
            opened.append(await RawConnector.dial(port, member, **options))
            return opened[-1]

        yield running, dial
        for connection in opened:
            connection.close()


async def told(running: Any, event: str, count: int = 1) -> list[dict[str, Any]]:
    """The events of this name on record, once there are so many."""
    deadline = asyncio.get_running_loop().time() + 10
    while len(found := running.events(event)) < count:
        assert asyncio.get_running_loop().time() < deadline, f"{len(found)} of {event}"
        await asyncio.sleep(0.02)
    return found


async def whys(running: Any, count: int = 1) -> list[dict[str, Any]]:
    return await told(running, "connector_refused", count)


async def test_a_connector_comes_online_and_goes_again(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    control = await dial(member_of(running))
    supply = await control.hello()
    assert len(supply.tickets) == len(set(supply.tickets)) == tunnel_pool.FEWEST
    (online,) = running.gateway.tunnel.describe()
    assert (online["connector"], online["software"], online["sessions"]) == ("beside", "raw", 0)
    await control.receive(tunnel.Heartbeat)
    control.close()
    await told(running, "connector_offline")
    assert not running.gateway.tunnel.describe()
    (event,) = running.events("connector_online")
    assert event["connector"] == "beside" and event["address"].startswith("127.0.0.1:")


async def test_silence_is_death(knock: tuple[Any, Dial], monkeypatch: pytest.MonkeyPatch) -> None:
    """The control connection stays open, but no heartbeat comes."""
    running, dial = knock
    from pgwitness.gateway import tunnel as gateway_tunnel

    monkeypatch.setattr(gateway_tunnel, "HEARTBEAT_SECONDS", 0.1)
    control = await dial(member_of(running))
    with contextlib.suppress(asyncio.IncompleteReadError):
        await control.hello()
    assert await control.ended()
    (event,) = await told(running, "connector_offline")
    assert "no heartbeat" in event["why"]


async def test_a_certificate_of_another_authority(knock: tuple[Any, Dial], tmp_path: Any) -> None:
    running, dial = knock
    member = member_of(running, authority=open_authority(tmp_path / "other"))
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert await refused(await dial(member)) is None
    (event,) = await whys(running)
    assert "certificate" in event["why"]


async def test_an_expired_certificate(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    member = member_of(running, not_after=datetime.now(UTC) - timedelta(minutes=1))
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert await refused(await dial(member)) is None
    (event,) = await whys(running)
    assert "xpired" in event["why"]


async def test_a_certificate_that_the_catalog_does_not_know(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    connection = await dial(member_of(running, not_after=datetime.now(UTC) + timedelta(days=1)))
    assert await refused(connection) == "the certificate is not known"
    (event,) = await whys(running)
    assert event["why"] == "the certificate is not known"


async def test_a_certificate_of_a_removed_connector(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    member = member_of(running)
    await (await dial(member)).hello()
    running.catalog.connectors.remove("beside", actor="test")
    assert "removed" in (await refused(await dial(member)) or "")
    assert "removed" in (await whys(running))[0]["why"]


async def test_the_gateways_own_certificate_makes_no_connector(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    tls = running.settings.tls_directory
    import msgspec

    member = msgspec.structs.replace(
        member_of(running),
        certificate=(tls / "tunnel.crt").read_text(),
        key=(tls / "tunnel.key").read_text(),
    )
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert await refused(await dial(member)) is None
    assert "certificate" in (await whys(running))[0]["why"]


async def test_no_certificate(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    assert await refused(await dial(None)) == "no certificate was shown"
    assert (await whys(running))[0]["why"] == "no certificate was shown"


async def test_a_catalog_that_fails_puts_a_renewal_off_and_ends_nothing(
    knock: tuple[Any, Dial], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, dial = knock
    control = await dial(member_of(running))
    await control.hello()

    def away(*_: Any) -> Any:
        raise UnavailableError("the catalog is away")

    monkeypatch.setattr(running.gateway.tunnel._enrolment, "renew", away)
    await control.send(tunnel.Renew(new_request()[1].decode()))
    assert (await control.receive(tunnel.Refused)).code == "renewal"
    await control.receive(tunnel.Heartbeat)
    assert running.gateway.tunnel.describe() and not running.events("connector_offline")


async def test_removal_ends_the_control_connection_within_a_second(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    control = await dial(member_of(running))
    await control.hello()
    running.catalog.connectors.remove("beside", actor="test")
    began = asyncio.get_running_loop().time()
    assert "removed" in (await control.receive(tunnel.Refused)).text
    assert await control.ended()
    assert asyncio.get_running_loop().time() - began < 1.0 + BUSY_MACHINE_SECONDS


async def test_one_that_is_slow_to_go_keeps_no_other_in(
    knock: tuple[Any, Dial], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, dial = knock
    controls = {name: await dial(member_of(running, name)) for name in ("beside", "other")}
    refusals = {name: asyncio.Event() for name in controls}
    for name, control in controls.items():
        await control.hello()
        online = running.gateway.tunnel._online[name]

        async def slowly(why: str, name: str = name, end: Any = online.end) -> None:
            """Until the other one was refused."""
            (other,) = controls.keys() - {name}
            await refusals[other].wait()
            await end(why)

        monkeypatch.setattr(online, "end", slowly)

    async def hear(name: str) -> None:
        await controls[name].receive(tunnel.Refused)
        refusals[name].set()

    for name in controls:
        running.catalog.connectors.remove(name, actor="test")
    await asyncio.gather(*(hear(name) for name in controls))
    await told(running, "connector_offline", 2)


async def test_a_newer_version_gets_a_clear_refusal_and_another_conversation_none(
    knock: tuple[Any, Dial],
) -> None:
    running, dial = knock
    control = await dial(member_of(running))
    await control.send(tunnel.Hello(tunnel.VERSION + 1, "raw", []))
    assert "update the gateway" in (await control.receive(tunnel.Refused)).text
    with pytest.raises(OSError):
        await dial(member_of(running), alpn="pgwitness-tunnel/2")
    connection = await dial(member_of(running), alpn=None)
    assert "ALPN" in (await connection.receive(tunnel.Refused)).text
    assert len(await whys(running, 3)) == 3


@pytest.mark.parametrize(
    "said",
    [
        tunnel.Heartbeat(),
        tunnel.Supply(["x"]),
        b"\0\0\0\x05hello",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
    ],
)
async def test_a_first_word_that_makes_no_sense(knock: tuple[Any, Dial], said: Any) -> None:
    running, dial = knock
    connection = await dial(member_of(running))
    await connection.send(said)
    assert (await connection.receive(tunnel.Refused)).code == "message"
    assert await connection.ended()
    assert len(await whys(running)) == 1


async def test_nonsense_on_the_control_connection_ends_it(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    control = await dial(member_of(running))
    await control.hello()
    await control.send(tunnel.Welcome("gateway", 1))
    assert await control.ended()
    assert "unexpected" in (await told(running, "connector_offline"))[0]["why"]


async def test_bytes_that_are_no_tls_are_not_worth_a_record(knock: tuple[Any, Dial]) -> None:
    running, _ = knock
    for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.tunnel.listener.port)
        writer.write(said)
        if said.startswith(b"G"):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.transport.abort()
    control = await RawConnector.dial(running.gateway.tunnel.listener.port, member_of(running))
    await control.hello()  # and it serves on
    control.close()


async def test_a_silent_peer_is_given_up(knock: tuple[Any, Dial], monkeypatch: pytest.MonkeyPatch) -> None:
    from pgwitness.gateway import tunnel as gateway_tunnel

    monkeypatch.setattr(gateway_tunnel, "ARRIVAL_SECONDS", 0.2)
    running, dial = knock
    assert await (await dial(member_of(running))).ended()


# data connections


async def test_a_ticket_lets_one_data_connection_in_once(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    member = member_of(running)
    control = await dial(member)
    ticket = (await control.hello()).tickets[0]
    warm = await dial(member)
    await warm.send(tunnel.Data(ticket))
    again = await dial(member)
    await again.send(tunnel.Data(ticket))
    assert "used before" in (await again.receive(tunnel.Refused)).text
    assert not await warm.ended(0.3)
    (event,) = await whys(running)
    assert (event["connector"], "ticket" in event["why"]) == ("beside", True)


async def test_a_wrong_ticket(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    member = member_of(running)
    await (await dial(member)).hello()
    for ticket in ("", "x" * 43):
        connection = await dial(member)
        await connection.send(tunnel.Data(ticket))
        assert (await connection.receive(tunnel.Refused)).code == "ticket"
    assert len(await whys(running, 2)) == 2


async def test_a_ticket_of_another_connector_is_refused_and_not_used_up(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    member = member_of(running)
    thief = member_of(running, "thief")
    ticket = (await (await dial(member)).hello()).tickets[0]
    await (await dial(thief)).hello()
    stolen = await dial(thief)
    await stolen.send(tunnel.Data(ticket))
    assert (await stolen.receive(tunnel.Refused)).code == "ticket"
    assert (await whys(running))[0]["connector"] == "thief"
    own = await dial(member)
    await own.send(tunnel.Data(ticket))
    assert not await own.ended(0.3)


async def test_an_expired_ticket_is_refused_and_replaced(
    knock: tuple[Any, Dial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel_pool, "TICKET_SECONDS", 0.2)
    running, dial = knock
    member = member_of(running)
    control = await dial(member)
    ticket = (await control.hello()).tickets[0]
    assert (await control.receive(tunnel.Supply)).tickets  # instead of those that brought nothing
    late = await dial(member)
    await late.send(tunnel.Data(ticket))
    assert (await late.receive(tunnel.Refused)).code == "ticket"
    assert len(await whys(running)) == 1


async def test_whoever_arrives_while_the_gateway_stops_does_not_hold_it_up(
    knock: tuple[Any, Dial], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, dial = knock
    gate = running.gateway.tunnel
    control = await dial(member_of(running))
    await control.hello()
    late = await dial(member_of(running, "late"))
    online = gate._online["beside"]
    end = online.end

    async def slowly(why: str) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(1):
                await late.hello()
        await end(why)

    monkeypatch.setattr(online, "end", slowly)
    await gate.stop()
    assert {event["why"] for event in running.events("connector_offline")} == {"the gateway stopped"}
    assert not gate.describe()


async def test_a_second_control_connection_takes_the_place_of_the_first(knock: tuple[Any, Dial]) -> None:
    running, dial = knock
    member = member_of(running)
    first = await dial(member)
    await first.hello()
    second = await dial(member)
    await second.hello()
    assert await first.ended()
    assert not await second.ended(0.3)
    (event,) = await told(running, "connector_offline")
    assert event["why"] == "it dialled in anew"
    assert [online["connector"] for online in running.gateway.tunnel.describe()] == ["beside"]


async def test_a_crowd_of_strangers_keeps_nobody_out(
    knock: tuple[Any, Dial], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgwitness.gateway import tunnel as gateway_tunnel

    monkeypatch.setattr(gateway_tunnel, "ARRIVING", 5)
    running, dial = knock
    port = running.gateway.tunnel.listener.port
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    control = await dial(member_of(running))
    await control.hello()
    for _, writer in silent:
        writer.transport.abort()
