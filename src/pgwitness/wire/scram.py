"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both ends, as steps from bytes to bytes.

Source: RFC 5802, RFC 7677, RFC 5929 (``tls-server-end-point``), RFC 4013 (SASLprep); where PostgreSQL
differs, as PostgreSQL does it: the user name inside SCRAM is ignored, a password that SASLprep refuses is
used as it is. Nonces are given by the caller, so that the same input gives the same output. Every failure is
a ``ScramError``.
"""

from __future__ import annotations

import hashlib
import hmac
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"
NONCE_BYTES: Final = 18
MAX_ITERATIONS: Final = 10_000_000
"""A server that asks for more wants our processor, not our password."""

_PLUS_HEADER: Final = b"p=tls-server-end-point,,"


class ScramError(ValueError):
    """The exchange failed. ``reason`` is a word for the record: ``malformed``, ``binding``,
    ``downgrade``, ``proof``.
    """

    def __init__(self, message: str, reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


class Verifier(Protocol):
    """What is stored of one token (RFC 5803): enough to check a proof, not enough to make one."""

    @property
    def stored_key(self) -> bytes: ...
    @property
    def server_key(self) -> bytes: ...


V = TypeVar("V", bound=Verifier)


def make_nonce(random: bytes) -> str:
    return b64encode(random).decode("ascii")


class ServerExchange:
    """The gateway's end: ``first`` with the client's first message, then ``final`` with its second.

    ``binding`` is the hash of the gateway's certificate on a TLS connection, None without.
    """

    def __init__(self, binding: bytes | None, nonce: str) -> None:
        self._binding = binding
        self._server_nonce = nonce
        self._expected_binding = b""
        self._auth_message = b""
        self._nonce = b""
        self._proof = b""

    @property
    def mechanisms(self) -> list[str]:
        """To offer, the strongest first."""
        return [SCRAM_PLUS, SCRAM] if self._binding is not None else [SCRAM]

    def first(self, mechanism: str, message: bytes, salt: bytes, iterations: int) -> bytes:
        """The answer to client-first: server-first."""
        if mechanism not in self.mechanisms:
            raise ScramError("the client chose a SASL mechanism that was not offered")
        header, bare = self._gs2_header(mechanism, message)
        self._expected_binding = b64encode(
            header + (self._binding or b"") if mechanism == SCRAM_PLUS else header
        )
        attributes = _attributes(bare)
        if list(attributes)[:2] != ["n", "r"]:
            raise ScramError("client-first needs a user name and a nonce")
        self._nonce = attributes["r"] + self._server_nonce.encode()
        server_first = b"r=%s,s=%s,i=%d" % (self._nonce, b64encode(salt), iterations)
        self._auth_message = bare + b"," + server_first
        return server_first

    def final(self, message: bytes, verifiers: Iterable[V]) -> tuple[V, bytes]:
        """Which verifier the client's proof fits, and server-final. Raises ScramError."""
        without_proof, separator, proof_text = message.rpartition(b",p=")
        if not separator:
            raise ScramError("client-final without a proof")
        attributes = _attributes(without_proof)
        if list(attributes)[:2] != ["c", "r"]:
            raise ScramError("client-final needs a channel binding and a nonce")
        if not hmac.compare_digest(attributes["c"], self._expected_binding):
            raise ScramError("SCRAM channel binding check failed", "binding")
        if not hmac.compare_digest(attributes["r"], self._nonce):
            raise ScramError("the nonce is not the one of this exchange")
        proof = _base64(proof_text)
        if len(proof) != 32:
            raise ScramError("a proof has 32 bytes")
        self._auth_message += b"," + without_proof
        self._proof = proof
        matched = self.fitting(verifiers)
        if matched is None:
            raise ScramError("the proof fits no live token", "proof")
        return matched, b"v=" + b64encode(_hmac(matched.server_key, self._auth_message))

    def fitting(self, verifiers: Iterable[V]) -> V | None:
        """Which verifier the proof fits that ``final`` was given, for whoever wants to know what a wrong one
        was."""
        matched: V | None = None
        for verifier in verifiers:  # all of them, so that time does not tell which one fits
            signature = _hmac(verifier.stored_key, self._auth_message)
            stored_key = hashlib.sha256(_xor(self._proof, signature)).digest()
            if hmac.compare_digest(stored_key, verifier.stored_key):
                matched = verifier
        return matched

    def _gs2_header(self, mechanism: str, message: bytes) -> tuple[bytes, bytes]:
        """(header up to and with its second comma, client-first-bare)"""
        parts = message.split(b",", 2)
        if len(parts) != 3:
            raise ScramError("client-first is cut short")
        flag, authzid, bare = parts
        if authzid:
            raise ScramError("the client uses an authorization identity, which is not supported")
        if mechanism == SCRAM_PLUS:
            if flag != b"p=tls-server-end-point":
                raise ScramError("the client chose channel binding without a type that is known", "binding")
        elif flag == b"y" and self._binding is not None:
            # The client can bind and believes that we cannot: somebody between took -PLUS out of our offer.
            raise ScramError("channel binding was offered, but the client was not told", "downgrade")
        elif flag not in (b"n", b"y"):
            raise ScramError("unexpected channel-binding flag", "binding")
        return flag + b",,", bare


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a password becomes for one salt and iteration count: costly to derive, enough to log in."""

    client_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "ClientKeys(***)"


def derive_keys(password: str, salt: bytes, iterations: int) -> ClientKeys:
    """Takes milliseconds, and releases the GIL."""
    salted = hashlib.pbkdf2_hmac("sha256", normalize(password), salt, iterations)
    return ClientKeys(_hmac(salted, b"Client Key"), _hmac(salted, b"Server Key"))


@dataclass(frozen=True, slots=True)
class ServerFirst:
    salt: bytes
    iterations: int


class ClientExchange:
    """The end that logs in upstream: ``first()``, ``challenge``, derive the keys, ``final``, ``verify``.

    ``binding`` is the hash of the server's certificate on a TLS connection, None without. -PLUS is chosen
    when the server offers it; otherwise the flag says that we could have (``y``), so that a downgrade shows.
    """

    def __init__(self, offered: Iterable[str], binding: bytes | None, nonce: str) -> None:
        offered = list(offered)
        if SCRAM_PLUS in offered and binding is not None:
            self.mechanism = SCRAM_PLUS
            self._header = _PLUS_HEADER
        elif SCRAM in offered:
            self.mechanism = SCRAM
            self._header = b"n,," if binding is None else b"y,,"
        else:
            raise ScramError(f"the server offers no SASL mechanism that is supported: {', '.join(offered)}")
        self._binding = binding if self.mechanism == SCRAM_PLUS and binding is not None else b""
        self._nonce = nonce.encode()
        self._bare = b"n=,r=" + self._nonce
        self._server_first = b""
        self._full_nonce = b""
        self._auth_message = b""
        self._server_key = b""

    def first(self) -> bytes:
        return self._header + self._bare

    def challenge(self, message: bytes) -> ServerFirst:
        attributes = _attributes(message)
        if list(attributes)[:3] != ["r", "s", "i"]:
            raise ScramError("server-first needs a nonce, a salt and an iteration count")
        self._full_nonce = attributes["r"]
        if not self._full_nonce.startswith(self._nonce) or len(self._full_nonce) == len(self._nonce):
            raise ScramError("the server's nonce does not extend ours")
        digits = attributes["i"]
        iterations = int(digits) if digits.isdigit() and len(digits) <= len(str(MAX_ITERATIONS)) else 0
        if not 0 < iterations <= MAX_ITERATIONS:
            raise ScramError("the server's iteration count makes no sense")
        self._server_first = message
        return ServerFirst(_base64(attributes["s"]), iterations)

    def final(self, keys: ClientKeys) -> bytes:
        without_proof = b"c=%s,r=%s" % (b64encode(self._header + self._binding), self._full_nonce)
        self._auth_message = b",".join((self._bare, self._server_first, without_proof))
        self._server_key = keys.server_key
        signature = _hmac(hashlib.sha256(keys.client_key).digest(), self._auth_message)
        return without_proof + b",p=" + b64encode(_xor(keys.client_key, signature))

    def verify(self, message: bytes) -> None:
        """The server knows the password's verifier, or ScramError."""
        attributes = _attributes(message)
        if "e" in attributes:
            raise ScramError(f"the server refused: {attributes['e'].decode('ascii', 'replace')}", "proof")
        if not self._auth_message or "v" not in attributes:
            raise ScramError("server-final without a signature")
        expected = _hmac(self._server_key, self._auth_message)
        if not hmac.compare_digest(_base64(attributes["v"]), expected):
            raise ScramError("incorrect server signature: the server does not know the password", "proof")


def normalize(password: str) -> bytes:
    """SASLprep (RFC 4013); a password that it refuses is taken as it is."""
    raw = password.encode("utf-8", "surrogateescape")
    if raw.isascii():
        return raw
    try:
        return _saslprep(password).encode("utf-8")
    except ValueError:
        return raw


_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def _saslprep(text: str) -> str:
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    result = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not result or any(table(character) for character in result for table in _PROHIBITED):
        raise ValueError("prohibited in a password")
    if any(map(stringprep.in_table_d1, result)) and (
        any(map(stringprep.in_table_d2, result))
        or not (stringprep.in_table_d1(result[0]) and stringprep.in_table_d1(result[-1]))
    ):
        raise ValueError("mixes directions of writing")
    return result


def _attributes(message: bytes) -> Mapping[str, bytes]:
    """``a=value,b=value`` in order. A mandatory extension (``m=``) is refused, as RFC 5802 wants it."""
    attributes: dict[str, bytes] = {}
    for part in message.split(b","):
        if len(part) < 2 or part[1:2] != b"=" or not part[:1].isalpha():
            raise ScramError("a SCRAM message has a malformed attribute")
        name, value = part[:1].decode("ascii"), part[2:]
        if name == "m":
            raise ScramError("the message requires an unsupported SCRAM extension")
        if name in attributes:
            raise ScramError("a SCRAM message repeats an attribute")
        if name == "r" and (not value or any(not 0x21 <= byte <= 0x7E for byte in value)):
            raise ScramError("a nonce has a character that is not printable")
        attributes[name] = value
    return attributes


def _base64(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except Base64Error:
        raise ScramError("a SCRAM message has malformed base64") from None


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
