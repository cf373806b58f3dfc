"""One upstream for one session: the connection's hosts and addresses in order, until one is logged in to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from pgwitness._core import Engine, Stream
from pgwitness.catalog.models import Connection
from pgwitness.upstream.endpoints import (
    Endpoint,
    TlsConfigurations,
    UpstreamError,
    endpoints,
    open_stream,
    resolve,
)
from pgwitness.upstream.login import Greeting, KeyCache, UpstreamLogin
from pgwitness.wire import codec

CANCEL_SECONDS: Final = 10.0
_THREADS: Final = 16
_KEY_THREADS: Final = 4


@dataclass(slots=True)
class Upstream:
    """A server that is ready for a query."""

    stream: Stream
    greeting: Greeting
    address: str
    tls: dict[str, str] | None
    """Version and cipher of the way to the server."""
    cancel: Callable[[], Awaitable[None]]
    """Ask the server to stop what the session does; returns when it took notice. Raises UpstreamError."""
    connector: str | None = None
    """Who dialled it; None: we did."""
    lease: int = 0
    """Which time online of that connector it came through; 0: none."""
    leaving: Callable[[], bool] = lambda: False
    """Whether that connector waits for this to end, so that it can stop."""
    lost: Callable[[], str | None] = lambda: None
    """Why that time online is over, once it is."""


class Dialler:
    """Opens upstreams; keeps TLS configurations and SCRAM keys between sessions."""

    def __init__(self, engine: Engine, default_timeout: float) -> None:
        self._engine = engine
        self._default_timeout = default_timeout
        self._configurations = TlsConfigurations()
        # Of their own: a hanging resolver must take neither the threads in which clients are authenticated,
        # nor those in which other connections' keys are derived.
        self._executor = ThreadPoolExecutor(_THREADS, "dial")
        self._deriving = ThreadPoolExecutor(_KEY_THREADS, "keys")
        self._keys = KeyCache(self._deriving)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._deriving.shutdown(wait=False, cancel_futures=True)

    async def open(
        self,
        connection: Connection,
        database: str,
        minor: int,
        parameters: dict[str, str],
        worker: int,
        address: str | None = None,
    ) -> Upstream:
        """``parameters`` are the client's; user and database are replaced by what is registered. ``address``
        is dialled instead of what the host's name stands for.

        Raises UpstreamError that tells what went wrong at every address, or StartupRefusedError. Each address
        has the timeout to itself, as in libpq.
        """
        sent = {name: value for name, value in parameters.items() if not name.startswith("_pq_.")}
        sent |= {"user": connection.user, "database": database}
        seconds = connection.connect_timeout or self._default_timeout or None
        problems: list[str] = []
        last: UpstreamError | None = None
        for host, port in connection.addresses:
            found = [address] if address else await self._resolve(host, port, seconds, problems)
            for each in found:
                try:
                    kinds = endpoints(connection, host, each, port, self._configurations)
                    async with asyncio.timeout(seconds):
                        return await self._first_accepted(connection, kinds, minor, sent, worker)
                except TimeoutError:
                    problems.append(f"{_where(each, port)}: no answer within {seconds:g} seconds")
                except UpstreamError as error:
                    problems.append(f"{_where(each, port)}: {error}")
                    last = error
                    if not error.next_host:
                        raise _failure(problems, last) from error
        raise _failure(problems, last)

    async def _first_accepted(
        self,
        connection: Connection,
        kinds: list[Endpoint],
        minor: int,
        parameters: dict[str, str],
        worker: int,
    ) -> Upstream:
        for endpoint in kinds[:-1]:
            try:
                return await self._log_in(connection, endpoint, minor, parameters, worker)
            except UpstreamError as error:
                if not error.retry_encryption:
                    raise
        return await self._log_in(connection, kinds[-1], minor, parameters, worker)

    async def _log_in(
        self, connection: Connection, endpoint: Endpoint, minor: int, parameters: dict[str, str], worker: int
    ) -> Upstream:
        may_lack_tls = connection.sslmode in ("allow", "prefer")
        stream = await open_stream(self._engine, endpoint, worker, plaintext_too=may_lack_tls)
        login = UpstreamLogin(stream, connection.user, connection.password, self._keys)
        try:
            return self._ready(stream, endpoint, await login.run(minor, parameters))
        except UpstreamError as error:
            if endpoint.tls is not None and stream.tls is None:
                error.retry_encryption = False  # it was plaintext already
            stream.abort()
            raise
        except BaseException:
            stream.abort()
            raise

    def _ready(self, stream: Stream, endpoint: Endpoint, greeting: Greeting) -> Upstream:
        tls = stream.tls
        # A cancel request is encrypted if its session is.
        target = endpoint if tls is not None else endpoint.without_tls()
        return Upstream(
            stream,
            greeting,
            address=str(endpoint),
            tls={"version": tls.version, "cipher": tls.cipher} if tls is not None else None,
            cancel=partial(self._cancel, target, greeting.pid, greeting.key, stream.worker),
        )

    async def _cancel(self, endpoint: Endpoint, pid: int, key: bytes, worker: int) -> None:
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                stream = await open_stream(self._engine, endpoint, worker, plaintext_too=False)
                try:
                    await stream.write(codec.cancel_request(pid, key))
                    await stream.read_exactly(1)  # the server answers by closing
                except OSError:
                    pass
                finally:
                    stream.abort()
        except TimeoutError:
            raise UpstreamError(f"{endpoint}: no answer to the cancel request") from None

    async def _resolve(self, host: str, port: int, seconds: float | None, problems: list[str]) -> list[str]:
        """Addresses to try, in order; none if the name cannot be resolved, which is a problem."""
        try:
            async with asyncio.timeout(seconds):
                return await resolve(host, port, self._executor)
        except TimeoutError:
            problems.append(f"{host}: no answer of the resolver within {seconds:g} seconds")
        except UpstreamError as error:
            problems.append(f"{host}: {error}")
        return []


def _where(address: str, port: int) -> str:
    """An address as it was dialled; a socket's path names its port already."""
    if address.startswith(("/", "@")):
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _failure(problems: list[str], last: UpstreamError | None) -> UpstreamError:
    failure = UpstreamError("; ".join(problems))
    failure.last = last
    return failure
