"""The clients of the main job once more, unchanged, with a connector between gateway and server."""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from test_other_drivers import (
    pg8000_connection,
    test_asyncpg_cursor_pages_are_one_statement,
    test_asyncpg_executemany_and_copy,
    test_asyncpg_timeout_cancels,
    test_asyncpg_types_and_tags,
    test_pg8000,
    test_pgbench,
)
from test_psql import (
    test_bound_parameters_of_bind,
    test_copy_both_ways,
    test_large_objects_are_function_calls,
    test_protocol_3_2,
    test_statements_are_recorded_as_typed,
)
from test_psycopg import (
    test_cancel,
    test_copy,
    test_notices_and_parameters_pass,
    test_notifications_arrive,
    test_one_gigabyte_is_not_needed_to_prove_large_messages,
    test_parameters_of_every_type,
    test_pipeline,
    test_pipeline_error_skips_to_sync,
    test_server_cursor,
    test_transactions_and_savepoints,
)

from support.certificates import Authority
from support.compare import headers
from support.connectors import Connector, add_connection
from support.gateway import Gateway
from support.live import Live
from support.servers import PASSWORD, Server
from support.waiting import wait_until

THE_SAME_TESTS = (
    pg8000_connection,
    test_asyncpg_cursor_pages_are_one_statement,
    test_asyncpg_executemany_and_copy,
    test_asyncpg_timeout_cancels,
    test_asyncpg_types_and_tags,
    test_bound_parameters_of_bind,
    test_cancel,
    test_copy,
    test_copy_both_ways,
    test_large_objects_are_function_calls,
    test_notices_and_parameters_pass,
    test_notifications_arrive,
    test_one_gigabyte_is_not_needed_to_prove_large_messages,
    test_parameters_of_every_type,
    test_pg8000,
    test_pgbench,
    test_pipeline,
    test_pipeline_error_skips_to_sync,
    test_protocol_3_2,
    test_server_cursor,
    test_statements_are_recorded_as_typed,
    test_transactions_and_savepoints,
)
"""Named so that nobody takes their imports for unused: they run here on the fixture ``live`` below."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def connector(shared_gateway: Gateway, server15: Server, server18: Server) -> Iterator[Connector]:
    """Online at the shared gateway. It has a password of its own for the connection ``kept``."""
    connector = Connector(shared_gateway, "beside", "--password-env", "kept=PGW_TEST_PASSWORD").join()
    add_connection(shared_gateway, "far15", server15, "beside", sslmode="prefer")
    add_connection(shared_gateway, "far18", server18, "beside")
    shared_gateway.run("identity", "grant", "agent", "--connections", "far15,far18")
    try:
        yield connector.start()
    finally:
        connector.remove()


@pytest.fixture(params=["far18"])
def live(
    request: pytest.FixtureRequest, connector: Connector, shared_gateway: Gateway, server18: Server
) -> Live:
    return Live(shared_gateway, server18, request.param, f"far-{next(_numbers)}")


def grant(gateway: Gateway, connection: str) -> None:
    gateway.run("identity", "grant", "agent", "--connections", connection)


def refusal(gateway: Gateway, connection: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        gateway.connect("agent", connection)
    return str(caught.value)


def test_the_header_names_the_connector_and_the_way_behind_it(
    connector: Connector, shared_gateway: Gateway, server15: Server
) -> None:
    with shared_gateway.connect("agent", "far15") as connection:
        (row,) = connection.execute(
            "SELECT version, pid FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchall()
    found = [each["upstream"] for each in headers(shared_gateway.state).values()]
    (header,) = [each for each in found if each["pid"] == row[1] and each["connector"]]
    assert (header["connector"], header["tls"]["version"]) == ("beside", row[0])
    assert header["address"] == f"127.0.0.1:{server15.port}"


@pytest.mark.parametrize(
    ("sslmode", "tls"), [("disable", False), ("allow", False), ("prefer", True), ("verify-full", True)]
)
def test_every_sslmode_is_the_connectors(
    connector: Connector,
    shared_gateway: Gateway,
    server15: Server,
    authority: Authority,
    tmp_path: Any,
    sslmode: str,
    tls: bool,
) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    roots = {"sslrootcert": str(tmp_path / "ca.crt")} if sslmode.startswith("verify") else {}
    name = f"far-{sslmode}"
    add_connection(shared_gateway, name, server15, "beside", sslmode=sslmode, **roots)
    grant(shared_gateway, name)
    with shared_gateway.connect("agent", name) as connection:
        row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert row == (tls,)


@pytest.mark.parametrize("user", ["app_md5", "app_clear", "app_trust"])
def test_every_way_to_log_in_is_the_connectors(
    connector: Connector, shared_gateway: Gateway, server18: Server, user: str
) -> None:
    name = f"far-{user}"
    add_connection(shared_gateway, name, server18, "beside", user=user)
    grant(shared_gateway, name)
    with shared_gateway.connect("agent", name) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (user,)


def test_a_password_that_the_gateway_never_sees(
    connector: Connector, shared_gateway: Gateway, server18: Server
) -> None:
    for name in ("kept", "forgotten"):
        shared_gateway.run(
            "connection", "add", name, "--host", "127.0.0.1", "--port", str(server18.port),
            "--database", "shop", "--user", "app", "--sslmode", "disable", "--connector", "beside",
        )  # fmt: skip
        grant(shared_gateway, name)
    with shared_gateway.connect("agent", "kept") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("app",)
    assert "cannot be reached" in refusal(shared_gateway, "forgotten")
    for text in (connector.log, shared_gateway.log):
        assert PASSWORD not in text


def test_hosts_that_it_may_not_dial(connector: Connector, shared_gateway: Gateway, server18: Server) -> None:
    """By default only this machine, by the names that everybody knows."""
    for number, host in enumerate(("192.0.2.1", "127.0.0.2")):
        name = f"forbidden-{number}"
        add_connection(shared_gateway, name, server18, "beside", host=host)
        grant(shared_gateway, name)
        assert f'connection "{name}"' in refusal(shared_gateway, name)
        said = f"--allow does not name {host}"
        wait_until(lambda said=said: said in connector.log)


def test_what_the_server_refuses_is_told_as_without_a_connector(
    connector: Connector, shared_gateway: Gateway, server18: Server
) -> None:
    add_connection(shared_gateway, "far-nobody", server18, "beside", user="nobody")
    add_connection(shared_gateway, "far-closed", server18, "beside", port="1")
    grant(shared_gateway, "far-nobody,far-closed")
    assert "PostgreSQL refuses the registered credentials" in refusal(shared_gateway, "far-nobody")
    assert "PostgreSQL cannot be reached" in refusal(shared_gateway, "far-closed")
    with pytest.raises(psycopg.OperationalError, match="no_such_setting"):
        shared_gateway.connect("agent", "far18", options="-c no_such_setting=1")


def test_session_kill_stops_the_statement_and_the_session(
    connector: Connector, shared_gateway: Gateway, server18: Server
) -> None:
    connection = shared_gateway.connect("agent", "far18", options="-c pgwitness.run=to-be-killed")

    killed: list[str] = []

    def run() -> None:
        try:
            connection.execute("SELECT pg_sleep(60)")
        except psycopg.Error as error:
            killed.append(str(error))

    running = threading.Thread(target=run)
    running.start()
    sleeping = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    wait(lambda: bool(server18.sql(sleeping)))
    (session,) = shared_gateway.sessions("--run", "to-be-killed", wait_for=1)
    began = time.monotonic()
    shared_gateway.run("session", "kill", session["session"])
    running.join(10)
    connection.close()
    assert killed and time.monotonic() - began < 5
    wait(lambda: not server18.sql(sleeping))
    (statement,) = shared_gateway.statements(
        "--session", session["session"], "--match", "pg_sleep", wait_for=1
    )
    assert statement["sqlstate"] == "57014"


def wait(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)
