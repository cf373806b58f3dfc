"""One time online, against a gateway that a test plays: what a connector believes, does and refuses."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from pgwitness._core import Engine
from pgwitness.connector.allowed import Allowed
from pgwitness.connector.chores import Chores
from pgwitness.connector.credentials import Credentials
from pgwitness.connector.heads import HeadWatch
from pgwitness.connector.lease import Holder, Lease
from pgwitness.connector.membership import Membership, MembershipFile, new_request
from pgwitness.connector.reach import Way
from pgwitness.connector.serving import Server
from pgwitness.errors import ConnectorRefused, UnavailableError
from pgwitness.identity.authority import open_authority
from pgwitness.upstream.dialling import Dialler
from pgwitness.wire import tunnel
from support.rawconnector import RawConnector

Script = Callable[[RawConnector], Awaitable[None]]


class Played:
    """A gateway whose every connection runs ``script``, and a connector that belongs to it."""

    def __init__(self, directory: Path, engine: Engine) -> None:
        self.directory = directory
        self.engine = engine
        self.authority = open_authority(directory / "gateway")
        self.shown = self.authority
        self.name = tunnel.SERVER_NAME
        self.alpn = tunnel.TUNNEL
        self.script: Script
        self.connections: list[RawConnector] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.welcomed: list[str] = []
        self.dialler = Dialler(engine, 5)

    async def start(self) -> None:
        names = [x509.DNSName(self.name)]
        pair = self.shown.serves(self.directory / "gateway", "played", self.name, names, datetime.now(UTC))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.authority.pem.decode())
        context.load_cert_chain(*pair)
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols([self.alpn])
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = RawConnector(reader, writer)
        self.connections.append(connection)
        await self.script(connection)

    def lease(self, *, renew_at: datetime | None = None) -> Lease:
        port = self.server.sockets[0].getsockname()[1]
        key, request = new_request()
        now = datetime.now(UTC)
        issued = self.authority.connector(request, "beside", timedelta(hours=1), now)
        member = Membership(
            name="beside",
            gateway=f"127.0.0.1:{port}",
            token="none",
            authority=self.authority.pem.decode(),
            certificate=issued.pem.decode(),
            key=key.decode(),
            renew_at=renew_at or now + timedelta(minutes=30),
        )
        self.file = MembershipFile(self.directory / "connector")
        self.holder = Holder(self.file, member)
        self.way = Way(self.engine, member.gateway)
        server = Server(self.engine, self.dialler, Allowed([]), Credentials([], []))
        heads = HeadWatch(self.directory / "heads")
        return Lease(self.engine, self.way, self.holder, server, [], Chores(), heads)

    async def hold(self, **options: Any) -> str:
        async with asyncio.timeout(15):
            return await self.lease(**options).hold(self.welcomed.append)

    async def stop(self) -> None:
        for connection in self.connections:
            connection.close()
        self.server.close()
        self.dialler.close()
        if hasattr(self, "way"):
            self.way.close()
            self.file.release()


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Played]:
    loop = asyncio.get_running_loop()
    engine = Engine(loop.create_future, 1)
    loop.add_reader(engine.fileno(), engine.drain)
    played = Played(tmp_path, engine)
    try:
        yield played
    finally:
        await played.stop()
        await asyncio.sleep(0)
        loop.remove_reader(engine.fileno())
        engine.close()


async def welcome(control: RawConnector, heartbeat: float = 2.0) -> tunnel.Hello:
    hello = await control.receive(tunnel.Hello)
    await control.send(tunnel.Welcome("beside", heartbeat))
    return hello


async def test_a_gateway_that_says_no_is_believed(played: Played) -> None:
    async def refuse(control: RawConnector) -> None:
        await control.receive(tunnel.Hello)
        await control.send(tunnel.Refused("version", "this gateway speaks up to version 0: update it"))

    played.script = refuse
    await played.start()
    with pytest.raises(ConnectorRefused, match="refuses this connector: this gateway speaks up to version 0"):
        await played.hold()
    assert played.welcomed == []


async def test_another_version_of_the_tunnel(played: Played) -> None:
    played.alpn = "pgwitness-tunnel/2"
    played.script = lambda control: asyncio.sleep(0)
    await played.start()
    with pytest.raises((ConnectorRefused, UnavailableError), match=r"another version|does not speak"):
        await played.hold()


async def test_a_gateway_of_another_authority(played: Played, tmp_path: Path) -> None:
    played.shown = open_authority(tmp_path / "other")
    played.script = lambda control: asyncio.sleep(0)
    await played.start()
    with pytest.raises(ConnectorRefused, match="no trust between us"):
        await played.hold()


async def test_a_server_of_the_same_authority_under_another_name(played: Played) -> None:
    """The gateway's certificate for clients is no certificate for connectors."""
    played.name = "localhost"
    played.script = lambda control: asyncio.sleep(0)
    await played.start()
    with pytest.raises(ConnectorRefused, match="is not our gateway"):
        await played.hold()


async def test_silence_ends_the_lease(played: Played) -> None:
    async def fall_silent(control: RawConnector) -> None:
        hello = await welcome(control, heartbeat=0.1)
        assert hello.version == tunnel.VERSION and hello.software.startswith("pgwitness ")

    played.script = fall_silent
    await played.start()
    began = asyncio.get_running_loop().time()
    assert await played.hold() == "no heartbeat for 0.3 seconds"
    assert asyncio.get_running_loop().time() - began < 5
    assert played.welcomed == ["beside"]


async def test_removal_in_mid_lease_ends_the_connector(played: Played) -> None:
    async def remove(control: RawConnector) -> None:
        await welcome(control)
        await control.send(tunnel.Refused("certificate", "the connector was removed"))

    played.script = remove
    await played.start()
    with pytest.raises(ConnectorRefused, match="the connector was removed"):
        await played.hold()


async def test_nonsense_ends_the_lease(played: Played) -> None:
    async def babble(control: RawConnector) -> None:
        await welcome(control)
        await control.send(tunnel.Hello(1, "gateway", []))

    played.script = babble
    await played.start()
    assert "unexpected on a control connection" in await played.hold()


async def test_each_ticket_brings_a_data_connection_that_dials_only_what_it_may(played: Played) -> None:
    answers: list[tunnel.Failed] = []
    done = asyncio.Event()

    async def script(connection: RawConnector) -> None:
        first = await connection.receive(tunnel.Message)
        if isinstance(first, tunnel.Hello):
            await connection.send(tunnel.Welcome("beside", 2.0))
            await connection.send(tunnel.Supply(["one", "two"]))
            await done.wait()
            connection.close()
            return
        host = "192.0.2.1" if tunnel.expect(first, tunnel.Data).ticket == "one" else "127.0.0.1"
        await connection.send(
            tunnel.Dial("d", "orders", [(host, 1)], "shop", "app", "disable", [], 0, 5.0, password=b"secret")
        )
        answers.append(await connection.receive(tunnel.Failed))
        assert await connection.ended()
        if len(answers) == 2:
            done.set()

    played.script = script
    await played.start()
    assert await played.hold() == "the control connection was closed"
    kinds = {answer.kind: answer.text for answer in answers}
    assert set(kinds) == {"refused_host", "unreachable"}
    assert "--allow does not name 192.0.2.1:1" in kinds["refused_host"]


async def test_a_certificate_is_renewed_at_its_time_and_again_when_refused(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgwitness.connector import lease

    monkeypatch.setattr(lease, "RENEWAL_RETRY_SECONDS", 0.1)
    asked: list[str] = []

    async def script(control: RawConnector) -> None:
        await welcome(control)
        for attempt in range(2):
            asked.append((await control.receive(tunnel.Renew)).csr)
            if attempt == 0:
                await control.send(tunnel.Refused("renewal", "not now"))
        issued = played.authority.connector(
            asked[1].encode(), "beside", timedelta(hours=1), datetime.now(UTC)
        )
        await control.send(tunnel.Renewed(issued.pem.decode()))
        while played.holder.membership.certificate != issued.pem.decode():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        control.close()

    played.script = script
    await played.start()
    await played.hold(renew_at=datetime.now(UTC))
    assert len(set(asked)) == 2, "each request is for a key of its own"
    kept = played.file.load()
    assert kept == played.holder.membership and kept is not None
    assert kept.renew_at > datetime.now(UTC) + timedelta(minutes=20)


async def test_drain_says_good_bye_and_takes_nothing_new(played: Played) -> None:
    heard: list[tunnel.Message] = []

    async def script(control: RawConnector) -> None:
        await welcome(control)
        heard.append(await control.receive(tunnel.Bye))
        await control.send(tunnel.Supply(["late"]))
        assert await control.ended()

    played.script = script
    await played.start()
    lease = played.lease()
    online = asyncio.Event()
    holding = asyncio.create_task(lease.hold(lambda name: online.set()))
    async with asyncio.timeout(10):
        await online.wait()
        await lease.drain(5, asyncio.Event())
        await holding
    assert heard == [tunnel.Bye()] and len(played.connections) == 1
