"""A look: one connection to a watched server, over which the watch asks what the server knows.

It goes the way that sessions go (the gateway's own dialler). What it asks is on the tape before the server
sees it: the text once for each look, since looks repeat the same few texts every few seconds and would
otherwise bury the agents' statements; how often each was asked follows when the look ends. The server's
answers are not kept, only what is found in them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

from pgwitness._core import ProtocolError, StreamError, TapeError
from pgwitness.catalog.models import Connection
from pgwitness.errors import ClientError
from pgwitness.upstream.dialling import Upstream
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.upstream.openings import Openings
from pgwitness.wire import codec
from pgwitness.wire.codec import MalformedPayloadError

APPLICATION: Final = "pgwitness watch"
ANSWER_SECONDS: Final = 20.0
MESSAGE_LIMIT: Final = 64 << 20
ANSWER_LIMIT: Final = 256 << 20
PREPARE: Final = (
    "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false),"
    " pg_catalog.set_config('default_transaction_read_only', 'on', false),"
    " pg_catalog.set_config('statement_timeout', '15s', false),"
    " pg_catalog.pg_backend_pid() AS pid"
)
"""First of all: no function or view of somebody's own stands between us and what we ask."""
_COUNT: Final = Struct("!H")
_LENGTH: Final = Struct("!i")

Row = dict[str, str | None]
Record = Callable[[dict[str, Any]], None]
"""Puts an event on the tape. Raises TapeError."""


class LookError(Exception):
    """The server cannot be looked at, or not any more. The text says why, in words for the administrator."""


class RefusedError(LookError):
    """The server refused this one question; others may be answered."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Dialler(Protocol):
    """Opens upstreams, directly or through a connector."""

    async def open(
        self, connection: Connection, database: str, minor: int, parameters: dict[str, str], worker: int, /
    ) -> Upstream: ...


class Look:
    """One open connection. ``rows`` one at a time; ``close`` it at the end."""

    def __init__(self, upstream: Upstream, record: Record, about: dict[str, Any]) -> None:
        self._upstream = upstream
        self._record = record
        self._about = about
        self.asked: dict[str, int] = {}
        """How often each text was sent."""
        self.address = upstream.address
        self.leaving = upstream.leaving
        """Whether it is in the way of a connector that stops."""
        self.pid = upstream.greeting.pid
        self.pooled = False
        """Somebody else's connections are shared out here: process ids tell nothing."""

    @classmethod
    async def open(
        cls,
        dialler: Dialler,
        openings: Openings,
        record: Record,
        connection: Connection,
        database: str,
        worker: int,
    ) -> Look:
        """Raises LookError."""
        try:
            with openings.dialling(connection, database) as opening:
                upstream = await dialler.open(
                    connection,
                    database,
                    0,
                    {"application_name": APPLICATION, "client_encoding": "UTF8"},
                    worker,
                )
                opening.opened(upstream.greeting.pid, upstream.address)
        except (UpstreamError, ClientError) as error:
            raise LookError(str(error)) from error
        about = {
            "connection": connection.name,
            "database": database,
            "user": connection.user,
            "address": upstream.address,
            "connector": upstream.connector,
            "pid": upstream.greeting.pid,
        }
        look = cls(upstream, record, about)
        try:
            look._note({"event": "watch_opened", **about})
            (settings,) = await look.rows(PREPARE)
        except BaseException:
            look.close()
            raise
        look.pooled = settings["pid"] != str(look.pid)
        return look

    def announce(self, *texts: str) -> None:
        """Put what will be asked on the tape, in one event what goes together. Raises LookError."""
        new = [text for text in texts if text not in self.asked]
        if new:
            self._note({"event": "watch_asked", "pid": self.pid, "address": self.address, "sql": new})
            self.asked.update(dict.fromkeys(new, 0))

    async def rows(self, sql: str) -> list[Row]:
        """The answer to one question. Raises RefusedError, or LookError and then this look is over."""
        self.announce(sql)
        self.asked[sql] += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._upstream.stream.write(codec.query(sql))
                return await self._answer()
        except TimeoutError:
            self._upstream.stream.abort()
            raise LookError(f"no answer within {ANSWER_SECONDS:g} seconds") from None
        except (StreamError, ProtocolError, MalformedPayloadError) as error:
            self._upstream.stream.abort()
            raise LookError(f"the connection broke off: {error}") from error

    def close(self) -> None:
        """Idempotent, and never waits."""
        if self._about:
            about, self._about = self._about, {}
            with contextlib.suppress(TapeError):  # a tape that takes nothing any more says so itself
                self._record({"event": "watch_closed", **about, "asked": self.asked})
        self._upstream.stream.abort()

    def _note(self, event: dict[str, Any]) -> None:
        """What is not recorded is not asked."""
        try:
            self._record(event)
        except TapeError as error:
            raise LookError(f"the record cannot be written: {error}") from error

    async def _answer(self) -> list[Row]:
        names: list[str] = []
        rows: list[Row] = []
        size = 0
        refused: RefusedError | None = None
        while True:
            kind, payload = await self._upstream.stream.read_message(MESSAGE_LIMIT)
            size += len(payload)
            if size > ANSWER_LIMIT:
                raise MalformedPayloadError("the answer is larger than anybody could look through")
            if kind == ord("T"):
                names = [column.name for column in codec.parse_row_description(payload)]
            elif kind == ord("D"):
                rows.append(dict(zip(names, _values(payload), strict=True)))
            elif kind == ord("E"):
                error = codec.parse_error(payload)
                refused = RefusedError(error.sqlstate, error.message)
                if error.severity in ("FATAL", "PANIC"):
                    raise MalformedPayloadError(error.message)
            elif kind == ord("Z"):
                if refused is not None:
                    raise refused
                return rows


def _values(payload: bytes) -> list[str | None]:
    (count,) = _COUNT.unpack_from(payload)
    values: list[str | None] = []
    at = 2
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(payload, at)
        at += 4
        if length < 0:
            values.append(None)
        else:
            values.append(payload[at : at + length].decode("utf-8", "replace"))
            at += length
    return values
