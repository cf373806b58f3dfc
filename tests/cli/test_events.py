"""``pgwitness events``: a log-in that was refused is found, with the reason that the client is not told."""

import time

import psycopg
import pytest

from support.gateway import Gateway
from support.servers import Server


def test_a_refused_login_is_found_with_its_reason(gateway: Gateway, server18: Server) -> None:
    gateway.add_connection("orders", server18)
    good = gateway.add_identity("agent", "orders")
    token_id = good.removeprefix("pgw_").partition("_")[0]
    gateway.run("token", "revoke", token_id)
    for user, token in (("agent", good), ("agent", "pgw_wrong"), ("nobody", "x")):
        gateway.tokens[user] = token
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            gateway.connect(user, "orders")

    deadline = time.monotonic() + 10
    while len(found := gateway.jsonl("events", "--event", "login_refused")) < 3:
        assert time.monotonic() < deadline, found
    assert [(each["identity"], each["reason"], each["token"]) for each in reversed(found)] == [
        ("agent", "revoked_token", token_id),
        ("agent", "wrong_token", None),
        ("nobody", "unknown_identity", None),
    ]
    table = gateway.run("events", "--since", "1h").stdout
    assert "started" in table and "revoked_token" in table
    assert gateway.jsonl("events", "--until", "1h") == []
    assert len(gateway.jsonl("events", "--event", "login_refused", "--limit", "1")) == 1
