"""The errors that CONTRACT promises to clients, and how fast a withdrawn right ends a live session."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgwitness.embedded import free_port
from support.gateway import Gateway
from support.raw import RawClient, ServerError, error_fields
from support.servers import Server


@pytest.fixture(scope="module")
def door(shared_gateway: Gateway, server15: Server) -> Gateway:
    """The shared gateway with more to refuse."""
    shared_gateway.add_connection("dead", server15, port=str(free_port()))
    shared_gateway.add_connection("locked", server15, user="nobody_there")
    shared_gateway.add_identity("narrow", "shop15")
    shared_gateway.add_identity("wide", "shop15", "dead", "locked")
    return shared_gateway


def refusal(gateway: Gateway, user: str, password: str, database: str) -> dict[str, str]:
    with RawClient(gateway.port) as client, pytest.raises(ServerError) as raised:
        client.login(user, password, database)
    assert raised.value.fields["S"] == "FATAL"
    return raised.value.fields


def test_every_failed_login_looks_the_same(door: Gateway) -> None:
    expired = door.run("token", "issue", "narrow", "--ttl", "1s").stdout
    token = next(word for word in expired.split() if word.startswith("pgw_"))
    revoked = door.issue("wide")
    door.run("token", "revoke", revoked.split("_")[1])
    door.issue("wide")
    time.sleep(1.2)
    seen = {
        "unknown": refusal(door, "nobody", "pgw_x_y", "shop15"),
        "wrong": refusal(door, "narrow", "pgw_" + "a" * 50, "shop15"),
        "expired": refusal(door, "narrow", token, "shop15"),
        "revoked": refusal(door, "wide", revoked, "shop15"),
        "no such connection either": refusal(door, "nobody", "pgw_x_y", "nowhere"),
    }
    assert {fields["C"] for fields in seen.values()} == {"28P01"}
    texts = {tuple(sorted(fields.items())) for fields in seen.values()}
    names = {
        fields["M"].replace("narrow", "?").replace("nobody", "?").replace("wide", "?")
        for fields in seen.values()
    }
    assert len(names) == 1, texts


def test_without_a_grant_nobody_learns_which_connections_exist(door: Gateway) -> None:
    exists = refusal(door, "narrow", door.tokens["narrow"], "shop18")
    absent = refusal(door, "narrow", door.tokens["narrow"], "nowhere")
    assert exists["C"] == absent["C"] == "42501"
    assert exists["M"].replace("shop18", "?") == absent["M"].replace("nowhere", "?")


def test_an_unreachable_server_is_named_without_secrets(door: Gateway) -> None:
    for name in ("dead", "locked"):
        fields = refusal(door, "wide", door.tokens["wide"], name)
        assert fields["C"] == "08001" and f"{name}" in fields["M"]
        assert "upstream-secret" not in str(fields)


def test_replication_is_refused_with_a_reason(door: Gateway) -> None:
    with RawClient(door.port) as client, pytest.raises(ServerError) as raised:
        client.login("narrow", door.tokens["narrow"], "shop15", replication="database")
    assert "replication" in raised.value.fields["M"]


def revoke_token(gateway: Gateway, identity: str) -> None:
    gateway.run("token", "revoke", gateway.tokens[identity].split("_")[1])


def disable(gateway: Gateway, identity: str) -> None:
    gateway.run("identity", "disable", identity)


def take_back(gateway: Gateway, identity: str) -> None:
    gateway.run("identity", "revoke", identity, "--connections", "shop15")


@pytest.mark.parametrize("withdraw", [revoke_token, disable, take_back])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_withdrawn_right_ends_live_sessions_within_a_second(
    door: Gateway, request: pytest.FixtureRequest, withdraw: Callable[[Gateway, str], None], busy: bool
) -> None:
    identity = f"leaver-{withdraw.__name__.replace('_', '-')}-{busy}".lower()
    door.add_identity(identity, "shop15")
    with RawClient(door.port).login(identity, door.tokens[identity], "shop15") as client:
        if busy:
            client.send(b"Q" + (25).to_bytes(4) + b"SELECT pg_sleep(600)\0")
        withdraw(door, identity)
        client.socket.settimeout(1.0 + 0.5)
        assert errors_until_closed(client)[-1] == "57P01"
        assert client.closed()
    ended = door.sessions("--identity", identity, wait_for=lambda found: ends(found) == {"killed"})
    assert len(ended) == 1


def errors_until_closed(client: RawClient) -> list[str]:
    """SQLSTATEs: a running statement may end with an error of its own first."""
    states = []
    with contextlib.suppress(ConnectionError):
        while True:
            kind, payload = client.receive()
            if kind == "E":
                states.append(error_fields(payload)["C"])
    return states


def ends(sessions: list[dict[str, Any]]) -> set[Any]:
    return {session.get("end_reason", session.get("reason")) for session in sessions}


def test_session_kill(door: Gateway) -> None:
    with psycopg.connect(door.dsn("narrow", "shop15"), autocommit=True) as connection:
        connection.execute("SELECT 'killed from outside'")
        (statement,) = door.statements("--match", "killed from outside", wait_for=1)
        door.run("session", "kill", statement["session"])
        with pytest.raises(psycopg.errors.AdminShutdown):
            for _ in range(20):
                with contextlib.suppress(psycopg.errors.QueryCanceled):  # what runs is stopped first
                    connection.execute("SELECT pg_sleep(0.1)")


def test_connection_check_tells_the_whole_way(door: Gateway) -> None:
    good = door.run("connection", "check", "shop15").stdout
    assert "SELECT" in good
    bad = door.run("connection", "check", "dead", check=False)
    assert bad.returncode == 1 and "Traceback" not in bad.stderr and bad.stderr.strip()


def test_errors_are_one_line_and_say_what_to_do(door: Gateway) -> None:
    for arguments in (
        ["connection", "show", "nowhere"],
        ["token", "issue", "nobody"],
        ["session", "show", "00000000-0000-7000-8000-000000000000"],
        ["statements", "--since", "yesterdayish"],
    ):
        done = door.run(*arguments, check=False)
        assert done.returncode != 0, arguments
        assert "Traceback" not in done.stderr and done.stderr.strip(), arguments
