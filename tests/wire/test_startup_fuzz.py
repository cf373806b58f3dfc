"""Hostile start-up packets and SASL messages at volume: an answer or the promised error, nothing else."""

import contextlib
import random
from collections.abc import Iterator

import pytest

from pgwitness.wire import codec, scram, startup
from pgwitness.wire.codec import MalformedPayloadError
from pgwitness.wire.scram import ScramError, ServerExchange
from pgwitness.wire.startup import StartupError, StartupMessage

CORPUS = [
    codec.ssl_request(),
    codec.gssenc_request(),
    codec.cancel_request(4711, b"1234"),
    codec.cancel_request(4711, bytes(256)),
    codec.startup_message(
        3 << 16, {"user": "agent", "database": "shop", "options": "-c pgwitness.run=r\\ 1"}
    ),
    codec.startup_message((3 << 16) | 9999, {"user": "agent", "_pq_.x": "1", "replication": "database"}),
    codec.startup_message(2 << 16, {"user": "agent"}),
]
CLIENT_FIRST = [b"n,,n=,r=abcdef", b"y,,n=user,r=abcdef", b"p=tls-server-end-point,,n=,r=abcdef"]
CLIENT_FINAL = [b"c=biws,r=abcdefx,p=" + b"A" * 43 + b"=", b"c=eSws,r=abcdefx,p=AAAA"]


def mutations(seed: int, corpus: list[bytes], count: int) -> Iterator[bytes]:
    """Bits flipped, bytes inserted, removed, repeated, spliced: the same ones for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            change = rng.randrange(5)
            if change == 0 and data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            elif change == 1:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            elif change == 2:
                del data[at : at + rng.randint(1, 8)]
            elif change == 3:
                data[at:at] = data[:at]
            else:
                data[at:] = rng.choice(corpus)[at:]
        yield bytes(data[:12000])


def check_packets(seed: int, count: int) -> None:
    for data in mutations(seed, CORPUS, count):
        try:
            if len(data) >= 4:
                startup.packet_length(data[:4])
        except StartupError:
            pass
        try:
            packet = startup.parse_packet(data[4:])
        except StartupError:
            continue
        if isinstance(packet, StartupMessage):
            startup.claims(packet.parameters)
            startup.wants_replication(packet.parameters)
            startup.printable(packet.database).encode()


def check_sasl(seed: int, count: int) -> None:
    firsts = list(mutations(seed, CLIENT_FIRST, count))
    finals = list(mutations(seed + 1, CLIENT_FINAL, count))
    keys = scram.derive_keys("token", b"salt", 1)

    class Stored:
        stored_key, server_key = keys.client_key, keys.server_key

    for first, final in zip(firsts, finals, strict=True):
        for payload in (first, codec.sasl_initial_response(scram.SCRAM, first)[5:]):
            with contextlib.suppress(MalformedPayloadError):
                codec.parse_sasl_initial_response(payload)
        exchange = ServerExchange(b"binding" if first[:1] == b"p" else None, "x")
        try:
            mechanism = exchange.mechanisms[0]
            exchange.first(mechanism, first, b"salt", 4096)
            exchange.final(final, [Stored()])
        except ScramError:
            continue
        raise AssertionError("a proof was accepted that nobody could make")


@pytest.mark.parametrize("seed", range(3))
def test_a_sample(seed: int) -> None:
    check_packets(seed, 2000)
    check_sasl(seed, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_at_volume(seed: int) -> None:
    check_packets(seed, 20_000)
    check_sasl(seed, 10_000)
