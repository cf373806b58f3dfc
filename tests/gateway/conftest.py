"""A gateway in the test's own event loop, on the real core, so that a test can look inside."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from rawclient import RawClient

from pgwitness import _core
from pgwitness.catalog.models import Secret
from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog
from pgwitness.config import Settings
from pgwitness.gateway.server import Gateway
from pgwitness.identity import tokens
from pgwitness.identity.directory import Directory
from support.servers import PASSWORD, Server


class Running:
    """A started gateway, and what an administrator and a client do with it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.state.mkdir(exist_ok=True)
        self.catalog = Catalog(settings.catalog_location, open_box(None, settings.key_file))
        self.directory = Directory(self.catalog)
        self.gateway = Gateway(settings, self.directory, indexing=False)
        self.tokens: dict[str, str] = {}

    @property
    def port(self) -> int:
        return self.gateway.listener.port

    def add_connection(self, name: str, server: Server | None = None, **fields: Any) -> None:
        given = {
            "host": "127.0.0.1",
            "port": str(server.port) if server else "1",
            "database": "shop",
            "user": "app",
            "password": Secret(PASSWORD),
            "sslmode": "disable",
            **fields,
        }
        self.catalog.connections.add(name, given, actor="test")

    def add_identity(self, name: str, *connections: str) -> str:
        """The id of its first token."""
        self.catalog.identities.add(name, actor="test", connections=connections)
        return self.issue(name)

    def issue(self, name: str) -> str:
        """One more token, from now on the one of ``dsn``; its id."""
        token, secret = tokens.issue(self.catalog, name, actor="test")
        self.tokens[name] = secret.reveal()
        return token.id

    def dsn(self, identity: str, database: str, **parameters: str) -> str:
        given = {"sslmode": "disable", "gssencmode": "disable", "connect_timeout": "10", **parameters}
        query = "&".join(f"{name}={quote(value)}" for name, value in given.items())
        token = self.tokens[identity]
        return f"postgresql://{identity}:{token}@127.0.0.1:{self.port}/{quote(database, safe='')}?{query}"

    async def connect(self, identity: str, database: str, **parameters: str) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self.dsn(identity, database, **parameters), autocommit=True
        )

    def frames(self, *kinds: int) -> list[_core.Frame]:
        """All frames of the tape, or those of these kinds."""
        reader = _core.TapeReader(self.settings.tape_directory)
        found: list[_core.Frame] = []
        while batch := reader.read():
            found += [frame for frame in batch if not kinds or frame[2] in kinds]
        return found

    def events(self, event: str) -> list[dict[str, Any]]:
        """Events of this name, the recorder's and the sessions'."""
        frames = self.frames(_core.KIND_RECORDER, _core.KIND_EVENT)
        return [data for frame in frames if (data := json.loads(frame[5]))["event"] == event]

    def headers(self) -> list[dict[str, Any]]:
        return [json.loads(frame[5]) for frame in self.frames(_core.KIND_SESSION_STARTED)]

    def ends(self) -> dict[str, dict[str, Any]]:
        """What each ended session ended with."""
        frames = self.frames(_core.KIND_SESSION_ENDED)
        return {str(uuid.UUID(bytes=frame[0])): json.loads(frame[5]) for frame in frames}

    def everything(self) -> bytes:
        """All bytes in all files of the state directory that hold the record."""
        return b"".join(path.read_bytes() for path in self.settings.tape_directory.glob("*.tape"))


@pytest.fixture
async def dial() -> AsyncIterator[Callable[[Running], Any]]:
    """``await dial(running)``: a RawClient, closed after the test."""
    opened: list[RawClient] = []

    async def dial(running: Running) -> RawClient:
        opened.append(await RawClient.open(running.port))
        return opened[-1]

    yield dial
    for client in opened:
        await client.close()


@pytest.fixture
async def scripted_server() -> AsyncIterator[Callable[..., Any]]:
    """``port = await scripted_server(script)``: answers what it gets first with ``script``, then closes."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[None]] = set()

    async def start(script: bytes, *, close_after: float = 0.2) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())  # type: ignore[arg-type]
            try:
                await reader.read(1000)
                writer.write(script)
                await asyncio.sleep(close_after)
            finally:
                writer.transport.abort()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


MakeGateway = Callable[..., Any]


@pytest.fixture
async def make_gateway(state: Path) -> AsyncIterator[MakeGateway]:
    """``async with make_gateway(limits={...}) as running``; the state directory stays between two of them."""

    @asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[Running]:
        given = {
            "port": 0,
            "tunnel_port": 0,
            "limits": {"drain_seconds": 2},
            "tape": {"segment_bytes": 4 << 20},
            **settings,
        }
        running = Running(Settings(state=state, **given))
        await running.gateway.start()
        try:
            yield running
        finally:
            await running.gateway.stop()
            running.directory.close()
            running.catalog.close()

    yield make


@pytest.fixture
async def running(make_gateway: MakeGateway, server18: Server) -> AsyncIterator[Running]:
    """A gateway in front of PostgreSQL 18: identity ``agent`` may use connection ``shop``."""
    async with make_gateway() as gateway:
        gateway.add_connection("shop", server18)
        gateway.add_identity("agent", "shop")
        yield gateway
