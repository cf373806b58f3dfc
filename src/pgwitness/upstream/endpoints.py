"""Reaching PostgreSQL as libpq does: hosts in order, every address of a name, encryption by sslmode.

Source: fe-connect.c, PQconnectPoll. ``sslmode`` decides which kinds of connection are tried, and in which
order:

| sslmode | first | then, if that is refused before log-in is done |
|---|---|---|
| disable | plaintext | |
| allow | plaintext | TLS |
| prefer | TLS, or plaintext if the server has none | plaintext |
| require, verify-ca, verify-full | TLS | |

A root certificate makes every mode verify the chain; ``verify-full`` also the host name. A Unix socket has no
TLS.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pgwitness._core import Engine, Stream, StreamError, TlsClient
from pgwitness.catalog.models import Connection
from pgwitness.wire import codec, tls_names
from pgwitness.wire.startup import ALPN

_TLS_FIRST: Final = {
    "disable": (False,),
    "allow": (False, True),
    "prefer": (True, False),
    "require": (True,),
    "verify-ca": (True,),
    "verify-full": (True,),
}
_CACHED_CONFIGURATIONS: Final = 64


class UpstreamError(Exception):
    """The upstream cannot be used. The text is for the log: it may name addresses, never secrets."""

    next_host = True
    """Whether the connection's next host is worth a try."""
    retry_encryption = False
    """Whether the server may say yes to the other kind of connection."""
    last: UpstreamError | None = None
    """Of a failure at several addresses: what happened at the last one."""
    trouble: str | None = None
    """What a client may read of it, where that is more than usual."""


class MisconfiguredError(UpstreamError):
    """The registered connection itself is wrong: no host will do."""

    next_host = False


class TlsFailedError(UpstreamError):
    """No TLS, or not with the one it should be."""

    retry_encryption = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one upstream is and how it is reached: enough to dial it again for a cancel request."""

    host: str
    """As registered: what a certificate must name."""
    address: str
    """IP address, or path of a Unix socket."""
    port: int
    tls: TlsClient | None
    verify_name: bool

    @property
    def is_unix(self) -> bool:
        return self.address.startswith(("/", "@"))

    def without_tls(self) -> Endpoint:
        return Endpoint(self.host, self.address, self.port, None, False)

    def __str__(self) -> str:
        if self.is_unix:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


async def open_stream(engine: Engine, endpoint: Endpoint, worker: int, *, plaintext_too: bool) -> Stream:
    """A stream ready for a start-up packet. ``plaintext_too``: go on without TLS if the server has none.

    Raises UpstreamError. Cancelled, it leaves nothing open.
    """
    try:
        if endpoint.is_unix:
            path = _socket_path(endpoint.address)
            stream = await engine.connect_unix(path, worker)
        else:
            stream = await engine.connect_tcp(endpoint.address, endpoint.port, worker)
    except StreamError as error:
        raise UpstreamError(str(error)) from error
    try:
        if endpoint.tls is not None:
            await _start_tls(stream, endpoint, endpoint.tls, plaintext_too)
    except BaseException:
        stream.abort()
        raise
    return stream


def _socket_path(address: str) -> str:
    """``@`` is libpq's sign for one of Linux's abstract sockets, whose names begin with a zero byte."""
    return "\0" + address[1:] if address.startswith("@") else address


async def _start_tls(stream: Stream, endpoint: Endpoint, config: TlsClient, plaintext_too: bool) -> None:
    try:
        await stream.write(codec.ssl_request())
        answer = await stream.read_exactly(1)
        if answer == b"S":
            await stream.start_tls_client(config, endpoint.host)
    except StreamError as error:
        raise TlsFailedError(str(error)) from error
    if answer == b"N" and plaintext_too:
        return
    if answer != b"S":
        raise TlsFailedError("the server does not support TLS, but sslmode requires it")
    if endpoint.verify_name:
        certificate = stream.tls.peer_certificate if stream.tls else None
        try:
            tls_names.check_host_name(certificate or b"", endpoint.host)
        except tls_names.CertificateNameError as error:
            raise TlsFailedError(str(error)) from error


async def resolve(host: str, port: int, executor: Executor) -> list[str]:
    """Addresses of a host in the resolver's order; the socket's path if ``host`` is a directory. Raises
    UpstreamError.
    """
    if host.startswith(("/", "@")):
        return [f"{host}/.s.PGSQL.{port}"]
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    try:
        loop = asyncio.get_running_loop()
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await loop.run_in_executor(executor, look_up)
    except OSError as error:
        raise UpstreamError(f"the name cannot be resolved: {error.strerror or error}") from error
    except UnicodeError:
        raise UpstreamError("that is not a host name") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class TlsConfigurations:
    """TLS by what is registered: parsing certificates costs, so each set of them is parsed once."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], TlsClient] = {}

    def client(self, connection: Connection) -> TlsClient:
        """Raises MisconfiguredError."""
        key = (
            connection.name,
            connection.sslmode,
            connection.sslrootcert,
            connection.sslcert,
            connection.sslkey,
        )
        config = self._made.get(key)
        if config is None:
            if len(self._made) >= _CACHED_CONFIGURATIONS:
                self._made.clear()
            config = self._made[key] = self._make(connection)
        return config

    @staticmethod
    def _make(connection: Connection) -> TlsClient:
        roots = connection.sslrootcert
        if roots is None and connection.sslmode in ("verify-ca", "verify-full"):
            raise MisconfiguredError(
                f"sslmode {connection.sslmode} needs sslrootcert, and none is registered"
            )
        if roots == b"system":
            roots = _system_roots()
        if (connection.sslcert is None) != (connection.sslkey is None):
            raise MisconfiguredError("sslcert and sslkey belong together, and one of them is missing")
        try:
            return TlsClient(
                roots=roots,
                certificate_chain=connection.sslcert,
                private_key=connection.sslkey.reveal().encode() if connection.sslkey is not None else None,
                alpn=[ALPN],
            )
        except ValueError as error:
            raise MisconfiguredError(f"the registered certificates cannot be used: {error}") from None


def _system_roots() -> bytes:
    paths = ssl.get_default_verify_paths()
    try:
        return Path(paths.cafile or paths.openssl_cafile).read_bytes()
    except OSError as error:
        raise MisconfiguredError(f"the system's certificates cannot be read: {error.strerror}") from None


def endpoints(
    connection: Connection, host: str, address: str, port: int, configurations: TlsConfigurations
) -> list[Endpoint]:
    """The kinds of connection to try at one address, in order. Raises MisconfiguredError."""
    if address.startswith(("/", "@")):
        return [Endpoint(host, address, port, None, False)]
    verify_name = connection.sslmode == "verify-full"
    return [
        Endpoint(host, address, port, configurations.client(connection) if encrypted else None, verify_name)
        for encrypted in _TLS_FIRST[connection.sslmode]
    ]
