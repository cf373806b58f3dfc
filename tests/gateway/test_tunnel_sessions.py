"""Sessions through a connector that a test plays itself: what it may say, and what becomes of a client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from pgwitness.catalog.models import Secret
from pgwitness.gateway import tunnel_online
from pgwitness.wire import codec, tunnel
from support.rawconnector import RawConnector, member_of
from support.servers import PASSWORD

GREETING = [
    codec.parameter_status("server_version", "18.0"),
    codec.parameter_status("client_encoding", "UTF8"),
]


class Played:
    """A connector online at an in-process gateway, with warm connections that the test answers on."""

    def __init__(self, running: Any) -> None:
        self.running = running
        self.member = member_of(running)
        self.control: RawConnector
        self.opened: list[RawConnector] = []

    async def dial(self) -> RawConnector:
        port = self.running.gateway.tunnel.listener.port
        self.opened.append(await RawConnector.dial(port, self.member))
        return self.opened[-1]

    async def online(self) -> "Played":
        self.control = await self.dial()
        self.warm = [await self.data(ticket) for ticket in (await self.control.hello()).tickets]
        pool = self.running.gateway.tunnel._online["beside"].pool
        while pool.wants(0):  # noqa: ASYNC110 no event of the gateway
            await asyncio.sleep(0.01)
        self.running.add_connection("far", connectors=("beside",), password=Secret(PASSWORD))
        self.running.add_identity("agent", "far")
        return self

    async def data(self, ticket: str) -> RawConnector:
        connection = await self.dial()
        await connection.send(tunnel.Data(ticket))
        return connection

    async def dialled(self) -> tuple[RawConnector, tunnel.Dial]:
        """The warm connection on which a dial comes next."""
        waiting = {asyncio.create_task(one.receive(tunnel.Dial)): one for one in self.warm}
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        (task,) = done
        self.warm.remove(waiting[task])
        return waiting[task], task.result()

    def client(self) -> "asyncio.Task[psycopg.AsyncConnection[Any]]":
        return asyncio.create_task(self.running.connect("agent", "far"))


@pytest.fixture
async def played(make_gateway: Callable[..., Any]) -> AsyncIterator[Played]:
    async with make_gateway() as running:
        played = Played(running)
        try:
            yield await played.online()
        finally:
            for connection in played.opened:
                connection.close()


def opened(**fields: Any) -> tunnel.Opened:
    given = {
        "address": "10.0.0.9:5432",
        "tls": None,
        "pid": 4711,
        "minor": 0,
        "status": b"I",
        "passed_on": GREETING,
    }
    return tunnel.Opened(**{**given, **fields})


async def test_a_connector_that_never_answers_is_not_waited_for(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel_online, "ADDRESSES_A_HOST", 0)
    monkeypatch.setattr(tunnel_online, "ANSWER_GRACE_SECONDS", 0.3)
    client = played.client()
    connection, _ = await played.dialled()
    with pytest.raises(psycopg.OperationalError, match='connection "far"'):
        await client
    assert await connection.ended()


async def test_a_dial_says_what_is_registered_and_the_bytes_follow(played: Played) -> None:
    client = played.client()
    data, dial = await played.dialled()
    assert (dial.connection, dial.hosts, dial.database, dial.user) == (
        "far",
        [("127.0.0.1", 1)],
        "shop",
        "app",
    )
    assert dial.password == PASSWORD.encode() and b"user" not in dict(dial.parameters)
    await data.send(opened(tls=tunnel.Encryption("TLSv1.3", "X")))
    async with await client as connection:
        assert connection.info.backend_pid == 4711
        asked = asyncio.create_task(connection.execute("SELECT 1"))
        head = await data.reader.readexactly(1)
        assert head == b"Q"
        await data.send(codec.message(b"C", b"SELECT 0\0") + codec.ready_for_query())
        await asked
    (header,) = played.running.headers()
    assert header["upstream"]["connector"] == "beside" and header["upstream"]["address"] == "10.0.0.9:5432"
    assert header["upstream"]["tls"] == {"version": "TLSv1.3", "cipher": "X"}
    assert PASSWORD.encode() not in played.running.everything()


async def test_a_taken_connection_is_replaced(played: Played) -> None:
    client = played.client()
    data, _ = await played.dialled()
    assert len((await played.control.receive(tunnel.Supply)).tickets) == 1
    await data.send(opened())
    await (await client).close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (tunnel.Failed("unreachable", "10.0.0.9: connection refused"), "PostgreSQL cannot be reached"),
        (tunnel.Failed("refused_host", "--allow does not name it"), "PostgreSQL cannot be reached"),
        (tunnel.Failed("refused", "no pg_hba.conf entry", "28000"), "refuses the registered credentials"),
        (tunnel.Failed("refused", "too many", "53300"), r"does not accept the connection \(53300\)"),
        (
            tunnel.Failed(
                "startup", "", "22023", codec.error_response("FATAL", "22023", "bad DateStyle")[5:]
            ),
            "bad DateStyle",
        ),
        (tunnel.Heartbeat(), "PostgreSQL cannot be reached"),
        (opened(passed_on=[codec.message(b"D", b"\0\0")]), "PostgreSQL cannot be reached"),
        (opened(passed_on=[b"S\0\0\0\x04" + codec.ready_for_query()]), "PostgreSQL cannot be reached"),
        (opened(status=b"IX"), "PostgreSQL cannot be reached"),
        (b"\0\0\0\x02{}", "PostgreSQL cannot be reached"),
    ],
)
async def test_answers_that_are_no_session(played: Played, answer: Any, expected: str) -> None:
    client = played.client()
    data, _ = await played.dialled()
    await data.send(answer)
    with pytest.raises(psycopg.OperationalError, match=expected) as caught:
        await client
    assert "10.0.0.9" not in str(caught.value)
    assert await data.ended()
    (event,) = played.running.events("session_refused")
    assert event["connection"] == "far"


async def test_a_warm_connection_that_broke_unnoticed_costs_no_session(played: Played) -> None:
    for broken in played.warm:
        broken.close()
    client = played.client()
    async with asyncio.timeout(10):
        played.warm = [
            await played.data(ticket) for ticket in (await played.control.receive(tunnel.Supply)).tickets
        ]
        data, _ = await played.dialled()
        await data.send(opened())
        await (await client).close()


async def test_a_cancel_names_the_dial_and_waits_for_the_answer(played: Played) -> None:
    client = played.client()
    data, dial = await played.dialled()
    await data.send(opened())
    async with await client as connection:
        cancelling = asyncio.create_task(connection.cancel_safe(timeout=10))
        while not isinstance(message := await any_message(played.control), tunnel.Cancel):
            assert isinstance(message, tunnel.Supply)
        assert message.dial == dial.dial
        await asyncio.sleep(0.1)
        assert not cancelling.done()
        await played.control.send(tunnel.Done(message.request))
        await cancelling
    assert len(played.running.events("cancel_requested")) == 1


async def any_message(connection: RawConnector) -> tunnel.Message:
    passing = tunnel.Heartbeat | tunnel.Head
    while isinstance(message := await connection.receive(tunnel.Message), passing):
        pass
    return message


async def test_the_end_of_the_control_connection_ends_its_sessions(played: Played) -> None:
    client = played.client()
    data, _ = await played.dialled()
    await data.send(opened())
    connection = await client
    played.control.close()
    with pytest.raises(psycopg.OperationalError, match='connector "beside", or the way to it, was lost'):
        await connection.execute("SELECT 1")
    with contextlib.suppress(psycopg.Error):
        await connection.close()
    ends = await settled(played)
    assert ends["reason"] == "interrupted" and 'connector "beside"' in ends["detail"]


async def test_a_connector_that_goes_while_a_session_begins_takes_it_along(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its data connection stays open: its lease is over."""
    gate = played.running.gateway.tunnel
    open_through = gate.open

    async def gone_meanwhile(*arguments: Any) -> Any:
        upstream = await open_through(*arguments)
        played.control.close()
        while gate.describe():  # noqa: ASYNC110 no event of the gateway
            await asyncio.sleep(0.01)
        return upstream

    monkeypatch.setattr(gate, "open", gone_meanwhile)
    client = played.client()
    data, _ = await played.dialled()
    await data.send(opened())
    (connection,) = await asyncio.gather(client, return_exceptions=True)
    ends = await settled(played)
    if isinstance(connection, psycopg.AsyncConnection):
        await connection.close()
    assert ends["reason"] == "interrupted" and 'connector "beside"' in ends["detail"]


async def settled(played: Played) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while not (ends := played.running.ends()):  # noqa: ASYNC110 no event of the tape
            await asyncio.sleep(0.02)
    (end,) = ends.values()
    return end


async def test_a_connector_that_drains_gets_no_new_sessions_and_keeps_its_own(played: Played) -> None:
    client = played.client()
    data, _ = await played.dialled()
    await data.send(opened())
    async with await client as connection:
        await played.control.send(tunnel.Bye())
        for warm in played.warm:
            assert await warm.ended()
        with pytest.raises(psycopg.OperationalError, match='connector "beside" is not online'):
            await played.client()
        asked = asyncio.create_task(connection.execute("SELECT 1"))
        assert await data.reader.readexactly(1) == b"Q"
        await data.send(codec.message(b"C", b"SELECT 0\0") + codec.ready_for_query())
        await asked


async def test_those_that_wait_count_where_the_load_is_shared(make_gateway: Callable[..., Any]) -> None:
    """Of a burst that finds nothing warm, not everybody waits for the same connector."""
    names = ("left", "right")
    async with make_gateway() as running:
        gate = running.gateway.tunnel
        controls = [await RawConnector.dial(gate.listener.port, member_of(running, name)) for name in names]
        for control in controls:
            await control.hello()
        running.add_connection("far", connectors=names)
        running.add_identity("agent", "far")
        clients = [asyncio.create_task(running.connect("agent", "far")) for _ in range(6)]

        def waiting() -> list[int]:
            pools = [gate._online[name].pool for name in names]
            return [sum(len(place.waiting) for place in pool._threads) for pool in pools]

        async with asyncio.timeout(10):
            while sum(waiting()) < len(clients):  # noqa: ASYNC110 no event of the gateway
                await asyncio.sleep(0.01)
        assert waiting() == [3, 3]
        for control in controls:
            control.close()
        refused = await asyncio.gather(*clients, return_exceptions=True)
        assert all(isinstance(each, psycopg.OperationalError) for each in refused)


async def test_none_of_several_is_online(played: Played) -> None:
    for name in ("other", "third"):
        member_of(played.running, name)
    played.running.add_connection("nowhere", connectors=("other", "third"), password=None)
    played.running.catalog.identities.grant("agent", ("nowhere",), actor="test")
    with pytest.raises(
        psycopg.OperationalError, match='"nowhere": no connector of "other", "third" is online'
    ):
        await played.running.connect("agent", "nowhere")
