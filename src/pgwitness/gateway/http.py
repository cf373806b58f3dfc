"""The API inside the gateway's loop: on a TCP port for who has a token, on a Unix socket for the same user.

The socket needs no token: its file in the state directory is 0600 before anybody can connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn

from pgwitness.errors import UnavailableError

log = structlog.get_logger("pgwitness.http")

GRACE_SECONDS: Final = 2


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the gateway's."""
        yield


class HttpServer:
    """``start``, then ``stop``. ``app`` asks for tokens, ``local_app`` trusts whoever can open the socket.

    ``proxies``: who is believed where a request really comes from. By default nobody, since any process of
    this machine could say anything, and it would be in the audit.
    """

    def __init__(
        self,
        app: Any,
        local_app: Any,
        host: str,
        port: int,
        socket_path: Path,
        proxies: Sequence[str] = (),
    ) -> None:
        self._apps = (app, local_app)
        self._host, self._port, self._path = host, port, socket_path
        self._proxies = list(proxies)
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []
        self.url = ""

    async def start(self) -> None:
        """Raises UnavailableError."""
        sockets = (self._bind_tcp(), self._bind_unix())
        host, port = sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for app, bound in zip(self._apps, sockets, strict=True):
            server = _Server(
                uvicorn.Config(
                    app,
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    proxy_headers=bool(self._proxies),
                    forwarded_allow_ips=self._proxies,
                    timeout_graceful_shutdown=GRACE_SECONDS,
                )
            )
            self._servers.append((server, asyncio.create_task(server.serve([bound]))))
        for server, task in self._servers:
            while not server.started:
                if task.done():
                    task.result()
                    raise UnavailableError("the API did not start; the log tells why")
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        for app in self._apps:
            app.state.stopping = True  # what streams for ever ends by itself
        for server, _ in self._servers:
            server.should_exit = True
        tasks = [task for _, task in self._servers]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS + 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _bind_tcp(self) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = socket.socket(family, kind, protocol)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}",
                hint="--http-port chooses another port; 0 picks a free one",
            ) from None
        bound.listen(128)
        return bound

    def _bind_unix(self) -> socket.socket:
        """Behind the state directory's lock, so a socket that is there is a dead gateway's."""
        self._path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(str(self._path))
        except OSError as error:
            bound.close()
            raise UnavailableError(
                f"cannot make the socket {self._path}: {error}",
                hint="a socket's path may have 107 bytes; --state chooses a shorter one",
            ) from None
        self._path.chmod(0o600)
        bound.listen(128)
        return bound
