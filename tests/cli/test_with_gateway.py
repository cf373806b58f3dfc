"""Administration of a real gateway in front of a real server: what only shows when both are there."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgwitness.embedded import free_port
from support.gateway import Gateway
from support.servers import Server


@pytest.fixture(scope="module")
def door(shared_gateway: Gateway, server15: Server) -> Iterator[Gateway]:
    shared_gateway.add_connection("checked", server15)
    shared_gateway.add_identity("checker", "checked")
    yield shared_gateway


def test_check_shows_the_recorded_statement_and_its_identity(door: Gateway, server15: Server) -> None:
    table = door.run("connection", "check", "checked").stdout
    assert "checked works" in table and "pgwitness-check" in table
    result = json.loads(door.run("connection", "check", "checked", "--format", "json").stdout)
    assert result["identity"] == result["statement"]["identity"] == "pgwitness-check"
    assert result["statement"]["status"] == "ok" and result["statement"]["tag"] == "SELECT 1"
    assert result["server_version"].startswith("15") and result["recorded_ms"] < 3000
    (found,) = [
        each
        for each in door.sessions("--identity", "pgwitness-check")
        if each["session"] == result["session"]
    ]
    assert found["connection"] == "checked"


def test_check_leaves_no_token_that_works(door: Gateway) -> None:
    door.run("connection", "check", "checked")
    tokens = door.jsonl("token", "list", "--identity", "pgwitness-check")
    assert tokens and all(token["revoked_at"] for token in tokens)
    refused = door.run("token", "issue", "pgwitness-check", check=False)
    assert refused.returncode == 2 and "itself" in refused.stderr


@pytest.mark.parametrize("wrong", ["port", "user", "database"])
def test_check_says_what_does_not_work(door: Gateway, server15: Server, wrong: str) -> None:
    value = {"port": str(free_port()), "user": "nobody_there", "database": "nothing_there"}[wrong]
    door.add_connection(f"wrong-{wrong}", server15, **{wrong: value})
    done = door.run("connection", "check", f"wrong-{wrong}", check=False)
    assert done.returncode == 1
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"error: connection 'wrong-{wrong}' does not work: ") and len(rest) <= 1
    if wrong == "port":
        assert f":{value}: " in first
    why = {"port": "refused", "user": "authentication failed", "database": "does not exist"}[wrong]
    assert why in first and first.count("connection") == 1 and "pgw_" not in done.stderr


def test_a_remote_administrator_needs_an_admin_token(door: Gateway) -> None:
    door.run("identity", "add", "ops", "--kind", "human")
    admin = door.run("token", "issue", "ops", "--role", "admin").stdout.strip()
    client = door.issue("checker")

    def remotely(token: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"PGWITNESS_URL": door.http, "PGWITNESS_TOKEN": token}
        command = [sys.executable, "-m", "pgwitness", "connection", "show", "checked", "--format", "json"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    shown = remotely(admin)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["name"] == "checked"
    assert remotely(client).returncode == 1
    assert "not valid" in remotely(admin[:-3] + "xxx").stderr
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(door.dsn("ops", "checked", token=admin))


def test_health_is_open_and_metrics_are_not(door: Gateway) -> None:
    with urllib.request.urlopen(f"{door.http}/health") as answer:
        assert json.load(answer)["status"] == "ok"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{door.http}/metrics")


def test_use_of_a_token_is_noted(door: Gateway) -> None:
    with door.connect("checker", "checked"):
        pass

    def last_used() -> Any:
        return door.jsonl("token", "list", "--identity", "checker")[-1]["last_used_at"]

    deadline = time.monotonic() + 10
    while last_used() is None and time.monotonic() < deadline:
        time.sleep(0.3)
    assert last_used()


def test_kill_ends_a_session_and_is_audited(door: Gateway) -> None:
    with door.connect("checker", "checked") as connection:
        connection.execute("SELECT 'to be killed'")
        (statement,) = door.statements("--match", "to be killed", wait_for=1)
        done = door.run("session", "kill", statement["session"][-12:])
        assert done.returncode == 0
        with pytest.raises(psycopg.OperationalError, match="administrator"):
            for _ in range(50):
                connection.execute("SELECT 1")
                time.sleep(0.05)
    newest = door.jsonl("audit", "--limit", "1")[0]
    assert (newest["action"], newest["subject"]) == ("session.kill", statement["session"])
    again = door.run("session", "kill", statement["session"], check=False)
    assert again.returncode == 1 and "not open" in again.stderr


def test_a_removed_connection_ends_its_sessions(door: Gateway, server15: Server) -> None:
    door.add_connection("fleeting", server15)
    door.run("identity", "grant", "checker", "--connections", "fleeting")
    with door.connect("checker", "fleeting") as connection:
        connection.execute("SELECT 1")
        door.run("connection", "remove", "fleeting")
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="administrator"):
            while time.monotonic() - started < 5:
                connection.execute("SELECT 1")
                time.sleep(0.05)
        assert time.monotonic() - started < 1.5
