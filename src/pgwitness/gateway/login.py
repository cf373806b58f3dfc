"""A client proves who it is: SCRAM-SHA-256, bound to the TLS channel where there is one.

Whatever is wrong with a log-in, the client reads one and the same message, after the same steps. The reason
is for the record: one of ``Refusal``'s, or ``downgrade``, ``binding``, ``malformed``.
"""

from __future__ import annotations

import asyncio
import os

from pgwitness._core import ProtocolError, Stream
from pgwitness.errors import AuthenticationFailed, ProtocolViolation
from pgwitness.identity.directory import Directory, Principal
from pgwitness.posting import post
from pgwitness.wire import codec, scram
from pgwitness.wire.codec import MalformedPayloadError
from pgwitness.wire.scram import ScramError, ServerExchange
from pgwitness.wire.startup import printable

MESSAGE_LIMIT = 4096


class LoginRefusedError(AuthenticationFailed):
    """Carries the reason to the record; the client only sees that it failed."""

    def __init__(self, user: str, reason: str, token: str | None = None) -> None:
        super().__init__(f'password authentication failed for user "{printable(user)}"')
        self.reason = reason
        self.token = token


async def authenticate(
    stream: Stream, user: str, directory: Directory, binding: bytes | None
) -> tuple[Principal, str]:
    """Who the client is, and the SASL mechanism that proved it. Raises LoginRefusedError, ClientError,
    StreamError.
    """
    material = await asyncio.to_thread(directory.login_material, user)
    exchange = ServerExchange(
        binding if stream.tls is not None else None, scram.make_nonce(os.urandom(scram.NONCE_BYTES))
    )
    try:
        post(stream, codec.authentication_sasl(exchange.mechanisms))
        mechanism, first = codec.parse_sasl_initial_response(await _response(stream))
        challenge = exchange.first(mechanism, first, material.salt, material.iterations)
        post(stream, codec.authentication_sasl_continue(challenge))
        verifier, last = exchange.final(await _response(stream), material.verifiers)
    except ScramError as error:
        if error.reason != "proof":
            raise LoginRefusedError(user, error.reason) from error
        refusal = await asyncio.to_thread(directory.why_refused, user, exchange.fitting)
        raise LoginRefusedError(user, *refusal) from error
    except MalformedPayloadError as error:
        raise LoginRefusedError(user, "malformed") from error
    try:
        principal = await asyncio.to_thread(directory.principal, user, verifier.token_id)
    except AuthenticationFailed as error:
        raise LoginRefusedError(user, "revoked_token", verifier.token_id) from error
    post(stream, codec.authentication_sasl_final(last))
    return principal, mechanism


async def _response(stream: Stream) -> bytes:
    try:
        kind, payload = await stream.read_message(MESSAGE_LIMIT)
    except ProtocolError:
        raise ProtocolViolation("a message of the log-in has an invalid length") from None
    if kind != ord("p"):
        raise ProtocolViolation(f"expected SASL response, got message type {kind}")
    return payload
