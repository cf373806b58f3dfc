"""Which rules of pg_hba.conf let a role in from where the gateway is not."""

from __future__ import annotations

import pytest

from pgwitness.watch.hba import Rule, applying, beyond

NOBODY: dict[str, frozenset[str]] = {}


def rule(text: str, line: int = 1) -> Rule:
    """``host shop app 10.0.0.5/32 scram-sha-256``, or with a mask after the address."""
    kind, databases, users, *address, method = text.split()
    return Rule(
        line,
        kind,
        tuple(databases.split(",")),
        tuple(users.split(",")),
        address[0] if address else None,
        address[1] if len(address) > 1 else None,
        method,
    )


def lets_in(*rules: str, user: str = "app", database: str = "shop") -> list[str]:
    found = applying([rule(text) for text in rules], user, database, {"app": frozenset({"staff"})})
    return [str(one) for one in found]


@pytest.mark.parametrize(
    "text",
    [
        "local all all peer",
        "host shop app 10.0.0.0/8 md5",
        "hostssl shop,other app,b 0.0.0.0/0 scram-sha-256",
        "host sameuser,shop +staff ::1/128 trust",
        "host /^sh app 10.0.0.0/8 md5",
        "host all all samenet trust",
    ],
)
def test_a_rule_for_the_role_lets_it_in(text: str) -> None:
    assert lets_in(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        "host other app 10.0.0.0/8 md5",
        "host shop b 10.0.0.0/8 md5",
        "host shop +admins 10.0.0.0/8 md5",
        "host sameuser app 10.0.0.0/8 md5",
        "host replication app 10.0.0.0/8 md5",
        "host shop app 10.0.0.0/8 reject",
    ],
)
def test_a_rule_for_others_does_not(text: str) -> None:
    assert lets_in(text) == []


def test_the_first_rule_that_matches_is_the_only_one() -> None:
    everywhere = "host all all 0.0.0.0/0 md5"
    assert lets_in("host all app 0.0.0.0/0 reject", everywhere) == []
    assert lets_in("host all app all reject", everywhere) == []
    assert lets_in("host all b 0.0.0.0/0 reject", everywhere) == [everywhere]
    assert lets_in("host all app 10.0.0.0/8 reject", everywhere) == [everywhere]
    assert lets_in("hostssl all app 0.0.0.0/0 reject", everywhere) == [everywhere]
    assert lets_in("hostssl all app 0.0.0.0/0 reject", "hostssl all all 10.0.0.1/32 cert") == []
    assert lets_in("host /^s app 0.0.0.0/0 reject", everywhere) == [everywhere]
    assert lets_in("local all all reject", "local all all trust") == []
    assert lets_in("host all all samehost reject", everywhere) == [everywhere]


@pytest.mark.parametrize(
    ("text", "gateway", "elsewhere"),
    [
        ("host all all 10.0.0.5/32 md5", "10.0.0.5", False),
        ("host all all 10.0.0.5 255.255.255.255 md5", "10.0.0.5", False),
        ("host all all 10.0.0.0 255.255.255.0 md5", "10.0.0.5", True),
        ("host all all 10.0.0.6/32 md5", "10.0.0.5", True),
        ("host all all 2001:db8::5 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff md5", "2001:db8::5", False),
        ("host all all 2001:db8:: ffff:ffff:: md5", "2001:db8::5", True),
        ("host all all gateway.example md5", "10.0.0.5", True),
        ("host all all all md5", "10.0.0.5", True),
        ("local all all peer", "10.0.0.5", True),
        ("local all all peer", None, False),
        ("host all all 127.0.0.1/32 md5", None, True),
    ],
)
def test_beyond_the_gateway(text: str, gateway: str | None, elsewhere: bool) -> None:
    assert beyond(rule(text), gateway) is elsewhere


def test_a_rule_reads_as_in_the_file() -> None:
    assert str(rule("host all all 10.0.0.0 255.0.0.0 md5")) == "host all all 10.0.0.0/8 md5"
    assert str(rule("local all postgres peer")) == "local all postgres peer"
    assert str(rule("host all all all md5")) == "host all all all md5"
