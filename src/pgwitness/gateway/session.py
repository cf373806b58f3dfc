"""One session's life: authenticate, authorize, dial, record the header, answer, relay, record the end.

The order must not change: a client reads ReadyForQuery only when its session is on the tape, and nothing of
an unauthenticated client reaches an upstream. Whatever happens, both streams are closed and the end is
recorded.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from pgwitness._core import Engine, Relay, SessionTape, Stream, StreamError, TapeError
from pgwitness.catalog.models import Connection
from pgwitness.errors import NotSupported, RecordUnwritable
from pgwitness.gateway import arrival, login, tunnel
from pgwitness.gateway.arrival import NotPostgresError, Plaintext
from pgwitness.gateway.recorder import Recorder, encode, new_session_id, session_end
from pgwitness.gateway.refusals import Attempt, tell
from pgwitness.gateway.registry import LiveSession, Registry, farewell
from pgwitness.gateway.tls import ServerTls
from pgwitness.gateway.tunnel import Tunnel
from pgwitness.identity.directory import Directory, Principal
from pgwitness.identity.tokens import redacted
from pgwitness.sealing.offer import Heads, short
from pgwitness.upstream.dialling import Upstream
from pgwitness.upstream.openings import Openings
from pgwitness.wire import codec, startup
from pgwitness.wire.startup import CancelRequest, StartupMessage, printable

log = structlog.get_logger("pgwitness.session")

GREETING_SECONDS: Final = 20.0
"""For a client to take in that it is logged in: until then nobody could list, kill or drain its session."""
NOTICE_CHARACTERS: Final = 65536
HEAD_PARAMETER: Final = "pgwitness.checkpoint"
_UNRECORDABLE: Final = farewell("58030", "the record cannot be written, so nothing more is run")
_MALFORMED: Final = farewell("08P01", "malformed message: the session's message boundaries are lost")


@dataclass(frozen=True, slots=True)
class House:
    """What every session of a gateway shares."""

    engine: Engine
    recorder: Recorder
    directory: Directory
    tunnel: Tunnel
    openings: Openings
    registry: Registry
    tls: ServerTls
    plaintext: Plaintext
    startup_seconds: float
    results_default: int
    heads: Heads | None = None
    """Where the checkpoint is that clients are told at log-in; None: they are not."""


async def serve(house: House, stream: Stream, authenticated: Callable[[], None]) -> None:
    """One client, from its first byte until both sides are closed. Raises nothing but CancelledError.

    ``authenticated`` is called when the client has proved who it is.
    """
    session = None
    attempt = Attempt(stream.peer)
    try:
        session = await _admit(house, stream, attempt, authenticated)
    except (NotPostgresError, StreamError) as error:
        log.debug("client_left", address=attempt.address, error=str(error))
    except Exception as error:
        attempt.record(house.recorder, error)
        await tell(stream, error, attempt.connection)
    finally:
        stream.abort()  # without effect once a relay owns it
    del attempt
    if session is not None:
        await _attend(house, session)


async def _admit(
    house: House, stream: Stream, attempt: Attempt, authenticated: Callable[[], None]
) -> LiveSession | None:
    """From the first byte to a running relay; None if the client wanted something else than a session."""
    async with asyncio.timeout(house.startup_seconds or None):
        packet = await arrival.receive(stream, house.tls)
        if isinstance(packet, StartupMessage):
            principal, mechanism = await _log_in(house, stream, packet, attempt)
            attempt.identity = principal.identity
    authenticated()
    if isinstance(packet, CancelRequest):
        await _cancel(house, packet, attempt)
        await stream.close()  # in order: under TLS, libpq takes anything less for a failure
        return None
    house.registry.take_place()
    try:
        return await _open(house, stream, packet, principal, mechanism, attempt)
    except BaseException:
        house.registry.leave_place()
        raise


async def _log_in(
    house: House, stream: Stream, message: StartupMessage, attempt: Attempt
) -> tuple[Principal, str]:
    attempt.user, attempt.database = redacted(printable(message.user)), redacted(printable(message.database))
    arrival.check_encryption(stream, house.plaintext)
    await arrival.agree_on_protocol(stream, message)
    binding = house.tls.binding if stream.tls is not None else None
    return await login.authenticate(stream, attempt.user, house.directory, binding)


async def _cancel(house: House, request: CancelRequest, attempt: Attempt) -> None:
    """Returns when the upstream has taken notice, since clients wait for us to close."""
    session = house.registry.holder(request.pid, request.key)
    if session is None:
        log.info("cancel_refused", address=attempt.address)
        house.recorder.refused({"event": "cancel_refused", "address": attempt.address})
        return
    if session.event({"event": "cancel_requested", "address": attempt.address}):
        # What is not recorded does not reach the server: a cancel decides how a statement ends.
        await house.registry.cancel(session)


async def _open(
    house: House,
    stream: Stream,
    message: StartupMessage,
    principal: Principal,
    mechanism: str,
    attempt: Attempt,
) -> LiveSession:
    connection, database = await asyncio.to_thread(
        house.directory.authorize, principal, printable(message.database)
    )
    attempt.connection = connection.name
    if startup.wants_replication(message.parameters) and not connection.replication:
        raise NotSupported(
            f'connection "{connection.name}" does not allow replication',
            hint="An administrator can allow it for this connection.",
        )
    with house.openings.dialling(connection, database) as opening:
        upstream = await house.tunnel.open(
            connection, database, message.agreed_minor, message.parameters, stream.worker
        )
        opening.opened(upstream.greeting.pid, upstream.address)
    try:
        return await _begin(house, stream, message, principal, mechanism, connection, database, upstream)
    finally:
        upstream.stream.abort()  # without effect once a relay owns it


async def _begin(
    house: House,
    stream: Stream,
    message: StartupMessage,
    principal: Principal,
    mechanism: str,
    connection: Connection,
    database: str,
    upstream: Upstream,
) -> LiveSession:
    """The header on the tape, then the answer to the client, then the relay."""
    session = new_session_id()
    claims = startup.claims(message.parameters)
    results = house.results_default if connection.results is None else connection.results
    header = {
        "version": 1,
        "session": str(session),
        "identity": principal.identity,
        "kind": principal.kind,
        "on_behalf_of": principal.on_behalf_of,
        "token": principal.token_id,
        "connection": connection.name,
        "database": database,
        "user": connection.user,
        "claims": claims,
        "client": _client_side(stream, message, mechanism),
        "upstream": _upstream_side(upstream),
        "results": results,
    }
    tape = house.recorder.open_session(session, header)
    key = os.urandom(32 if message.agreed_minor >= 2 else 4)
    greeting = upstream.greeting
    try:
        _record_notices(tape, greeting.passed_on)
        async with asyncio.timeout(GREETING_SECONDS):
            await stream.write(
                codec.authentication_ok()
                + b"".join(greeting.passed_on)
                + _head(house.heads)
                + codec.backend_key_data(greeting.pid, key)
                + codec.ready_for_query(greeting.status)
            )
        relay = house.engine.relay(
            stream,
            upstream.stream,
            tape,
            results=results,
            tape_farewell=_UNRECORDABLE,
            protocol_farewell=_MALFORMED,
            lost_farewell=tunnel.lost(upstream.connector) if upstream.connector is not None else None,
        )
    except BaseException as error:
        _record_end(tape, str(session), "client_lost", str(error) or type(error).__name__)
        raise
    live = LiveSession(
        id=session,
        principal=principal,
        connection_id=connection.id,
        connection=connection.name,
        database=database,
        claims=claims,
        address=stream.peer,
        started_at=time.time(),
        pid=greeting.pid,
        key=key,
        connector=upstream.connector,
        lease=upstream.lease,
        cancel=upstream.cancel,
        relay=relay,
        tape=tape,
    )
    house.registry.add(live)
    if upstream.connector is not None and (why := upstream.lost()) is not None:
        # It was on its way in when those that came through that connector were ended.
        last_words = tunnel.lost(upstream.connector)
        house.registry.end_lost(live.lease, last_words, f'connector "{upstream.connector}": {why}')
    log.info(
        "session_started",
        session=str(session),
        identity=principal.identity,
        connection=connection.name,
        database=database,
        address=stream.peer,
    )
    return live


def _head(heads: Heads | None) -> bytes:
    """The checkpoint in force, as a parameter: whoever notes it can tell later that the log was cut off."""
    note = heads.latest() if heads is not None else b""
    return codec.parameter_status(HEAD_PARAMETER, short(note)) if note else b""


def _record_notices(tape: SessionTape, greeting: list[bytes]) -> None:
    """What the server said at log-in, as events; parameters are in the header. Raises RecordUnwritable."""
    for message in greeting:
        if message[:1] != b"N":
            continue
        said = codec.parse_error(message[5:])
        event = {"event": "notice", "severity": said.severity, "sqlstate": said.sqlstate}
        try:
            tape.event(encode({**event, "message": said.message[:NOTICE_CHARACTERS]}))
        except TapeError as error:
            raise RecordUnwritable("the session cannot be recorded, so it is not opened") from error


def _client_side(stream: Stream, message: StartupMessage, mechanism: str) -> dict[str, Any]:
    return {
        "address": stream.peer,
        "protocol": f"3.{message.agreed_minor}",
        "tls": _tls(stream),
        "authentication": mechanism,
        "parameters": {
            printable(name): redacted(printable(value))
            for name, value in message.parameters.items()
            if name not in ("user", "database")
        },
    }


def _upstream_side(upstream: Upstream) -> dict[str, Any]:
    return {
        "address": upstream.address,
        "connector": upstream.connector,
        "pid": upstream.greeting.pid,
        "protocol": f"3.{upstream.greeting.protocol_minor}",
        "tls": upstream.tls,
        "parameters": upstream.greeting.parameters,
    }


def _tls(stream: Stream) -> dict[str, str] | None:
    tls = stream.tls
    return {"version": tls.version, "cipher": tls.cipher} if tls is not None else None


async def _attend(house: House, session: LiveSession) -> None:
    """Until the relay ends. Cancelled (the gateway stops at once), it ends the relay itself."""
    try:
        end = await session.relay.wait()
    except asyncio.CancelledError:
        session.relay.end("shutdown")
        _end_of(session, "shutdown", "the gateway was stopped at once", session.relay)
        raise
    except Exception as error:
        log.exception("relay_failed", session=str(session.id))
        session.relay.end("panic")
        _end_of(session, "panic", str(error), session.relay)
    else:
        reason, detail = end.reason, end.detail or session.end_detail
        if reason == "server_lost" and session.connector is not None:
            cut_off = "close_notify" in (end.detail or "")  # which says so in the words of a programmer
            what = "the data connection was cut off" if cut_off else detail
            reason, detail = "interrupted", f'connector "{session.connector}": {what}'
        _record_end(session.tape, str(session.id), reason, detail, end.client_bytes, end.server_bytes)
    finally:
        house.registry.remove(session)
        house.registry.leave_place()


def _end_of(session: LiveSession, reason: str, detail: str, relay: Relay) -> None:
    _record_end(session.tape, str(session.id), reason, detail, relay.client_bytes, relay.server_bytes)


def _record_end(
    tape: SessionTape,
    session: str,
    reason: str,
    detail: str | None,
    client_bytes: int = 0,
    server_bytes: int = 0,
) -> None:
    try:
        tape.end(session_end(reason, detail, client_bytes, server_bytes))
    except TapeError as error:
        log.error("end_not_recorded", session=session, reason=reason, error=str(error))
    log.info("session_ended", session=session, reason=reason, detail=detail)
