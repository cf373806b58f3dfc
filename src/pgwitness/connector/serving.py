"""One data connection: wait for a dial, reach the database as it says, then only carry bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from pgwitness._core import Engine, Relay, Stream
from pgwitness.catalog.models import Connection, Secret
from pgwitness.connector.allowed import Allowed
from pgwitness.connector.credentials import Credentials
from pgwitness.errors import ConnectorRefused, WitnessError
from pgwitness.tunnel import streams
from pgwitness.upstream.dialling import Dialler, Upstream
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.upstream.login import ServerRefusedError, StartupRefusedError
from pgwitness.wire.startup import printable
from pgwitness.wire.tunnel import Data, Dial, Encryption, Failed, Opened, Refused, expect

log = structlog.get_logger("pgwitness.connector")

TEXT_CHARACTERS: Final = 2000
_ERROR_HEADER: Final = 5


@dataclass(frozen=True, slots=True)
class Session:
    """One that is open: what ends it, and what stops its statement."""

    copy: Relay
    cancel: Callable[[], Awaitable[None]]


class Server:
    """What all data connections of a connector share."""

    def __init__(self, engine: Engine, dialler: Dialler, allowed: Allowed, credentials: Credentials) -> None:
        self._engine, self._dialler = engine, dialler
        self._allowed, self._credentials = allowed, credentials

    async def wait(self, stream: Stream, ticket: str) -> Dial:
        """Present the ticket, and stay warm until there is something to do. Raises StreamError,
        ConnectorRefused, MalformedTunnelMessageError."""
        await streams.send(stream, Data(ticket))
        message = await streams.receive(stream)
        if isinstance(message, Refused):
            raise ConnectorRefused(f"the gateway refused a data connection: {message.text}")
        return expect(message, Dial)

    async def open(self, stream: Stream, dial: Dial) -> Session | None:
        """The session, its bytes already on their way; None if the gateway was told why there is none.
        Raises StreamError, with nothing left open."""
        try:
            upstream = await self._reach(stream, dial)
        except Exception as error:
            failed = _failed(error)
            log.warning("dial_failed", dial=dial.dial, connection=dial.connection, why=failed.text)
            await streams.send(stream, failed)
            await stream.close()
            return None
        try:
            await streams.send(stream, _opened(upstream))
            await streams.allow_pauses(stream)
            copy = self._engine.copy(stream, upstream.stream)
        except BaseException:
            upstream.stream.abort()
            raise
        return Session(copy, upstream.cancel)

    async def _reach(self, stream: Stream, dial: Dial) -> Upstream:
        permitted = [(host, port) for host, port in dial.hosts if self._allowed.permits(host, port)]
        if not permitted:
            asked = ", ".join(f"{host}:{port}" for host, port in dial.hosts)
            raise NotAllowedError(f"--allow does not name {asked}")
        parameters = {_text(name): _text(value) for name, value in dial.parameters}
        connection = _connection(dial, permitted, self._password(dial))
        return await self._dialler.open(connection, dial.database, dial.minor, parameters, stream.worker)

    def _password(self, dial: Dial) -> Secret | None:
        if dial.password is not None:
            return Secret(_text(dial.password))
        return self._credentials.password(dial.connection)


class NotAllowedError(UpstreamError):
    """This connector was not told to dial any of these hosts."""


def _connection(dial: Dial, hosts: list[tuple[str, int]], password: Secret | None) -> Connection:
    """As the gateway has it, with the hosts that may be dialled."""
    key = dial.sslkey
    return Connection(
        id="",
        name=dial.connection,
        host=",".join(host for host, _ in hosts),
        port=",".join(str(port) for _, port in hosts),
        database=dial.database,
        user=dial.user,
        password=password,
        sslmode=dial.sslmode,
        sslrootcert=dial.sslrootcert,
        sslcert=dial.sslcert,
        sslkey=Secret(_text(key)) if key is not None else None,
        connect_timeout=None if dial.timeout is None else max(1, round(dial.timeout)),
        created_at=datetime.now(UTC),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _opened(upstream: Upstream) -> Opened:
    greeting, tls = upstream.greeting, upstream.tls
    return Opened(
        address=upstream.address,
        tls=Encryption(tls["version"], tls["cipher"]) if tls is not None else None,
        pid=greeting.pid,
        minor=greeting.protocol_minor,
        status=greeting.status,
        passed_on=greeting.passed_on,
    )


def _failed(error: Exception) -> Failed:
    """What the gateway is told: it says no more to the client than of a dial of its own."""
    if isinstance(error, StartupRefusedError):
        said = error.response[_ERROR_HEADER:]
        return Failed("startup", _short(error), sqlstate=error.sqlstate, response=said)
    cause = error.last or error if isinstance(error, UpstreamError) else error
    if isinstance(cause, ServerRefusedError):
        return Failed("refused", _short(cause.error.message), sqlstate=cause.error.sqlstate)
    if isinstance(cause, NotAllowedError):
        return Failed("refused_host", _short(error))
    if isinstance(error, UpstreamError | WitnessError):
        return Failed("unreachable", _short(error))
    log.error("dial_crashed", exc_info=error)
    return Failed("unreachable", "internal error of the connector; its log tells more")


def _short(text: object) -> str:
    return printable(str(text))[:TEXT_CHARACTERS]
