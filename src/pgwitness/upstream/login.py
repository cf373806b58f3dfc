"""Logging in to PostgreSQL with a connection's registered user, and what the server says before it is ready.

Methods: trust, cleartext password, md5, SCRAM-SHA-256 and -PLUS with the server's signature checked, client
certificate (by TLS). GSSAPI, SSPI and others are refused. Nothing secret is logged, and nothing is kept but
SCRAM keys in memory, since deriving them takes milliseconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from pgwitness._core import ProtocolError, Stream, StreamError
from pgwitness.catalog.models import Secret
from pgwitness.errors import ClientError
from pgwitness.posting import post
from pgwitness.upstream.endpoints import MisconfiguredError, UpstreamError
from pgwitness.wire import codec, scram, tls_names
from pgwitness.wire.codec import ErrorFields, MalformedPayloadError
from pgwitness.wire.scram import ClientExchange, ClientKeys, ScramError

MESSAGE_LIMIT: Final = 1 << 20
GREETING_LIMIT: Final = 1 << 20
"""What a server may say before it is ready: all of it is held until the session is on the tape."""
_CANNOT_CONNECT_NOW: Final = "57P03"
_REFUSED_METHODS: Final = {
    2: "Kerberos V5",
    6: "SCM credentials",
    7: "GSSAPI",
    8: "GSSAPI",
    9: "SSPI",
    13: "OAuth",
}


class ServerRefusedError(UpstreamError):
    """The server answered with an error before the log-in was done: it refused the registered user."""

    retry_encryption = True

    def __init__(self, error: ErrorFields) -> None:
        super().__init__(f"the server refused: {error.sqlstate} {error.message}")
        self.error = error
        self.next_host = error.sqlstate == _CANNOT_CONNECT_NOW


class StartupRefusedError(ClientError):
    """The server refused the session after the log-in: what the client asked for in its start-up packet.

    ``response`` is the server's ErrorResponse, to be passed on as it is.
    """

    def __init__(self, payload: bytes) -> None:
        error = codec.parse_error(payload)
        super().__init__(error.message)
        self.sqlstate = error.sqlstate
        self.response = codec.message(b"E", payload)


@dataclass(slots=True)
class Greeting:
    """What a server says between log-in and its first ReadyForQuery."""

    protocol_minor: int
    pid: int = 0
    key: bytes = field(default=b"", repr=False)
    parameters: dict[str, str] = field(default_factory=dict)
    passed_on: list[bytes] = field(default_factory=list)
    """ParameterStatus, notices and notifications, for the client as they came."""
    status: bytes = b"I"


class KeyCache:
    """SCRAM keys by password, salt and iterations: in memory only, and bounded."""

    def __init__(self, executor: Executor, size: int = 1024) -> None:
        self._executor = executor
        self._size = size
        self._keys: dict[bytes, ClientKeys] = {}

    async def derive(self, password: str, salt: bytes, iterations: int) -> ClientKeys:
        """In a thread: PBKDF2 would hold the loop for milliseconds."""
        digest = hashlib.sha256(
            b"%d:%d:" % (iterations, len(salt)) + salt + scram.normalize(password)
        ).digest()
        keys = self._keys.get(digest)
        if keys is None:
            loop = asyncio.get_running_loop()
            keys = await loop.run_in_executor(self._executor, scram.derive_keys, password, salt, iterations)
            if len(self._keys) >= self._size:
                self._keys.clear()
            self._keys[digest] = keys
        return keys


class UpstreamLogin:
    """One log-in on one stream: ``run`` once."""

    def __init__(self, stream: Stream, user: str, password: Secret | None, keys: KeyCache) -> None:
        self._stream = stream
        self._user = user
        self._password = password
        self._revealed: bytes | None = None
        self._keys = keys
        self._scram: ClientExchange | None = None
        self._proved = False
        self._read_bytes = 0

    async def run(self, protocol_minor: int, parameters: dict[str, str]) -> Greeting:
        """Raises UpstreamError, StartupRefusedError."""
        greeting = Greeting(protocol_minor)
        try:
            post(self._stream, codec.startup_message((3 << 16) | protocol_minor, parameters))
            await self._authenticate(greeting)
            await self._until_ready(greeting)
        except (StreamError, ProtocolError, MalformedPayloadError) as error:
            raise UpstreamError(f"the server broke off the log-in: {error}") from error
        return greeting

    async def _authenticate(self, greeting: Greeting) -> None:
        while True:
            kind, payload = await self._read()
            if kind == ord("R"):
                method, data = codec.parse_authentication(payload)
                if method == 0:
                    return self._check_proved()
                await self._answer(method, data)
            elif kind == ord("E"):
                raise ServerRefusedError(codec.parse_error(payload))
            elif kind == ord("v"):
                version, _ = codec.parse_negotiate_protocol_version(payload)
                greeting.protocol_minor = min(greeting.protocol_minor, version & 0xFFFF)
            elif kind == ord("N"):
                greeting.passed_on.append(codec.message(b"N", payload))
            else:
                raise UpstreamError(f"the server sent message type {kind} during the log-in")

    def _check_proved(self) -> None:
        """A server that breaks off SCRAM with an early yes has not shown that it knows the password."""
        if self._scram is not None and not self._proved:
            raise UpstreamError("the server ended SCRAM without its signature")

    async def _answer(self, method: int, data: bytes) -> None:
        if method == 3:
            post(self._stream, codec.password_message(self._secret()))
        elif method == 5:
            post(self._stream, codec.password_message(md5_answer(self._user, self._secret(), data)))
        elif method in (10, 11, 12):
            try:
                await self._answer_sasl(method, data)
            except (ScramError, tls_names.CertificateNameError) as error:
                raise UpstreamError(f"SCRAM with the server failed: {error}") from error
        else:
            name = _REFUSED_METHODS.get(method, f"method {method}")
            raise MisconfiguredError(
                f"the server asks for authentication by {name}, which pgwitness does not support; "
                "use scram-sha-256 or a client certificate in pg_hba.conf"
            )

    async def _answer_sasl(self, method: int, data: bytes) -> None:
        if method == 10:
            nonce = scram.make_nonce(os.urandom(scram.NONCE_BYTES))
            self._scram = ClientExchange(codec.parse_sasl_mechanisms(data), self._binding(), nonce)
            self._secret()  # not registered is an error of its own, before the server fails us for it
            post(self._stream, codec.sasl_initial_response(self._scram.mechanism, self._scram.first()))
        elif self._scram is None:
            raise ScramError("the server continues an exchange that did not begin")
        elif method == 11:
            asked = self._scram.challenge(data)
            password = self._secret().decode("utf-8", "surrogateescape")
            keys = await self._keys.derive(password, asked.salt, asked.iterations)
            post(self._stream, codec.sasl_response(self._scram.final(keys)))
        else:
            self._scram.verify(data)
            self._proved = True

    def _binding(self) -> bytes | None:
        certificate = self._stream.tls.peer_certificate if self._stream.tls is not None else None
        return tls_names.end_point_binding(certificate) if certificate is not None else None

    def _secret(self) -> bytes:
        if self._password is None:
            raise MisconfiguredError("the server asks for a password, and none is registered")
        if self._revealed is None:  # decrypting costs more than the rest of an exchange
            self._revealed = self._password.reveal().encode("utf-8", "surrogateescape")
        return self._revealed

    async def _read(self) -> tuple[int, bytes]:
        kind, payload = await self._stream.read_message(MESSAGE_LIMIT)
        self._read_bytes += len(payload) + 5
        if self._read_bytes > GREETING_LIMIT:
            raise UpstreamError("the server says more than a mebibyte before it is ready")
        return kind, payload

    async def _until_ready(self, greeting: Greeting) -> None:
        try:
            messages = await self._stream.read_messages(GREETING_LIMIT - self._read_bytes, b"ZE")
        except ProtocolError as error:
            raise UpstreamError(f"the server says more than a mebibyte before it is ready: {error}") from None
        for kind, payload in messages:
            if kind == ord("Z"):
                greeting.status = payload
            elif kind == ord("E"):
                raise StartupRefusedError(payload)
            elif kind == ord("K"):
                greeting.pid, greeting.key = codec.parse_backend_key_data(payload)
            elif kind in b"SNA":
                if kind == ord("S"):
                    name, value = codec.parse_parameter_status(payload)
                    greeting.parameters[name] = value
                greeting.passed_on.append(codec.message(bytes([kind]), payload))
            else:
                raise UpstreamError(f"the server sent message type {kind} before it was ready")


def md5_answer(user: str, password: bytes, salt: bytes) -> bytes:
    """``md5`` and md5(md5(password + user) + salt), all in hexadecimal."""
    inner = hashlib.md5(password + user.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt[:4], usedforsecurity=False).hexdigest().encode()
