"""A client that gets no session: what the record says of it, what the log says, and what the client is told.

The record and the log get the reason; the client gets no more than it may know. None of them gets a secret.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from pgwitness._core import Stream, StreamError
from pgwitness.errors import (
    ClientError,
    PermissionDenied,
    UnknownDatabase,
    UpstreamUnreachable,
    WitnessError,
)
from pgwitness.gateway.arrival import EncryptionRequiredError
from pgwitness.gateway.login import LoginRefusedError
from pgwitness.gateway.recorder import Recorder
from pgwitness.upstream.endpoints import UpstreamError
from pgwitness.upstream.login import ServerRefusedError, StartupRefusedError
from pgwitness.wire import codec
from pgwitness.wire.startup import StartupError

log = structlog.get_logger("pgwitness.refusals")

TELL_SECONDS: Final = 5.0
_INVALID_AUTHORIZATION: Final = "28"


class Attempt:
    """What is known so far of a client on its way in."""

    __slots__ = ("address", "connection", "database", "identity", "user")

    def __init__(self, address: str) -> None:
        self.address = address
        self.user: str | None = None
        """As claimed."""
        self.database: str | None = None
        self.identity: str | None = None
        """As proved."""
        self.connection: str | None = None

    def record(self, recorder: Recorder, error: Exception) -> None:
        """On the tape and in the log, once the client has said who it claims to be."""
        reason = _reason(error)
        facts: dict[str, Any] = {"address": self.address, "reason": reason, "database": self.database}
        if reason == "internal_error":
            log.error("session_failed", **facts, user=self.user, exc_info=error)
        elif self.user is None:
            log.info("client_refused", **facts, error=str(error))
            return
        else:
            log.info("session_refused", **facts, user=self.user, error=str(error))
        if self.identity is None:
            token = error.token if isinstance(error, LoginRefusedError) else None
            recorder.refused({"event": "login_refused", "identity": self.user, **facts, "token": token})
        else:
            facts |= {"identity": self.identity, "connection": self.connection}
            detail = str(error) if isinstance(error, UpstreamError | WitnessError) else type(error).__name__
            recorder.refused({"event": "session_refused", **facts, "detail": detail})


def _reason(error: Exception) -> str:
    if isinstance(error, LoginRefusedError):
        return error.reason
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    return "internal_error"


_REASONS: Final[list[tuple[type[Exception], str]]] = [
    (TimeoutError, "timeout"),
    (StartupError, "malformed"),
    (EncryptionRequiredError, "plaintext"),
    (PermissionDenied, "no_grant"),
    (UnknownDatabase, "unknown_connection"),
    (StartupRefusedError, "refused_by_server"),
    (UpstreamError, "upstream"),
    (ClientError, "refused"),
]


async def tell(stream: Stream, error: Exception, connection: str | None) -> None:
    """Say it to the client, and close. A peer that does not listen is left alone."""
    response = _response(error, connection)
    if response is None:
        return
    try:
        async with asyncio.timeout(TELL_SECONDS):
            await stream.write(response)
            await stream.close()
    except (StreamError, TimeoutError):
        pass


def _response(error: Exception, connection: str | None) -> bytes | None:
    if isinstance(error, StartupRefusedError):
        return error.response
    if isinstance(error, UpstreamError):
        error = client_view(error, connection or "")
    if isinstance(error, ClientError):
        return codec.error_response("FATAL", error.sqlstate, str(error), hint=error.hint)
    if isinstance(error, StartupError):
        return codec.error_response("FATAL", error.sqlstate, str(error)) if error.sqlstate else None
    if isinstance(error, TimeoutError):
        return None  # a read is still pending on the stream, and it holds the stream until it is aborted
    return codec.error_response("FATAL", "XX000", "internal error of the gateway; its log tells more")


def client_view(error: UpstreamError, connection: str) -> UpstreamUnreachable:
    """The connection's name and the kind of trouble: no addresses, no users, not the server's words."""
    cause = error.last or error
    if cause.trouble is not None:
        trouble = cause.trouble
    elif not isinstance(cause, ServerRefusedError):
        trouble = "PostgreSQL cannot be reached"
    elif cause.error.sqlstate.startswith(_INVALID_AUTHORIZATION):
        trouble = "PostgreSQL refuses the registered credentials"
    else:
        trouble = f"PostgreSQL does not accept the connection ({cause.error.sqlstate})"
    return UpstreamUnreachable(
        f'connection "{connection}": {trouble}',
        hint=f"An administrator sees why with: pgwitness connection check {connection}",
    )
