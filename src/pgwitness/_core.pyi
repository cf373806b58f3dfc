"""What happens once a frame: streams, framing, relay and tape, in Rust.

The core knows no identity, no SQL, no configuration file and no HTTP. Its relay threads never take the GIL:
results travel through a mailbox that the event loop empties when ``Engine.fileno()`` becomes readable. Every
method that returns a ``Future`` returns one of the engine's event loop. Cancelling such a future does not
stop the work behind it: whoever gives up on a stream calls ``Stream.abort()``, which ends every operation
pending on it.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final, Literal, final

Durability = Literal["process", "disk"]

KIND_SESSION_STARTED: Final = 1
KIND_CLIENT: Final = 2
KIND_SERVER: Final = 3
KIND_ELIDED: Final = 4
KIND_EVENT: Final = 5
KIND_SESSION_ENDED: Final = 6
KIND_RECORDER: Final = 7
KIND_ROSTER: Final = 8

class StreamError(OSError):
    """A stream failed: refused, reset, timed out, TLS handshake failed, ended in mid-message. The text says
    which."""

class ProtocolError(Exception):
    """A peer broke the message format: a length below 4 or above the limit."""

class TapeError(OSError):
    """The tape cannot take a frame (full, read-only, removed). Nothing may be forwarded."""

class TapeCorrupt(Exception):
    """A frame on the tape fails its checksum or breaks the format. The text gives segment and offset."""

@final
class Engine:
    """Relay threads and the mailbox between them and one asyncio event loop."""

    def __new__(cls, create_future: Callable[[], asyncio.Future[Any]], threads: int = 0) -> Engine:
        """``threads`` 0 sizes by cores. ``create_future`` is ``loop.create_future``."""
    @property
    def threads(self) -> int: ...
    def fileno(self) -> int:
        """Readable while completed operations wait: ``loop.add_reader(engine.fileno(), engine.drain)``."""
    def drain(self) -> None:
        """Resolve the futures of completed operations. Call on the event loop's thread only."""
    def listen(self, host: str, port: int, backlog: int = 1024) -> Listener:
        """Bind and listen on a literal IP address. Port 0 picks a free one. Raises OSError."""
    def connect_tcp(self, address: str, port: int, worker: int) -> asyncio.Future[Stream]:
        """Dial a literal IP address from relay thread ``worker`` (use the client stream's). Cancelling the
        future ends the dial."""
    def connect_unix(self, path: str, worker: int) -> asyncio.Future[Stream]:
        """Dial a Unix socket by file path."""
    def relay(
        self,
        client: Stream,
        upstream: Stream,
        tape: SessionTape,
        *,
        results: int,
        tape_farewell: bytes,
        protocol_farewell: bytes,
        lost_farewell: bytes | None = None,
    ) -> Relay:
        """Start relaying; both streams now belong to the relay.

        ``results``: bytes of result data (DataRow, CopyData from the server) recorded a statement; -1 for
        all. ``tape_farewell`` and ``protocol_farewell`` are encoded ErrorResponses that the client gets when
        the tape refuses a frame or a message header is malformed. ``lost_farewell`` is what it gets when the
        upstream's stream is cut off, and makes a TLS stream that ends without close_notify count as cut off
        (``server_lost``); with None it counts as closed.
        """
    def copy(self, tunnel: Stream, database: Stream) -> Relay:
        """Copy bytes both ways, without parsing or recording; both streams now belong to the copy, which
        ends when the database's end was passed on.

        RelayEnd.reason: ``closed`` (the database closed its stream) · ``lost`` (either side was cut off: the
        other is dropped, not closed in order) · ``panic`` · or what ``end`` gave. The tunnel is the relay's
        client; farewells are not sent, ``drain`` is ``end``.
        """
    def move(self, stream: Stream, worker: int) -> Stream:
        """A bare TCP stream on another relay thread; the old object is spent. Raises StreamError."""
    def close(self) -> None:
        """Abort everything and join the threads. Idempotent."""

@final
class Listener:
    @property
    def port(self) -> int: ...
    @property
    def host(self) -> str: ...
    def accept(self) -> asyncio.Future[Stream]:
        """The next client, on the least loaded relay thread, TCP_NODELAY and keep-alive set."""
    def close(self) -> None: ...

@final
class Stream:
    """One byte stream (TCP, Unix socket or TLS over either), bound to one relay thread. One operation at a
    time."""

    @property
    def worker(self) -> int: ...
    @property
    def peer(self) -> str:
        """``127.0.0.1:51234``, ``[::1]:51234`` or ``unix``."""
    @property
    def tls(self) -> TlsInfo | None: ...
    def keep_alive(self, idle_seconds: int, dead_seconds: int) -> asyncio.Future[None]:
        """Probe the peer of a TCP stream after so many seconds of silence, and give it up when what was sent
        is not acknowledged for ``dead_seconds``. Without effect on a Unix socket."""
    def peek(self) -> asyncio.Future[int | None]:
        """The first unread byte without taking it, None at end of stream. Before TLS only."""
    def read_exactly(self, n: int) -> asyncio.Future[bytes]:
        """Exactly n bytes; StreamError if the stream ends before. Never reads beyond them."""
    def read_message(self, limit: int) -> asyncio.Future[tuple[int, bytes]]:
        """One message: (type byte, payload without type and length). ProtocolError when its length field
        exceeds ``limit`` or is below 4. Never reads beyond the message."""
    def read_messages(self, limit: int, until: bytes) -> asyncio.Future[list[tuple[int, bytes]]]:
        """Messages as ``read_message`` gives them, up to the first one of a type in ``until``; with their
        headers at most ``limit`` bytes."""
    def write(self, data: bytes) -> asyncio.Future[None]:
        """All of data, flushed."""
    def start_tls_server(self, config: TlsServer) -> asyncio.Future[None]: ...
    def start_tls_client(self, config: TlsClient, server_name: str | None) -> asyncio.Future[None]:
        """``server_name`` is sent as SNI when it is a DNS name."""
    def abort(self) -> None:
        """Close now; pending operations fail with StreamError. Idempotent, never blocks. No effect once a
        relay owns it."""
    def close(self) -> asyncio.Future[None]:
        """Flush, say close_notify under TLS, close. Bounded to two seconds."""

@final
class TlsInfo:
    @property
    def version(self) -> str: ...  # "TLSv1.3"
    @property
    def cipher(self) -> str: ...
    @property
    def alpn(self) -> str | None: ...
    @property
    def peer_certificate(self) -> bytes | None: ...  # DER, end entity

@final
class TlsServer:
    def __new__(
        cls,
        certificate_chain: bytes,
        private_key: bytes,
        alpn: list[str],
        client_roots: bytes | None = None,
    ) -> TlsServer:
        """PEM in. With ``client_roots`` the client is asked for a certificate; one that it gives must chain
        to them, and whether none will do is the caller's to decide. Raises ValueError that says what is wrong
        with them."""

@final
class TlsClient:
    def __new__(
        cls,
        *,
        roots: bytes | None,
        certificate_chain: bytes | None = None,
        private_key: bytes | None = None,
        alpn: list[str] = ...,
    ) -> TlsClient:
        """``roots`` (PEM) verify the chain as ``verify-ca``; None accepts any certificate. Host names are the
        caller's to check against ``TlsInfo.peer_certificate``, before anything secret is sent."""

@final
class Relay:
    def wait(self) -> asyncio.Future[RelayEnd]:
        """Resolves once, when both streams are closed. Call once."""
    def end(self, reason: str, farewell: bytes = b"") -> None:
        """End the session: the client gets ``farewell`` (an encoded ErrorResponse) if the server's messages
        are at a boundary, both streams close. ``reason`` comes back in RelayEnd. The first call counts."""
    def drain(self, reason: str, farewell: bytes = b"") -> None:
        """As ``end``, but as soon as the session is idle."""
    def hold(self) -> None:
        """Take nothing more of the client: when this returns, no request is recorded or forwarded any more.
        Answers still are."""
    @property
    def idle(self) -> bool:
        """The server has said ReadyForQuery to all that it was asked."""
    @property
    def quiet_seconds(self) -> float:
        """Seconds since a byte passed in either direction."""
    @property
    def client_bytes(self) -> int: ...
    @property
    def server_bytes(self) -> int: ...

@final
class RelayEnd:
    reason: str
    """``terminated`` (client said Terminate) · ``client_closed`` · ``client_lost`` · ``server_closed`` ·
    ``server_lost`` · ``protocol_error`` · ``tape_error`` · ``panic`` · or what ``end``/``drain`` gave."""
    detail: str | None
    client_bytes: int
    server_bytes: int

@final
class Tape:
    def __new__(
        cls,
        directory: str | os.PathLike[str],
        *,
        segment_bytes: int = 67108864,
        durability: Durability = "process",
    ) -> Tape:
        """Take the directory (locked against a second writer), recover what a crash left, start a new
        segment. Raises TapeError."""
    @property
    def recovery(self) -> Recovery | None:
        """What the last writer left behind, if it did not close the tape."""
    @property
    def position(self) -> int:
        """Where the next frame will go: ``segment << 32 | offset``."""
    def record(self, payload: bytes) -> None:
        """Append a recorder event (JSON). Raises TapeError."""
    def open_session(self, session: bytes, payload: bytes) -> SessionTape:
        """Append KIND_SESSION_STARTED for a 16-byte session id. Raises TapeError."""
    def end_interrupted(self, session: bytes, payload: bytes) -> None:
        """Append KIND_SESSION_ENDED for a session of ``recovery.open_sessions``. Raises TapeError."""
    def close(self) -> None:
        """Sync, truncate the segment to its length, mark it closed, release the lock. Idempotent."""

@final
class Recovery:
    segment: int
    offset: int
    discarded_bytes: int
    open_sessions: list[tuple[bytes, int]]
    """(session id, next sequence)"""

@final
class SessionTape:
    def event(self, payload: bytes) -> None:
        """Append KIND_EVENT. Raises TapeError, also after ``end``."""
    def end(self, payload: bytes) -> None:
        """Append KIND_SESSION_ENDED; the session is closed. Raises TapeError."""

Frame = tuple[bytes, int, int, int, int, bytes]
"""(session id, sequence, kind, time in ns since the epoch, position, payload)"""

@final
class TapeReader:
    """Follows a tape from a position, also while it is written, also from another process."""

    def __new__(
        cls, directory: str | os.PathLike[str], position: int = 0, *, session: bytes | None = None
    ) -> TapeReader:
        """``session`` keeps that session's frames only. Position 0 is the oldest segment there is."""
    def read(self, max_frames: int = 4096, max_bytes: int = 1048576) -> list[Frame]:
        """Up to that many whole frames, at least one if there is one; [] at the live end. Releases the GIL
        while it reads. Raises TapeCorrupt."""
    @property
    def position(self) -> int:
        """Where the next read begins: store it, resume from it."""
