"""Builders and parsers against each other and against bytes of the manual."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.wire import codec


def payload(wire: bytes) -> bytes:
    ((_, body, _),) = codec.MessageSplitter(1 << 20).feed(wire)
    return body


def test_error_response_has_both_severities_and_only_the_fields_given():
    wire = codec.error_response("FATAL", "28P01", "no", hint="issue a token")
    assert wire == b"E\0\0\0\x2dSFATAL\0VFATAL\0C28P01\0Mno\0Hissue a token\0\0"
    fields = codec.parse_error(payload(wire))
    assert (fields.severity, fields.sqlstate, fields.message) == ("FATAL", "28P01", "no")
    assert (fields.detail, fields.hint) == (None, "issue a token")


def test_the_severity_that_is_never_translated_wins():
    assert codec.parse_error(b"SFEHLER\0VERROR\0C42601\0Mx\0\0").severity == "ERROR"


def test_start_up_packets_are_those_of_the_manual():
    assert codec.ssl_request() == bytes.fromhex("0000000804d2162f")
    assert codec.gssenc_request() == bytes.fromhex("0000000804d21630")
    assert codec.cancel_request(1, b"\0\0\0\2") == bytes.fromhex("0000001004d2162e0000000100000002")
    assert codec.startup_message(codec.PROTOCOL_3_0, {"user": "a"}) == b"\0\0\0\x10\0\3\0\0user\0a\0\0"


def test_cancel_keys_of_protocol_3_2_are_longer():
    key = bytes(range(32))
    assert codec.parse_backend_key_data(payload(codec.backend_key_data(7, key))) == (7, key)


def test_negotiation_carries_the_whole_version():
    wire = codec.negotiate_protocol_version(2, ["_pq_.x"])
    assert codec.parse_negotiate_protocol_version(payload(wire)) == (codec.PROTOCOL_3_2, ["_pq_.x"])


def test_sasl_steps():
    wire = codec.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=x")
    assert codec.parse_sasl_initial_response(payload(wire)) == ("SCRAM-SHA-256", b"n,,n=,r=x")
    method, data = codec.parse_authentication(payload(codec.authentication_sasl(["A", "B"])))
    assert (method, codec.parse_sasl_mechanisms(data)) == (10, ["A", "B"])


def test_a_string_with_a_zero_byte_is_refused():
    with pytest.raises(ValueError, match="zero byte"):
        codec.query("a\0b")


@given(st.binary(max_size=64))
def test_parsers_raise_nothing_but_malformed_payload(data):
    for parse in (
        codec.parse_error,
        codec.parse_parameter_status,
        codec.parse_backend_key_data,
        codec.parse_authentication,
        codec.parse_sasl_initial_response,
        codec.parse_negotiate_protocol_version,
        codec.parse_row_description,
    ):
        with suppress(codec.MalformedPayloadError):
            parse(data)
