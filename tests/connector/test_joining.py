"""Both sides of joining over a real TLS connection, and everybody who should not get in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgwitness import _core
from pgwitness._core import Engine, Listener, Stream, TlsClient, TlsServer
from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog
from pgwitness.connector import joining
from pgwitness.connector.membership import Membership, new_request
from pgwitness.errors import ConnectorRefused, UnavailableError
from pgwitness.gateway import tls
from pgwitness.gateway.enrolment import enrol
from pgwitness.gateway.recorder import Recorder
from pgwitness.identity.authority import open_authority
from pgwitness.identity.enrolment import Enrolment, invite
from pgwitness.tunnel.streams import receive, send
from pgwitness.wire.join_token import JoinToken, new_join_token, parse_join_token
from pgwitness.wire.tunnel import ENROL, TUNNEL, Authority, Hello, Join, Message, Refused

Serve = Callable[[Stream], Awaitable[None]]


class House:
    """A gateway as far as joining goes."""

    def __init__(self, directory: Path) -> None:
        self.tls_directory = directory / "tls"
        self.catalog = Catalog(
            f"sqlite:///{directory / 'catalog.sqlite'}", open_box(None, directory / "secret.key")
        )
        self.authority = open_authority(self.tls_directory)
        self.enrolment = Enrolment(self.catalog, self.authority, timedelta(hours=24))
        self.tape = directory / "tape"
        self.recorder = Recorder(self.tape, segment_bytes=4 << 20, durability="process")
        self.engine = Engine(asyncio.get_running_loop().create_future, 1)
        self.listeners: list[Listener] = []
        self.tasks: list[asyncio.Task[None]] = []
        asyncio.get_running_loop().add_reader(self.engine.fileno(), self.engine.drain)

    def token(self, name: str = "east", lifetime: timedelta = timedelta(hours=1)) -> JoinToken:
        text = invite(self.catalog, self.tls_directory, name, actor="test", lifetime=lifetime).token.reveal()
        token = parse_join_token(text)
        assert token is not None
        return token

    def serve(self, config: TlsServer | None = None, converse: Serve | None = None) -> int:
        """A port where this conversation is led; by default, the gateway's."""
        identity = config or tls.load_tunnel(self.tls_directory, self.authority, [ENROL, TUNNEL])
        listener = self.engine.listen("127.0.0.1", 0)

        async def one(stream: Stream) -> None:
            await stream.start_tls_server(identity)
            await (converse(stream) if converse else enrol(stream, self.enrolment, self.recorder))

        async def accept() -> None:
            while True:
                self.tasks.append(asyncio.create_task(one(await listener.accept())))

        self.listeners.append(listener)
        self.tasks.append(asyncio.create_task(accept()))
        return listener.port

    async def join(self, token: JoinToken, port: int | None = None, name: str = "") -> Membership:
        port = self.serve() if port is None else port
        stream = await self.engine.connect_tcp("127.0.0.1", port, 0)
        return await joining.join(stream, f"127.0.0.1:{port}", token, "0.1.0", name)

    async def talk(self, port: int, *messages: Message, raw: bytes = b"") -> list[Message]:
        """What a stranger hears who says this."""
        stream = await self.engine.connect_tcp("127.0.0.1", port, 0)
        await stream.start_tls_client(TlsClient(roots=None, alpn=[ENROL]), None)
        heard = [await receive(stream)]
        for message in messages:
            await send(stream, message)
        if raw:
            await stream.write(raw)
        heard.append(await receive(stream))
        stream.abort()
        return heard

    def events(self, name: str) -> list[dict[str, Any]]:
        reader = _core.TapeReader(self.tape)
        found = [json.loads(frame[5]) for frame in reader.read() if frame[2] == _core.KIND_RECORDER]
        return [event for event in found if event["event"] == name]

    async def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self.engine.fileno())
        self.engine.close()
        self.recorder.close()
        self.catalog.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    await house.close()


async def test_a_token_becomes_a_membership(house: House) -> None:
    token = house.token()
    member = await house.join(token)
    assert (member.name, member.token) == ("east", token.id)
    assert member.authority.encode() == house.authority.pem
    held = house.catalog.connectors.get("east")
    assert held.certificate_ends == member.not_after
    half = timedelta(hours=12)
    assert half - timedelta(minutes=1) < member.renew_at - datetime.now(UTC) <= half
    (event,) = house.events("connector_enrolled")
    assert (event["connector"], event["token"]) == ("east", token.id)
    recorded = b"".join(path.read_bytes() for path in house.tape.glob("*.tape"))
    assert token.secret.encode() not in recorded and member.key.encode() not in recorded
    assert member.key not in repr(member)


async def test_the_certificate_opens_the_tunnel_and_proves_who_it_is(house: House) -> None:
    seen: list[str] = []

    async def admit(stream: Stream) -> None:
        assert stream.tls is not None
        seen.append(house.enrolment.admit(stream.tls.peer_certificate).connector)
        await stream.write(b"x")

    member = await house.join(house.token())
    stream = await house.engine.connect_tcp("127.0.0.1", house.serve(converse=admit), 0)
    await stream.start_tls_client(member.tls(), None)
    assert await stream.read_exactly(1) == b"x"
    stream.abort()
    assert seen == ["east"]


async def test_a_token_that_is_spent_late_or_for_another_is_refused_and_recorded(house: House) -> None:
    port = house.serve()
    good, late = house.token(), house.token("late", timedelta(seconds=-1))
    unknown = new_join_token(good.pin)
    tampered = JoinToken(good.id, good.secret[:-1] + ("0" if good.secret[-1] != "0" else "1"), good.pin)
    refused = [
        (late, "", "expired"),
        (good, "west", "another name"),
        (unknown, "", "no such join token"),
        (tampered, "", "no such join token"),
    ]
    for token, name, why in refused:
        with pytest.raises(ConnectorRefused, match=why):
            await house.join(token, port, name)
    await house.join(good, port, "east")
    with pytest.raises(ConnectorRefused, match="used before") as raised:
        await house.join(good, port)
    assert "rejoin" in str(raised.value.hint)
    events = house.events("connector_refused")
    assert [event["token"] for event in events] == [late.id, good.id, unknown.id, good.id, good.id]
    assert all(why in event["why"] for (_, _, why), event in zip(refused, events, strict=False))
    assert all(event["address"].startswith("127.0.0.1:") for event in events)
    assert len(house.events("connector_enrolled")) == 1


async def test_of_many_that_come_with_one_token_one_gets_in(house: House) -> None:
    token, port = house.token(), house.serve()
    answers = await asyncio.gather(*(house.join(token, port) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, Membership) for answer in answers) == 1
    assert sum(isinstance(answer, ConnectorRefused) for answer in answers) == 7
    assert len(house.events("connector_refused")) == 7


@pytest.mark.parametrize(
    "said",
    [
        (b"\0\0\0\5hello", "not a message"),
        (b"\xff\xff\xff\xff", "limit"),
        (b"\0\0\0\2{}", "not a message"),
    ],
)
async def test_garbage_is_refused_and_recorded(house: House, said: tuple[bytes, str]) -> None:
    heard = await house.talk(house.serve(), raw=said[0])
    assert isinstance(heard[1], Refused) and heard[1].code == "message" and said[1] in heard[1].text
    (event,) = house.events("connector_refused")
    assert said[1] in event["why"]


async def test_out_of_turn_and_with_a_request_that_is_none(house: House) -> None:
    token, port = house.token(), house.serve()
    heard = await house.talk(port, Hello(1, "0.1.0", []))
    assert isinstance(heard[0], Authority) and isinstance(heard[1], Refused) and heard[1].code == "message"
    heard = await house.talk(port, Join(token.id, token.secret, "no request", "0.1.0"))
    assert isinstance(heard[1], Refused) and "cannot be read" in heard[1].text
    await house.join(token, port)  # it was not used up


async def test_a_stranger_in_between_does_not_hear_the_secret(house: House, tmp_path: Path) -> None:
    """He has the real authority's certificate, which is public, and TLS certificates of all kinds."""
    heard: list[Message] = []
    authority = house.authority.pem.decode()

    async def listen(stream: Stream) -> None:
        await send(stream, Authority(authority))
        heard.append(await receive(stream))

    other = open_authority(tmp_path / "other")
    forged = tls.load_tunnel(tmp_path / "other", other, [ENROL])
    member = await house.join(house.token())
    connectors = TlsServer(member.certificate.encode(), member.key.encode(), [ENROL])
    certificate, key = tls.own_certificate(house.tls_directory, [])
    clients = TlsServer(certificate.read_bytes(), key.read_bytes(), [ENROL])
    token = house.token("west")
    for identity in (forged, connectors, clients):
        with pytest.raises(ConnectorRefused, match="is not the gateway"):
            await house.join(token, house.serve(identity, listen))
    authority = other.pem.decode()
    with pytest.raises(ConnectorRefused, match="is not the gateway"):
        await house.join(token, house.serve(forged, listen))
    authority = "garbage"
    with pytest.raises(ConnectorRefused, match="is not the gateway"):
        await house.join(token, house.serve(None, listen))
    assert heard == []


async def test_a_token_that_pins_another_gateway_is_not_said(house: House, tmp_path: Path) -> None:
    token, port = house.token(), house.serve()
    pin = open_authority(tmp_path / "other").pin
    with pytest.raises(ConnectorRefused, match="is not the gateway"):
        await house.join(JoinToken(token.id, token.secret, pin), port)
    await house.join(token, port)


async def test_something_else_at_the_address_is_explained(house: House) -> None:
    async def nonsense(stream: Stream) -> None:
        await send(stream, Hello(1, "x", []))
        await receive(stream)

    async def silence(stream: Stream) -> None:
        await stream.close()

    token = house.token()
    with pytest.raises(UnavailableError, match="no gateway of this version"):
        await house.join(token, house.serve(None, nonsense))
    with pytest.raises(UnavailableError, match="failed"):
        await house.join(token, house.serve(None, silence))
    plain = tls.load_tunnel(house.tls_directory, house.authority, ["something-else/1"])
    with pytest.raises(UnavailableError, match="failed"):
        await house.join(token, house.serve(plain))


async def test_what_cannot_be_recorded_gets_no_certificate(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(event: dict[str, Any]) -> None:
        raise _core.TapeError("disk full")

    monkeypatch.setattr(house.recorder, "record", full)
    with pytest.raises(ConnectorRefused, match="its log says why"):
        await house.join(house.token())


async def test_a_renewal_brings_a_key_and_a_certificate_of_its_own(house: House) -> None:
    member = await house.join(house.token())
    held = house.enrolment.connector_of(_serial(member))
    key, request = new_request()
    _, pem = house.enrolment.renew(held, request)
    renewed = member.renewed(key, pem.decode(), datetime.now(UTC))
    assert renewed.key != member.key and renewed.not_after >= member.not_after
    assert house.enrolment.connector_of(_serial(renewed)).connector == "east"


def _serial(member: Membership) -> str:
    from cryptography import x509

    return f"{x509.load_pem_x509_certificate(member.certificate.encode()).serial_number:x}"
