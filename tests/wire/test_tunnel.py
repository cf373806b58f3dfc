"""Messages of the tunnel: every value survives, no bytes break more than their own message."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.wire import tunnel
from pgwitness.wire.tunnel import MalformedTunnelMessageError

KINDS = [kind for kind in tunnel.Message.__subclasses__() if kind.__module__ == tunnel.__name__]
SAMPLE = tunnel.Dial(
    dial="d1",
    connection="orders",
    hosts=[("db", 5432)],
    database="shop",
    user="app",
    sslmode="require",
    parameters=[(b"options", b"-c x=\xff")],
    minor=2,
    timeout=10.0,
    password=b"upstream-secret",
    sslkey=b"PRIVATE KEY",
)


def values(kind: type[tunnel.Message]) -> st.SearchStrategy[tunnel.Message]:
    """Any message of this kind: hypothesis knows the fields by their types."""
    return st.builds(
        kind, **{field.name: of_type(field.type) for field in msgspec.inspect.type_info(kind).fields}
    )


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    i = msgspec.inspect
    match kind:
        case i.StrType():
            return st.text(st.characters(codec="utf-8"))
        case i.BytesType():
            return st.binary()
        case i.IntType():
            return st.integers(0, 2**32)
        case i.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case i.NoneType():
            return st.none()
        case i.LiteralType():
            return st.sampled_from(kind.values)
        case i.ListType():
            return st.lists(of_type(kind.item_type), max_size=4)
        case i.TupleType():
            return st.tuples(*map(of_type, kind.item_types))
        case i.UnionType():
            return st.one_of(*map(of_type, kind.types))
        case i.StructType():
            return st.builds(kind.cls, **{field.name: of_type(field.type) for field in kind.fields})
    raise AssertionError(kind)


@given(st.one_of(*map(values, KINDS)))
def test_every_message_comes_back_as_it_was(message: tunnel.Message) -> None:
    wire = tunnel.encode(message)
    head, body = wire[: tunnel.HEAD_BYTES], wire[tunnel.HEAD_BYTES :]
    assert tunnel.body_length(head) == len(body)
    assert tunnel.decode(body) == message


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_malformed(body: bytes) -> None:
    with suppress(MalformedTunnelMessageError):
        assert isinstance(tunnel.decode(body), tunnel.Message)


@given(st.binary(max_size=8))
def test_any_head_is_a_length_or_malformed(head: bytes) -> None:
    with suppress(MalformedTunnelMessageError):
        assert 0 <= tunnel.body_length(head) <= tunnel.MAX_BODY


def test_a_message_beyond_the_limit_is_neither_sent_nor_taken() -> None:
    with pytest.raises(MalformedTunnelMessageError, match="limit"):
        tunnel.encode(tunnel.Refused("message", "x" * tunnel.MAX_BODY))
    with pytest.raises(MalformedTunnelMessageError, match="limit"):
        tunnel.body_length((tunnel.MAX_BODY + 1).to_bytes(4, "big"))


def test_the_type_is_the_name_in_lower_case() -> None:
    assert json.loads(tunnel.encode(tunnel.Welcome("beside", 2))[4:]) == {
        "type": "welcome",
        "name": "beside",
        "heartbeat": 2,
    }


def test_a_field_that_a_newer_peer_adds_is_ignored_and_a_type_is_not() -> None:
    assert tunnel.decode(b'{"type":"heartbeat","load":3}') == tunnel.Heartbeat()
    with pytest.raises(MalformedTunnelMessageError, match="teleport"):
        tunnel.decode(b'{"type":"teleport"}')


def test_deep_nesting_is_malformed() -> None:
    with pytest.raises(MalformedTunnelMessageError):
        tunnel.decode(b'{"type":"heartbeat","x":' + b"[" * 200_000)


def test_no_secret_shows_in_a_repr() -> None:
    join = tunnel.Join("id", "join-secret", "csr", "software")
    shown = repr([SAMPLE, join, tunnel.Data("ticket-secret"), tunnel.Supply(["ticket-secret"])])
    assert "secret" not in shown and "PRIVATE" not in shown


def test_what_is_said_out_of_turn_is_told() -> None:
    assert tunnel.expect(tunnel.Bye(), tunnel.Bye) == tunnel.Bye()
    with pytest.raises(MalformedTunnelMessageError, match="expected Welcome, got: removed"):
        tunnel.expect(tunnel.Refused("certificate", "removed"), tunnel.Welcome)


def test_the_document_names_every_message_and_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tunnel.md").read_text()
    for kind in KINDS:
        for name in (kind.__name__.lower(), *kind.__struct_fields__):
            assert f"`{name}`" in text or f"`{name}:" in text or f"`failed.{name}`" in text, (kind, name)
