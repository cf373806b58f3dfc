"""An HTTP transport without HTTP: a request goes straight to an ASGI application in this process.

httpx has one of its own, which collects a whole answer before it gives it back. Here the answer
streams, and the application waits while nobody reads, so that a long listing takes as little memory as
over a socket.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Scope

_CHUNKS_AHEAD = 8


class InProcessTransport(httpx.BaseTransport):
    """Runs each request on a thread with an event loop of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises what the application raises before it begins to answer."""
        exchange = _Exchange(self._app, _scope(request), request.read())
        start = exchange.start()
        return httpx.Response(start["status"], headers=start["headers"], stream=exchange)


class _Exchange(httpx.SyncByteStream):
    def __init__(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        self._messages: queue.Queue[Message | BaseException | None] = queue.Queue(_CHUNKS_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> Message:
        self._thread.start()
        message = self._next()
        assert message is not None
        return message

    def __iter__(self) -> Iterator[bytes]:
        while (message := self._next()) is not None:
            yield message.get("body", b"")

    def close(self) -> None:
        """The reader has had enough: the application's next ``send`` fails, as on a closed socket."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._messages.get(timeout=0.05)
            except queue.Empty:
                continue

    def _next(self) -> Message | None:
        message = self._messages.get()
        if isinstance(message, BaseException):
            raise message
        return message

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
            end: BaseException | None = None
        except BaseException as error:
            end = error
        await asyncio.to_thread(self._messages.put, None if self._closed.is_set() else end)

    async def _receive(self) -> Message:
        if self._body is None:
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body}

    async def _send(self, message: Message) -> None:
        if self._closed.is_set():
            raise OSError("the reader is gone")
        try:
            self._messages.put_nowait(message)
        except queue.Full:
            await asyncio.to_thread(self._messages.put, message)


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (request.url.host, request.url.port),
        "client": None,
    }
