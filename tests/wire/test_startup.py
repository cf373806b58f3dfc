"""What a client may begin with, and what it may not."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness.wire import codec, startup
from pgwitness.wire.startup import (
    CancelRequest,
    GssRequest,
    SslRequest,
    StartupError,
    StartupMessage,
    parse_packet,
)

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


def body(packet: bytes) -> bytes:
    assert startup.packet_length(packet[:4]) == len(packet) - 4
    return packet[4:]


def test_requests() -> None:
    assert parse_packet(body(codec.ssl_request())) == SslRequest()
    assert parse_packet(body(codec.gssenc_request())) == GssRequest()


@pytest.mark.parametrize("length", [1, 4, 32, 256])
def test_cancel_keys_of_any_length(length: int) -> None:
    key = bytes(range(length % 256)) or bytes(256)
    assert parse_packet(body(codec.cancel_request(4711, key))) == CancelRequest(4711, key)
    assert repr(key) not in repr(CancelRequest(4711, key))


@pytest.mark.parametrize("length", [0, 257])
def test_cancel_keys_beyond_the_protocol(length: int) -> None:
    with pytest.raises(StartupError):
        parse_packet(body(codec.cancel_request(4711, bytes(length))))


@given(st.dictionaries(text, text, max_size=8), text, st.integers(0, 0xFFFF))
def test_startup_message_round_trip(extra: dict[str, str], user: str, minor: int) -> None:
    parameters = {**extra, "user": user}
    packet = parse_packet(body(codec.startup_message((3 << 16) | minor, parameters)))
    assert packet == StartupMessage(minor, parameters)
    assert packet.database == (parameters.get("database") or user)


def test_bytes_that_are_not_utf8_are_forwarded_unchanged() -> None:
    raw = b"\0\3\0\0user\0b\xe4r\0\0"
    packet = parse_packet(raw)
    assert isinstance(packet, StartupMessage)
    assert codec.startup_message(3 << 16, packet.parameters)[4:] == raw
    assert startup.printable(packet.user) == "b\ufffdr"


@pytest.mark.parametrize(
    ("payload", "sqlstate"),
    [
        (b"", "08P01"),
        (b"\0", "28000"),
        (b"user\0u\0", "08P01"),
        (b"user\0u", "08P01"),
        (b"user\0u\0\0\0", "08P01"),
        (b"user\0\0", "08P01"),
        (b"user\0\0\0", "28000"),
        (b"user\0u\0database\0\0", "08P01"),
        (b"database\0d\0\0", "28000"),
        (b"\0u\0\0", "08P01"),
        (b"u", "08P01"),
    ],
)
def test_malformed_parameters(payload: bytes, sqlstate: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse_packet(b"\0\3\0\0" + payload)
    assert caught.value.sqlstate == sqlstate


@pytest.mark.parametrize("code", [0, 1 << 16, 2 << 16, 4 << 16, (1234 << 16) | 5681, 0xFFFFFFFF])
def test_other_protocols_are_told_so(code: int) -> None:
    with pytest.raises(StartupError, match=r"supports 3\.0 to 3\.2") as caught:
        parse_packet(struct.pack("!I", code) + b"user\0u\0\0")
    assert caught.value.sqlstate == "0A000"


@pytest.mark.parametrize("length", [0, 4, 7, 10001, 0x16030100, 0x47455420, 0xFFFFFFFF])
def test_lengths_that_are_not_postgresql(length: int) -> None:
    with pytest.raises(StartupError) as caught:
        startup.packet_length(struct.pack("!I", length))
    assert caught.value.sqlstate is None


def test_negotiation() -> None:
    assert not StartupMessage(0, {"user": "u"}).needs_negotiation
    assert not StartupMessage(2, {"user": "u"}).needs_negotiation
    newer = StartupMessage(9999, {"user": "u"})
    assert newer.needs_negotiation and newer.agreed_minor == 2
    option = StartupMessage(0, {"user": "u", "_pq_.future": "1"})
    assert option.needs_negotiation and option.agreed_minor == 0
    assert option.protocol_options == ["_pq_.future"]


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_any_bytes_give_a_packet_or_a_startup_error(data: bytes) -> None:
    for candidate in (data, b"\0\3\0\0" + data, b"\0\3\0\0user\0u\0" + data, b"\x04\xd2\x16.\0\0\0\1" + data):
        try:
            packet = parse_packet(candidate)
        except StartupError:
            continue
        if isinstance(packet, StartupMessage):
            assert packet.user and packet.database
            startup.claims(packet.parameters)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("", []),
        ("  ", []),
        ("-c a=b", ["-c", "a=b"]),
        (" -c\ta=b  -d ", ["-c", "a=b", "-d"]),
        (r"-c a=b\ c", ["-c", "a=b c"]),
        (r"-c a=b\\c", ["-c", "a=b\\c"]),
        (r"-c a=\b", ["-c", "a=b"]),
        ("a\\", ["a"]),
        ("\\", [""]),
        (r"\ ", [" "]),
    ],
)
def test_options_are_split_as_the_server_does(options: str, arguments: list[str]) -> None:
    assert startup.split_options(options) == arguments


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("-c pgwitness.run=run-81", [("pgwitness.run", "run-81")]),
        ("-cpgwitness.run=run-81", [("pgwitness.run", "run-81")]),
        ("--pgwitness.run=run-81", [("pgwitness.run", "run-81")]),
        ("--statement-timeout=5", [("statement_timeout", "5")]),
        ("-e -c a=1", [("a", "1")]),
        ("-ec a=1", [("a", "1")]),
        ("-S 64 -c a=1", [("a", "1")]),
        ("-S64 -c a=1=2", [("a", "1=2")]),
        ("-c a", []),
        ("-c", []),
        ("-- -c a=1", []),
        ("word -c a=1", []),
        (r"-c a=\\x\ y --b=", [("a", "\\x y"), ("b", "")]),
    ],
)
def test_settings_in_options(options: str, found: list[tuple[str, str]]) -> None:
    assert list(startup.option_settings(options)) == found


def test_claims() -> None:
    parameters = {
        "user": "u",
        "options": r"-c PGWITNESS.run=run-81 -c pgwitness.task=drop\ it -c application_name=first",
        "application_name": "psql",
        "pgwitness.agent": "a\udce4",
    }
    assert startup.claims(parameters) == {
        "run": "run-81",
        "task": "drop it",
        "application_name": "psql",
        "agent": "a\ufffd",
    }
    assert startup.claims({"user": "u"}) == {}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, False),
        ("database", True),
        ("true", True),
        ("1", True),
        ("on", True),
        ("what", True),
        ("", True),
        ("o", True),
        ("off", False),
        ("of", False),
        ("NO", False),
        ("f", False),
        ("0", False),
    ],
)
def test_replication(value: str | None, wanted: bool) -> None:
    parameters = {"user": "u"} if value is None else {"user": "u", "replication": value}
    assert startup.wants_replication(parameters) is wanted
