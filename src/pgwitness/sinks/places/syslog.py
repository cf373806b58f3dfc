"""A syslog receiver: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587) or TLS (RFC 5425), octets counted.

Syslog knows no acknowledgement. Over TCP and TLS, delivered is what the other side's kernel has taken
(everything sent is acknowledged by TCP, and the connection still stands); what its program had not read when
it died is lost. Over UDP, delivered is what was sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import pgwitness
from pgwitness.config.sinks import SyslogSink
from pgwitness.sinks.forms import Form, line
from pgwitness.sinks.items import Item, cut
from pgwitness.sinks.places import Undeliverable
from pgwitness.statements.model import Statement

_ALERT, _WARNING, _NOTICE, _INFORMATIONAL = 1, 4, 5, 6
_LEVELS: Final = {"alarm": _ALERT, "weakness": _WARNING}
_POLL_SECONDS: Final = 0.01
_SHORTEST_TEXT, _SHORT_TEXT = 16, 200


class SyslogPlace:
    rejected = 0

    def __init__(self, settings: SyslogSink, form: Form) -> None:
        self.name = f"syslog {settings.transport} {settings.host}:{settings.usual_port}"
        self._settings = settings
        self._form = form
        self._hostname = printable(socket.gethostname(), 255)
        self._socket: socket.socket | None = None

    def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undeliverable."""
        try:
            connected = self._connect()
            if self._settings.transport == "udp":
                for each in items:
                    connected.send(self.message(each))
                return
            connected.sendall(b"".join(b"%d %s" % (len(said), said) for said in map(self.message, items)))
            self._wait_until_taken(connected)
        except TimeoutError:
            self.close()
            raise Undeliverable("it did not take it in time") from None
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Undeliverable(f"its certificate is not trusted: {error.verify_message}") from None
        except OSError as error:
            self.close()
            raise Undeliverable(f"it cannot be reached: {error.strerror or type(error).__name__}") from None

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def message(self, item: Item) -> bytes:
        """One message, no longer than the setting: texts are cut until it fits."""
        head = self._head(item)
        left = self._settings.longest_message - len(head)
        return head + next(text for text in self._texts(item) if len(text) <= left)

    def _head(self, item: Item) -> bytes:
        priority = self._settings.facility * 8 + severity(item)
        version = printable(pgwitness.__version__, 32)
        origin = f'[origin software="pgwitness" swVersion="{version}"]'
        return f"<{priority}>1 {item.at} {self._hostname} pgwitness - {item.kind} {origin} ".encode()

    def _texts(self, item: Item) -> Iterator[bytes]:
        """The document, shorter each time; the last one is as short as the setting may be."""
        yield line(item, self._form)
        if item.statement is not None:
            yield from self._shorter(item, item.statement)
        elif item.details:
            said = {
                name: value[:_SHORT_TEXT] if isinstance(value, str) else value
                for name, value in item.details.items()
                if not isinstance(value, dict | list)
            }
            yield line(replace(item, details=said | {"truncated": True}), self._form)
        yield line(Item(item.id, item.kind, item.at, details={"truncated": True}), self._form)

    def _shorter(self, item: Item, statement: Statement) -> Iterator[bytes]:
        longest = max([len(statement.sql), *(len(each.value or "") for each in statement.parameters)])
        longest = min(longest, self._settings.longest_message)
        while longest > _SHORTEST_TEXT:
            longest //= 2
            cut(statement, longest)
            yield line(item, self._form)
        statement.truncated = True
        statement.parameters, statement.tables = [], statement.tables[:1]
        if statement.result is not None:
            statement.result.columns = []
        yield line(item, self._form)

    def _connect(self) -> socket.socket:
        """Raises OSError."""
        if self._socket is not None:
            if self._settings.transport == "udp" or not _has_ended(self._socket):
                return self._socket
            self.close()
        settings = self._settings
        address = settings.host, settings.usual_port
        if settings.transport == "udp":
            family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(place)  # so that a port where nobody listens is heard of
            return self._socket
        plain = socket.create_connection(address, settings.timeout_seconds)
        self._socket = plain
        if settings.transport == "tls":
            context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
            self._socket = context.wrap_socket(plain, server_hostname=settings.host)
        self._socket.settimeout(settings.timeout_seconds)
        return self._socket

    def _wait_until_taken(self, connected: socket.socket) -> None:
        """Until TCP says that the other side has it all. Raises OSError."""
        deadline = time.monotonic() + self._settings.timeout_seconds
        while True:
            if _has_ended(connected):
                raise ConnectionResetError("it closed the connection")
            (unsent,) = struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4)))
            if not unsent:
                return
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_POLL_SECONDS)


def severity(item: Item) -> int:
    statement = item.statement
    if statement is not None:
        return _WARNING if statement.status in ("error", "cancelled") else _INFORMATIONAL
    if item.kind == "finding":
        return _LEVELS.get(str(item.details.get("level")), _NOTICE)
    if item.kind == "refusal" or item.details.get("event") == "kill_requested":
        return _WARNING
    return _INFORMATIONAL


def printable(text: str, longest: int) -> str:
    """As a field of the header: printable ASCII without spaces."""
    return "".join(character for character in text if "!" <= character <= "~")[:longest] or "-"


def _has_ended(connected: socket.socket) -> bool:
    """Whether the other side closed. A receiver says nothing, so whatever can be read is the end; a TLS
    session's tickets are read past."""
    readable, _, _ = select.select([connected], [], [], 0)
    if not readable:
        return False
    before = connected.gettimeout()
    connected.settimeout(0)
    try:
        return connected.recv(4096) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connected.settimeout(before)
