"""Receivers of what sinks send: an HTTP server, syslog servers. Each may be slow, refuse, go away and come
back on the same port."""

import contextlib
import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Posted:
    path: str
    headers: dict[str, str]
    raw: bytes
    """As it came."""

    @property
    def body(self) -> bytes:
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


Answer = tuple[int, dict[str, str], bytes]
Behaviour = Callable[[Posted], Answer]


def accept(_: Posted) -> Answer:
    return 200, {}, b"{}"


@dataclass
class HttpReceiver:
    """``behaviour`` says what each request is answered; what it answers 2xx counts as ``taken``."""

    behaviour: Behaviour = accept
    taken: list[Posted] = field(default_factory=list)
    asked: int = 0
    port: int = 0

    def start(self) -> "HttpReceiver":
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                posted = Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, raw)
                receiver.asked += 1
                code, headers, content = receiver.behaviour(posted)
                if 200 <= code < 300:
                    receiver.taken.append(posted)
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Tests read what was taken."""

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                """A client that is killed is no error of ours."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Of bodies that are JSON Lines, in the order in which they were taken."""
        return [each for posted in list(self.taken) for each in posted.lines]

    @property
    def ids(self) -> list[str]:
        return [each["id"] for each in self.documents]


class UdpReceiver:
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self.port = self._socket.getsockname()[1]

    def receive(self) -> bytes:
        return self._socket.recv(65536)

    def stop(self) -> None:
        self._socket.close()


class TcpReceiver:
    """Messages with octets counted (RFC 6587), over TLS if there is a certificate with its key."""

    def __init__(self, certificate: tuple[Path, Path] | None = None, port: int = 0) -> None:
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.messages: list[bytes] = []
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def hang_up(self) -> None:
        """Close all connections, and listen on."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            self.connections.append(connection)
            with connection, connection.makefile("rb") as file:
                while length := _length(file):
                    message = file.read(length)
                    assert len(message) == length
                    self.messages.append(message)
        except OSError:
            return


def _length(file: Any) -> int:
    digits = b""
    while (character := file.read(1)) not in (b" ", b""):
        digits += character
    return int(digits or b"0")
