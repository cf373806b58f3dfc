import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from pgwitness.api.app import create_app
from pgwitness.api.client import Client, connect, path
from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services
from pgwitness.config import Settings
from pgwitness.errors import (
    AuthenticationFailed,
    ConflictError,
    InvalidError,
    NotFoundError,
    PermissionDenied,
    UnavailableError,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def serve(app: object, bound: socket.socket) -> tuple[uvicorn.Server, threading.Thread]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    while not server.started:
        pass
    return server, thread


@pytest.fixture
def by_socket(services: Services, settings: Settings) -> Iterator[Client]:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(settings.admin_socket))
    bound.listen()
    server, thread = serve(create_app(services, local=True), bound)
    with connect(settings) as client:
        yield client
    server.should_exit = True
    thread.join()
    bound.close()


@pytest.fixture
def by_address(services: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with connect(settings) as here:
        here.post("/identities", {"name": "ops"})
        token = here.post("/tokens", {"identity": "ops", "role": "admin"})["token"]
    bound = socket.create_server(("127.0.0.1", 0))
    server, thread = serve(create_app(services), bound)
    monkeypatch.setenv("PGWITNESS_URL", f"http://127.0.0.1:{bound.getsockname()[1]}/")
    monkeypatch.setenv("PGWITNESS_TOKEN", token)
    with connect(settings) as client:
        yield client
    server.should_exit = True
    thread.join()
    bound.close()


@pytest.fixture
def in_process(settings: Settings) -> Iterator[Client]:
    with connect(settings, new=True) as client:
        yield client


@pytest.fixture(params=["in_process", "by_socket", "by_address"])
def client(request: pytest.FixtureRequest) -> Client:
    client: Client = request.getfixturevalue(request.param)
    return client


def test_one_code_path_over_every_transport(client: Client) -> None:
    client.post("/identities", {"name": "agent"})
    assert [each["name"] for each in client.get("/identities") if each["name"] != "ops"] == ["agent"]
    assert client.get(path("identities", "agent"))["kind"] == "service"
    with pytest.raises(ConflictError, match="already") as raised:
        client.post("/identities", {"name": "agent"})
    assert raised.value.hint == "pgwitness identity show agent"
    with pytest.raises(NotFoundError):
        client.get(path("identities", "a/b"))
    with pytest.raises(InvalidError, match="connections"):
        client.post("/identities", {"name": "x", "connections": 7})
    assert client.get("/tokens", identity=None) is not None
    with pytest.raises(NotFoundError, match="session"):
        list(client.lines("/sessions/0199/replay"))
    assert list(client.lines("/statements/stream")) == []


def test_where_it_goes(in_process: Client, settings: Settings) -> None:
    assert not in_process.remote and str(settings.state) in in_process.where


def test_a_gateway_that_serves_is_asked(by_socket: Client) -> None:
    assert by_socket.remote


def test_a_socket_that_a_dead_gateway_left_is_passed_by(settings: Settings) -> None:
    settings.prepare_state()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(settings.admin_socket))
    with connect(settings, new=True) as client:
        assert not client.remote and client.get("/identities") == []


def test_a_directory_of_another_account_is_explained(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)  # the tests may run as root
    with pytest.raises(UnavailableError, match="Permission denied") as raised:
        connect(settings)
    assert "account of the gateway" in str(raised.value.hint)


def test_a_directory_too_deep_for_a_socket_is_read_all_the_same(tmp_path: Path) -> None:
    with connect(Settings(state=tmp_path / ("x" * 100)), new=True) as client:
        assert not client.remote and client.get("/identities") == []


def test_a_wrong_address_or_token_is_explained(
    by_address: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGWITNESS_TOKEN", "pgw_wrong")
    with connect(settings) as client, pytest.raises(AuthenticationFailed):
        client.get("/identities")
    token = by_address.post("/tokens", {"identity": "ops"})["token"]
    monkeypatch.setenv("PGWITNESS_TOKEN", token)
    with connect(settings) as client, pytest.raises(PermissionDenied):
        client.get("/identities")
    url = os.environ["PGWITNESS_URL"]
    monkeypatch.setenv("PGWITNESS_URL", "http://127.0.0.1:1")
    with connect(settings) as client, pytest.raises(UnavailableError, match="cannot reach"):
        client.get("/identities")
    monkeypatch.setenv("PGWITNESS_URL", "https" + url.removeprefix("http"))
    with connect(settings) as client, pytest.raises(UnavailableError) as raised:
        client.get("/identities")
    assert "without TLS" in str(raised.value.hint) and "ssh -L" in str(raised.value.hint)
    monkeypatch.delenv("PGWITNESS_TOKEN")
    with pytest.raises(InvalidError, match="PGWITNESS_TOKEN is not"):
        connect(settings)
    monkeypatch.setenv("PGWITNESS_URL", "gateway:7480")
    with pytest.raises(InvalidError, match="not an address"):
        connect(settings)


def test_an_address_that_is_no_pgwitness_is_explained(settings: Settings) -> None:
    http = httpx.Client(transport=InProcessTransport(PlainTextResponse("no", 500)), base_url="http://x")
    client = Client(http, where="there", remote=True, close=lambda: None)
    with pytest.raises(Exception, match="HTTP status 500"):
        client.get("/identities")


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    made.clear()

    async def lines() -> object:
        while True:
            made.append(1)
            yield b'{"a":1}\n' * 1000

    await StreamingResponse(lines())(scope, receive, send)  # type: ignore[arg-type]


made: list[int] = []


def test_an_endless_answer_waits_for_its_reader_and_stops_with_it() -> None:
    http = httpx.Client(transport=InProcessTransport(endless), base_url="http://x")
    client = Client(http, where="there", remote=False, close=lambda: None)
    lines = client.lines("/endless")
    assert [next(lines) for _ in range(3)] == [b'{"a":1}'] * 3
    before = len(made)
    assert before < 20
    lines.close()  # type: ignore[attr-defined]
    after = len(made)
    assert after <= before + 10
    assert threading.active_count() < 20
    assert len(made) == after


async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'{"a":1}\n{"a"', "more_body": True})
    raise ValueError("broken")


def test_what_the_application_raises_is_not_swallowed() -> None:
    http = httpx.Client(transport=InProcessTransport(breaks), base_url="http://x")
    client = Client(http, where="there", remote=False, close=lambda: None)
    lines = client.lines("/")
    assert next(lines) == b'{"a":1}'
    with pytest.raises(ValueError, match="broken"):
        next(lines)


async def half(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse('{"a":1}\n{"a"')(scope, receive, send)


def test_half_a_line_is_no_answer() -> None:
    http = httpx.Client(transport=InProcessTransport(half), base_url="http://x")
    client = Client(http, where="there", remote=False, close=lambda: None)
    with pytest.raises(UnavailableError, match="broke off"):
        list(client.lines("/"))


def test_paths_hold_anything(tmp_path: Path) -> None:
    assert path("sessions", "a/b", "ü ?") == "/sessions/a%2Fb/%C3%BC%20%3F"
    for wrong in ("", " ", ".", ".."):
        with pytest.raises(InvalidError, match="not a name"):
            path("connections", wrong)
