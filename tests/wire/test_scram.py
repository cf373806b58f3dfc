"""SCRAM against the published exchange, against itself, and against what an attacker would send."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.wire import scram
from pgwitness.wire.scram import SCRAM, SCRAM_PLUS, ClientExchange, ScramError, ServerExchange

# RFC 7677, section 3
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
BINDING = hashlib.sha256(b"certificate").digest()


@dataclass(frozen=True)
class Stored:
    stored_key: bytes
    server_key: bytes


def stored(password: str, salt: bytes = SALT, iterations: int = 4096) -> Stored:
    keys = scram.derive_keys(password, salt, iterations)
    return Stored(hashlib.sha256(keys.client_key).digest(), keys.server_key)


def test_the_gateway_answers_the_published_exchange() -> None:
    server = ServerExchange(None, SERVER_NONCE)
    assert server.mechanisms == [SCRAM]
    assert server.first(SCRAM, CLIENT_FIRST, SALT, 4096) == SERVER_FIRST
    verifier = stored("pencil")
    assert server.final(CLIENT_FINAL, [stored("other"), verifier]) == (verifier, SERVER_FINAL)


def test_the_client_makes_the_published_proof() -> None:
    client = ClientExchange([SCRAM], None, CLIENT_NONCE)
    client._bare = b"n=user,r=" + CLIENT_NONCE.encode()  # PostgreSQL's clients leave the name empty
    asked = client.challenge(SERVER_FIRST)
    assert (asked.salt, asked.iterations) == (SALT, 4096)
    assert client.final(scram.derive_keys("pencil", asked.salt, asked.iterations)) == CLIENT_FINAL
    client.verify(SERVER_FINAL)
    with pytest.raises(ScramError, match="does not know the password"):
        client.verify(b"v=" + base64.b64encode(b"x" * 32))


def exchange(password: str, verifiers: list[Stored], binding: bytes | None, offered: list[str]) -> Stored:
    server = ServerExchange(binding, "server-nonce")
    client = ClientExchange(offered, binding, "client-nonce")
    asked = client.challenge(server.first(client.mechanism, client.first(), SALT, 4096))
    matched, last = server.final(
        client.final(scram.derive_keys(password, asked.salt, asked.iterations)), verifiers
    )
    client.verify(last)
    return matched


@pytest.mark.parametrize("binding", [None, BINDING])
def test_several_live_tokens(binding: bytes | None) -> None:
    verifiers = [stored("first"), stored("second")]
    offered = ServerExchange(binding, "x").mechanisms
    for password, verifier in zip(["first", "second"], verifiers, strict=True):
        assert exchange(password, verifiers, binding, offered) is verifier
    with pytest.raises(ScramError) as caught:
        exchange("third", verifiers, binding, offered)
    assert caught.value.reason == "proof"
    with pytest.raises(ScramError):
        exchange("first", [], binding, offered)


def test_plus_is_offered_first_and_chosen() -> None:
    assert ServerExchange(BINDING, "x").mechanisms == [SCRAM_PLUS, SCRAM]
    assert ClientExchange([SCRAM_PLUS, SCRAM], BINDING, "x").mechanism == SCRAM_PLUS
    assert ClientExchange([SCRAM_PLUS, SCRAM], None, "x").mechanism == SCRAM


def test_a_downgrade_in_the_middle_is_detected() -> None:
    """Somebody takes -PLUS out of the offer: the client's ``y`` gives it away."""
    with pytest.raises(ScramError) as caught:
        exchange("first", [stored("first")], BINDING, [SCRAM])
    assert caught.value.reason == "downgrade"


def test_another_certificate_in_the_middle_is_detected() -> None:
    server = ServerExchange(BINDING, "server")
    client = ClientExchange(server.mechanisms, hashlib.sha256(b"another").digest(), "client")
    asked = client.challenge(server.first(client.mechanism, client.first(), SALT, 4096))
    with pytest.raises(ScramError) as caught:
        server.final(client.final(scram.derive_keys("p", asked.salt, 4096)), [stored("p")])
    assert caught.value.reason == "binding"


@pytest.mark.parametrize(
    ("mechanism", "message"),
    [
        (SCRAM_PLUS, b"n,,n=,r=abc"),  # not offered without TLS
        ("PLAIN", b"n,,n=,r=abc"),
        (SCRAM, b"p=tls-unique,,n=,r=abc"),
        (SCRAM, b"n,a=admin,n=,r=abc"),
        (SCRAM, b"n,,m=ext,n=,r=abc"),
        (SCRAM, b"n,,n="),
        (SCRAM, b"n,,r=abc,n="),
        (SCRAM, b"n,,n=,r="),
        (SCRAM, b"n,,n=,r=\x01"),
        (SCRAM, b""),
        (SCRAM, b"n"),
    ],
)
def test_malformed_client_first(mechanism: str, message: bytes) -> None:
    with pytest.raises(ScramError):
        ServerExchange(None, "x").first(mechanism, message, SALT, 4096)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_scram_error(message: bytes) -> None:
    server = ServerExchange(None, "x")
    server.first(SCRAM, b"n,,n=,r=abc", SALT, 4096)
    with pytest.raises(ScramError):
        server.final(message, [stored_once])
    with pytest.raises(ScramError):
        ServerExchange(None, "x").first(SCRAM, b"y,," + message.replace(b"n=", b"q="), SALT, 4096)
    with pytest.raises(ScramError):
        ClientExchange([SCRAM], None, "a-nonce-that-is-not-guessed").challenge(message)


stored_once = stored("pencil")


@pytest.mark.parametrize(
    "server_first",
    [
        b"r=other-nonce,s=AAAA,i=4096",
        b"r=client-nonce,s=AAAA,i=4096",
        b"r=client-nonce1,s=AAAA,i=0",
        b"r=client-nonce1,s=AAAA,i=99999999999999999",
        b"r=client-nonce1,s=AAAA,i=00000000100000000000",
        b"r=client-nonce1,s=AAAA,i=-1",
        b"r=client-nonce1,s=***,i=4096",
    ],
)
def test_a_server_that_makes_no_sense(server_first: bytes) -> None:
    with pytest.raises(ScramError):
        ClientExchange([SCRAM], None, "client-nonce").challenge(server_first)


@pytest.mark.parametrize(
    ("password", "normalized"),
    [
        ("I\u00adX", b"IX"),  # RFC 4013, section 3
        ("user", b"user"),
        ("USER", b"USER"),
        ("\u00aa", b"a"),
        ("\u2168", b"IX"),
        ("\u0007", b"\x07"),  # prohibited: taken as it is
        ("\u06271", "\u06271".encode()),
        ("a\u00a0b", b"a b"),
    ],
)
def test_saslprep(password: str, normalized: bytes) -> None:
    assert scram.normalize(password) == normalized


def test_keys_never_show() -> None:
    assert "***" in repr(scram.derive_keys("p", SALT, 1))


def test_derivation_is_the_rfcs() -> None:
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, 4096)
    assert scram.derive_keys("pencil", SALT, 4096).client_key == hmac.digest(salted, b"Client Key", "sha256")
