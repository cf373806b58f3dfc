"""Does a connection work, and is it recorded: asked as an ordinary client would, through the gateway itself.

A token of an internal identity is issued for the check and revoked after it. The test query carries a
word that nobody else could have sent, so that the recorded statement found by it is this one.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, Field

from pgwitness._core import KIND_RECORDER, TapeCorrupt, TapeReader
from pgwitness.api.services import Services
from pgwitness.catalog.models import Connection, Secret
from pgwitness.errors import UnavailableError, UpstreamUnreachable, WitnessError
from pgwitness.identity import tokens
from pgwitness.index.filters import Filters
from pgwitness.index.status import index_status
from pgwitness.review.statements import iterate_statements

if TYPE_CHECKING:
    import psycopg

IDENTITY = "pgwitness-check"
_LIFETIME = timedelta(minutes=2)
_CONNECT_SECONDS = 30
_RECORD_SECONDS = 10.0
_READS = 1000  # of at most 1 MiB: the indexer is hardly ever that far behind
_LATEST = 50  # other checks may run at the same time


class CheckResult(BaseModel):
    connection: str
    identity: str = Field(description="to whom the record attributes the session")
    session: str
    server_version: str
    connect_ms: float
    query_ms: float
    recorded_ms: float = Field(
        description="from the server's answer until the statement was found in the record"
    )
    statement: dict[str, Any] = Field(description="as it was recorded")


def check_connection(services: Services, name: str, *, actor: str) -> CheckResult:
    """Raises NotFoundError, UnavailableError without a gateway, UpstreamUnreachable if the way to the
    server or the query fails, WitnessError if the query ran and does not appear in the record.
    """
    import psycopg  # here, because it is slow to load and nothing else needs it

    registered = services.catalog.connections.get(name)
    address = services.postgres_address
    if address is None:
        raise UnavailableError(
            "a check goes through the gateway, and none is running on this state directory",
            hint="start it with: pgwitness gateway",
        )
    word = f"pgwitness-check-{secrets.token_hex(8)}"
    sql = f"SELECT current_setting('server_version'), '{word}'"
    position = index_status(services.settings.state)["position"]
    with _token(services, name, actor) as token:
        started = time.monotonic()
        try:
            with _dial(address, name, token) as connection:
                connected = time.monotonic()
                row = connection.execute(sql.encode()).fetchone()
                answered = time.monotonic()
        except psycopg.Error as error:
            reason = _recorded_reason(services, name, position) or _reason(error)
            raise UpstreamUnreachable(
                f"connection {name!r} does not work: {reason}",
                hint=_hint(registered),
            ) from None
    statement = _recorded(services, name, word, answered)
    found = time.monotonic()
    return CheckResult(
        connection=name,
        identity=str(statement["identity"]),
        session=str(statement["session"]),
        server_version=str(row[0]) if row else "",
        connect_ms=_ms(connected - started),
        query_ms=_ms(answered - connected),
        recorded_ms=_ms(found - answered),
        statement=statement,
    )


def ask(services: Services, name: str, sql: str, *, actor: str) -> tuple[Any, ...] | None:
    """The first row of a query through this connection, None if it cannot be asked. It is on record as the
    check is."""
    import psycopg

    if services.postgres_address is None:
        return None
    try:
        with (
            _token(services, name, actor) as token,
            _dial(services.postgres_address, name, token) as connection,
        ):
            return connection.execute(sql.encode()).fetchone()
    except psycopg.Error:
        return None


def _hint(connection: Connection) -> str:
    hint = f"correct it with: pgwitness connection update {connection.name}"
    return f"{hint}; who dials it: pgwitness connector list" if connection.connectors else hint


@contextmanager
def _token(services: Services, connection: str, actor: str) -> Iterator[Secret]:
    services.catalog.identities.internal(IDENTITY, connection, actor=actor)
    token, text = tokens.issue_internal(
        services.catalog, IDENTITY, actor=actor, lifetime=_LIFETIME, connections=(connection,)
    )
    try:
        yield text
    finally:
        services.catalog.tokens.revoke(token.id, actor=actor)


def _dial(address: tuple[str, int], name: str, token: Secret) -> psycopg.Connection[Any]:
    import psycopg

    host, port = address
    return psycopg.connect(
        host=_reachable(host),
        port=port,
        user=IDENTITY,
        password=token.reveal(),
        dbname=name,
        sslmode="require",
        gssencmode="disable",
        connect_timeout=_CONNECT_SECONDS,
        application_name="pgwitness connection check",
        autocommit=True,
    )


def _reachable(host: str) -> str:
    """Where to dial what listens on all addresses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _recorded(services: Services, name: str, word: str, since: float) -> dict[str, Any]:
    filters = Filters(identity=IDENTITY, connection=name)
    while True:
        for statement in iterate_statements(services.index, filters, limit=_LATEST, newest=True):
            if word in statement.sql and statement.status != "unfinished":
                document: dict[str, Any] = msgspec.to_builtins(statement)
                return document
        if time.monotonic() - since > _RECORD_SECONDS:
            raise WitnessError(
                f"the test query ran through connection {name!r}, but it is not in the index after "
                f"{_RECORD_SECONDS:.0f} s",
                hint="look at the indexer: pgwitness index status",
            )
        time.sleep(0.05)


def _recorded_reason(services: Services, name: str, position: int) -> str | None:
    """A client is told no more than it may know. What the gateway knows is on the tape, after where the index
    was before the attempt.
    """
    reason: str | None = None
    with suppress(TapeCorrupt, OSError):
        reader = TapeReader(services.settings.tape_directory, position)
        for _ in range(_READS):
            frames = reader.read()
            if not frames:
                break
            for _, _, kind, _, _, payload in frames:
                event = msgspec.json.decode(payload) if kind == KIND_RECORDER else {}
                if event.get("event") == "session_refused" and event.get("identity") == IDENTITY:
                    reason = event.get("detail") if event.get("connection") == name else reason
    return reason


def _reason(error: psycopg.Error) -> str:
    """The server's or the gateway's message, without libpq's account of what it dialled."""
    text = error.diag.message_primary or str(error)
    _, fatal, message = text.partition("FATAL:")
    return (message if fatal else text).strip().partition("\n")[0]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
