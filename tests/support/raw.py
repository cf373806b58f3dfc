"""A PostgreSQL client of a hundred lines for what no driver does: odd orders, half messages, no reading."""

import socket
import struct
from collections.abc import Iterator
from typing import Self

import scramp

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)

Message = tuple[str, bytes]
"""Type and payload."""


class ServerError(Exception):
    """An ErrorResponse; ``fields`` by their one-letter names (C is the SQLSTATE)."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(f"{fields.get('S')} {fields.get('C')}: {fields.get('M')}")
        self.fields = fields

    @property
    def sqlstate(self) -> str:
        return self.fields["C"]


class RawClient:
    """A socket to a server or a gateway. ``login`` goes through SCRAM to the first ReadyForQuery."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = 20.0) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.parameters: dict[str, str] = {}
        self.key: tuple[int, bytes] = (0, b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def login(self, user: str, password: str, database: str, protocol: int = 0x30000, **more: str) -> Self:
        """Raises ServerError."""
        self.send(startup(protocol, user=user, database=database, **more))
        scram = scramp.ScramClient(["SCRAM-SHA-256"], user, password)
        while True:
            kind, payload = self.receive()
            if kind == "E":
                raise ServerError(error_fields(payload))
            if kind == "S":
                name, value, _ = payload.split(b"\0")
                self.parameters[name.decode()] = value.decode()
            elif kind == "K":
                self.key = int.from_bytes(payload[:4]), payload[4:]
            elif kind == "Z":
                return self
            elif kind == "R":
                self._authenticate(scram, int.from_bytes(payload[:4]), payload[4:])

    def _authenticate(self, scram: scramp.ScramClient, step: int, data: bytes) -> None:
        if step == 10:
            first = scram.get_client_first().encode()
            self.send(message("p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        elif step == 11:
            scram.set_server_first(data.decode())
            self.send(message("p", scram.get_client_final().encode()))
        elif step == 12:
            scram.set_server_final(data.decode())

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def receive(self) -> Message:
        """The next message. Raises ConnectionError at the end of the stream."""
        kind = self._exactly(1).decode("latin-1")
        length = int.from_bytes(self._exactly(4))
        return kind, self._exactly(length - 4)

    def until(self, last: str = "Z") -> list[Message]:
        """Messages up to and with the next one of this type."""
        return list(self._until(last))

    def closed(self) -> bool:
        """The other side has closed; what it still said is dropped. Waits up to the socket's timeout."""
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def _until(self, last: str) -> Iterator[Message]:
        while True:
            kind, payload = self.receive()
            yield kind, payload
            if kind == last:
                return

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            chunk = self.socket.recv(min(count - len(data), 1 << 20))
            if not chunk:
                raise ConnectionError("the other side closed")
            data += chunk
        return bytes(data)


def message(kind: str, payload: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!i", len(payload) + 4) + payload


def startup(protocol: int = 0x30000, **parameters: str) -> bytes:
    body = b"".join(part.encode() + b"\0" for pair in parameters.items() for part in pair) + b"\0"
    return struct.pack("!ii", len(body) + 8, protocol) + body


def query(sql: str) -> bytes:
    return message("Q", sql.encode() + b"\0")


def parse(name: str, sql: str) -> bytes:
    return message("P", name.encode() + b"\0" + sql.encode() + b"\0" + struct.pack("!h", 0))


def bind(portal: str, statement: str, *values: bytes | None) -> bytes:
    """Parameters and results in text format."""
    given = b"".join(
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values
    )
    names = portal.encode() + b"\0" + statement.encode() + b"\0"
    return message("B", names + struct.pack("!hh", 0, len(values)) + given + struct.pack("!h", 0))


def execute(portal: str = "", rows: int = 0) -> bytes:
    return message("E", portal.encode() + b"\0" + struct.pack("!i", rows))


def function_call(oid: int, *arguments: bytes | None) -> bytes:
    """Arguments and result in binary format."""
    given = b"".join(
        struct.pack("!i", -1) if one is None else struct.pack("!i", len(one)) + one for one in arguments
    )
    return message("F", struct.pack("!ihhh", oid, 1, 1, len(arguments)) + given + struct.pack("!h", 1))


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")


def error_fields(payload: bytes) -> dict[str, str]:
    return {part[:1].decode(): part[1:].decode() for part in payload.rstrip(b"\0").split(b"\0") if part}


def kinds(messages: list[Message]) -> str:
    """The types, as one string: ``12DCZ``."""
    return "".join(kind for kind, _ in messages)


def first_error(messages: list[Message]) -> dict[str, str]:
    return next(error_fields(payload) for kind, payload in messages if kind == "E")
