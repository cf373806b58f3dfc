"""Binary values against what PostgreSQL 18 prints for them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.statements import types
from pgwitness.statements.types.builtin import NAMES

SAMPLES = [
    json.loads(line) for line in (Path(__file__).parent / "type_samples.jsonl").read_text().splitlines()
]
"""(SQL expression, type OID, binary form in hex, text form), recorded from a server with TimeZone UTC."""


@pytest.mark.parametrize(("sql", "oid", "binary", "text"), SAMPLES, ids=[sample[0] for sample in SAMPLES])
def test_a_binary_value_becomes_what_the_server_prints(sql, oid, binary, text):
    assert types.decode(oid, bytes.fromhex(binary)) == (text, False)


@given(st.sampled_from(sorted(NAMES)), st.binary(max_size=60))
def test_decoding_never_fails_and_falls_back_to_hex(oid, value):
    shown, hexed = types.decode(oid, value)
    assert isinstance(shown, str)
    if hexed:
        assert shown == value.hex()


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample[0] for sample in SAMPLES])
def test_a_cut_value_never_fails(sample):
    value = bytes.fromhex(sample[2])
    for end in range(len(value)):
        types.decode(sample[1], value[:end])


def test_a_type_that_is_not_built_in_is_hex_under_its_oid():
    assert types.decode(16400, b"happy") == ("6861707079", True)
    assert types.type_name(16400) == "16400"


def test_an_array_of_a_type_that_is_not_built_in_is_hex():
    value = bytes.fromhex("00000001000000000000401000000001000000010000000161")
    assert types.decode(1009, value) == (value.hex(), True)


@pytest.mark.parametrize(("oid", "name"), [(23, "int4"), (1009, "text[]"), (3807, "jsonb[]"), (0, "unknown")])
def test_names_are_short_and_arrays_are_marked(oid, name):
    assert types.type_name(oid) == name


def test_text_in_another_client_encoding():
    assert types.decode(25, b"\xe9", "iso8859-1") == ("é", False)
    assert types.decode(25, b"\xe9", "utf-8") == ("\\xe9", False)
