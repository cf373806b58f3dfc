"""Clients that are silent, slow or hostile, or never read: memory is bounded and others are served."""

import random
import socket
import struct
import time
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.gateway import Gateway
from support.raw import GSS_REQUEST, SSL_REQUEST, RawClient, message, query, startup

MIB = 1 << 20


def memory(gateway: Gateway) -> int:
    """Bytes resident in the gateway's own process, its mapped tape aside."""
    info = psutil.Process(gateway.pid).memory_full_info()
    return int(info.uss)


def serves(gateway: Gateway) -> float:
    """Log in and run a query; the seconds that it took."""
    began = time.monotonic()
    with gateway.connect("agent", "shop") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    return time.monotonic() - began


def test_silent_and_dripping_clients_are_shown_the_door(front: Gateway) -> None:
    front.stop()
    front.environment["PGWITNESS_LIMITS__STARTUP_SECONDS"] = "3"
    front.restart()
    silent = [RawClient(front.port, timeout=10) for _ in range(50)]
    dripping = RawClient(front.port, timeout=10)
    packet = startup(user="agent", database="shop")
    began = time.monotonic()
    try:
        for byte in packet[:4]:
            dripping.send(bytes([byte]))
            assert serves(front) < 2
            time.sleep(0.3)
        for client in silent:
            assert client.closed()
        assert dripping.closed()
        assert time.monotonic() - began < 8
        assert serves(front) < 2
    finally:
        for client in (*silent, dripping):
            client.socket.close()


def test_a_crowd_of_unauthenticated_clients_is_bounded(front: Gateway) -> None:
    """Beyond the limit newcomers are refused or wait; those already in go on, and the place is free again."""
    front.stop()
    front.environment |= {"PGWITNESS_LIMITS__UNAUTHENTICATED": "20", "PGWITNESS_LIMITS__STARTUP_SECONDS": "3"}
    front.restart()
    with front.connect("agent", "shop") as connection:
        crowd = [socket.create_connection(("127.0.0.1", front.port)) for _ in range(300)]
        try:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            time.sleep(4)
        finally:
            for one in crowd:
                one.close()
    assert serves(front) < 5


def test_a_client_that_never_reads_is_held_back(front: Gateway) -> None:
    """A result of 400 MB waits in the server, not in the gateway."""
    with RawClient(front.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.login("agent", front.tokens["agent"], "shop")
        before = memory(front)
        client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 400000)"))
        for _ in range(4):
            time.sleep(0.5)
            assert memory(front) - before < 32 * MIB
            assert serves(front) < 2


def test_a_server_that_does_not_read_holds_its_client_back(front: Gateway) -> None:
    """200 MB of pipelined queries behind a sleeping one: the gateway buffers none of it."""
    with RawClient(front.port) as client:
        client.login("agent", front.tokens["agent"], "shop")
        client.send(query("SELECT pg_sleep(3)"))
        before = memory(front)
        client.socket.settimeout(0.5)
        big = query(f"SELECT length('{'y' * MIB}')")
        with pytest.raises(TimeoutError):
            for _ in range(200):
                client.send(big)
        assert memory(front) - before < 32 * MIB
        assert serves(front) < 2


# hostile start-up packets

_lengths = st.one_of(
    st.integers(0, 64),
    st.sampled_from([0, 1, 3, 4, 7, 8, 9, 10000, 10001, 2**16, 2**30, 2**31 - 1, 2**31, 2**32 - 1]),
)
_codes = st.sampled_from(
    [0, 1, 0x20000, 0x30000, 0x30002, 0x3FFFF, 0x40000, 80877102, 80877103, 80877104, 80877105, 0xFFFFFFFF]
)
_names = st.one_of(
    st.sampled_from(["user", "database", "options", "replication", "client_encoding", "_pq_.x", ""]),
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
_pairs = st.lists(st.tuples(_names, _names), max_size=6)


def _well_formed(pairs: list[tuple[str, str]], code: int, ending: bytes) -> bytes:
    body = b"".join(part.encode() + b"\0" for pair in pairs for part in pair) + ending
    return struct.pack("!II", len(body) + 8, code) + body


packets = st.one_of(
    st.binary(max_size=64),
    st.builds(
        lambda n, code, body: struct.pack("!II", n, code) + body, _lengths, _codes, st.binary(max_size=64)
    ),
    st.builds(_well_formed, _pairs, _codes, st.sampled_from([b"", b"\0", b"\0\0", b"x"])),
    st.builds(
        lambda first, rest: first + rest, st.sampled_from([SSL_REQUEST, GSS_REQUEST]), st.binary(max_size=64)
    ),
    st.builds(lambda rest: b"\x16\x03\x01" + rest, st.binary(max_size=64)),
    st.builds(
        lambda kind, payload: startup(user="agent", database="shop") + message(kind, payload),
        st.sampled_from("pQXPBES\0"),
        st.binary(max_size=64),
    ),
)


def knock(port: int, packet: bytes) -> None:
    """Send it, say no more, and see the connection closed in order or by a reset: never left hanging."""
    with RawClient(port, timeout=15) as client:
        try:
            client.send(packet)
            client.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return
        assert client.closed(), f"left hanging by {packet!r}"


@pytest.fixture(scope="module")
def fuzzed(shared_gateway: Gateway) -> Iterator[Gateway]:
    """The shared gateway; after all the rubbish it still serves, is the same process and has not grown."""
    pid, before = shared_gateway.pid, memory(shared_gateway)
    yield shared_gateway
    assert shared_gateway.pid == pid and psutil.pid_exists(pid)
    assert memory(shared_gateway) - before < 64 * MIB
    assert "Traceback" not in shared_gateway.log, shared_gateway.log[-4000:]
    with shared_gateway.connect("agent", "shop18") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


_fuzz = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=400, **_fuzz)  # type: ignore[arg-type]
@given(packet=packets)
def test_hostile_start_up_packets(fuzzed: Gateway, packet: bytes) -> None:
    knock(fuzzed.port, packet)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=60_000, **_fuzz)  # type: ignore[arg-type]
@given(packet=packets)
def test_hostile_start_up_packets_at_volume(fuzzed: Gateway, packet: bytes) -> None:
    knock(fuzzed.port, packet)


def _mutations(count: int, seed: int) -> Iterator[bytes]:
    """Good conversations with bytes flipped, cut, doubled and swapped."""
    rng = random.Random(seed)
    corpus = [
        startup(user="agent", database="shop18"),
        startup(0x30002, user="agent", database="shop18", options="-c pgwitness.run=1"),
        SSL_REQUEST,
        GSS_REQUEST + SSL_REQUEST,
        startup(user="agent", database="shop18") + message("p", b"SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=aaaa"),
        struct.pack("!iiii", 16, 80877102, 1, 1),
    ]  # fmt: skip
    for _ in range(count):
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data)) if data else 0
            match rng.randrange(4):
                case 0 if data:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    del data[at:]
                case 2:
                    data[at:at] = data[at : at + 16]
                case _:
                    data[at:at] = rng.randbytes(rng.randint(1, 8))
        yield bytes(data)


def test_damaged_conversations(fuzzed: Gateway) -> None:
    for packet in _mutations(300, seed=1):
        knock(fuzzed.port, packet)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_damaged_conversations_at_volume(fuzzed: Gateway) -> None:
    for packet in _mutations(40_000, seed=2):
        knock(fuzzed.port, packet)


def test_hostile_messages_after_login(shared_gateway: Gateway) -> None:
    """Lengths that lie, unknown types, rubbish: that session ends with a clear error, and only that one."""
    for rubbish in (
        b"Q\0\0\0\3",
        b"Q\xff\xff\xff\xff" + b"x" * 100,
        b"\0" * 100,
        b"\xff" * 100,
        b"Z" + struct.pack("!i", 2**31 - 1),
        message("B", b"\0\0\x7f\xff"),
        message("F", b""),
        message("d", b"copy data out of the blue"),
    ):
        with RawClient(shared_gateway.port, timeout=15) as client:
            client.login("agent", shared_gateway.tokens["agent"], "shop18")
            client.send(rubbish)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.closed(), rubbish
    with shared_gateway.connect("agent", "shop18") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
