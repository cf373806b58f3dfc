"""The address of a gateway, and what a failure on the way to it means."""

import pytest

from pgwitness._core import StreamError
from pgwitness.connector.reach import explain, parse_address
from pgwitness.errors import ConnectorRefused, InvalidError, UnavailableError


def test_addresses() -> None:
    assert parse_address("gw.example:7433") == ("gw.example", 7433)
    assert parse_address("[2001:db8::1]:7433") == ("2001:db8::1", 7433)


@pytest.mark.parametrize("text", ["", "gw", "gw:", ":7433", "gw:0", "gw:65536", "gw:http", "https://gw"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidError, match="address of a gateway"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "received fatal alert: CertificateExpired",
        "received fatal alert: UnknownCA",
        "invalid peer certificate",
    ],
)
def test_trust_does_not_come_back_by_trying_again(text: str) -> None:
    assert isinstance(explain(StreamError(text), "gw:1"), ConnectorRefused)


@pytest.mark.parametrize("text", ["connection refused", "tls handshake eof", "the stream ended"])
def test_a_gateway_that_is_away_may_come_back(text: str) -> None:
    assert isinstance(explain(StreamError(text), "gw:1"), UnavailableError)
