"""One test for each fault that the products of today have, as PRODUCT.md of this project lists them.

Crashes, floods and disk faults, which are on the same list, have their tests in tests/fault.
"""

import hashlib
import json
import socket
import time
from pathlib import Path

import psycopg
import pytest

from support.live import Live, shape, values
from support.raw import (
    GSS_REQUEST,
    SSL_REQUEST,
    SYNC,
    RawClient,
    bind,
    execute,
    function_call,
    kinds,
    parse,
    query,
)


def raw(live: Live) -> RawClient:
    return RawClient(live.gateway.port).login(
        live.identity, live.token, live.connection, application_name=live.run, options=live.options
    )


# what came back


def test_results_errors_tags_and_row_counts_are_kept(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("SELECT n FROM generate_series(1, 3) AS n")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM no_such_table")
    good, bad = live.check(2)
    assert (good["tag"], good["rows"], good["result"]["rows_recorded"]) == ("SELECT 3", 3, 3)
    assert (bad["status"], bad["sqlstate"]) == ("error", "42P01")
    assert bad["error"] == 'relation "no_such_table" does not exist'


def test_extended_protocol_clients_are_audited(live: Live) -> None:
    with raw(live) as client:
        client.send(parse("", "SELECT $1::int + 1"), bind("", "", b"41"), execute(), SYNC)
        assert kinds(client.until()) == "12DCZ"
    (statement,) = live.check(1)
    assert (statement["protocol"], values(statement), statement["tag"]) == ("extended", ["41"], "SELECT 1")


# bound values and names


def test_bound_parameters_are_kept(live: Live, table: str) -> None:
    with live.connect() as connection:
        connection.execute(f"UPDATE {table} SET name = %s WHERE id = %s", ("void", 7))
    (statement,) = live.check(1)
    assert statement["sql"] == f"UPDATE {table} SET name = $1 WHERE id = $2"
    assert values(statement) == ["void", "7"]


def test_binary_parameters_are_decoded(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("SELECT %b::int8, %b::float8", (2**33, 0.25))
    (statement,) = live.check(1)
    assert [(p["value"], p["format"]) for p in statement["parameters"]] == [
        ("8589934592", "binary"),
        ("0.25", "binary"),
    ]


def test_null_is_not_an_empty_string(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("SELECT %s::text, %s::text", (None, ""))
    (statement,) = live.check(1)
    assert values(statement) == [None, ""]


def test_the_second_execution_of_a_prepared_statement_is_visible(live: Live) -> None:
    with raw(live) as client:
        client.send(parse("twice", "SELECT $1::int"), SYNC)
        client.until()
        for number in (b"1", b"2"):
            client.send(bind("", "twice", number), execute(), SYNC)
            client.until()
    assert [(s["sql"], s["prepared"], values(s)) for s in live.check(2)] == [
        ("SELECT $1::int", "twice", ["1"]),
        ("SELECT $1::int", "twice", ["2"]),
    ]


def test_portal_and_statement_names_are_not_swapped(live: Live) -> None:
    with raw(live) as client:
        client.send(parse("statement", "SELECT 'right'"), parse("portal", "SELECT 'wrong'"))
        client.send(bind("portal", "statement"), execute("portal"), SYNC)
        client.until()
    (statement,) = live.check(1)
    assert (statement["sql"], statement["prepared"], statement["portal"]) == (
        "SELECT 'right'",
        "statement",
        "portal",
    )


def test_interleaved_named_statements_are_not_confused(live: Live) -> None:
    with raw(live) as client:
        client.send(parse("a", "SELECT 'a', $1::int"), parse("b", "SELECT 'b', $1::int"))
        client.send(bind("pa", "a", b"1"), bind("pb", "b", b"2"), execute("pb"), execute("pa"), SYNC)
        client.until()
    assert [(s["prepared"], s["portal"], values(s)) for s in live.check(2)] == [
        ("b", "pb", ["2"]),
        ("a", "pa", ["1"]),
    ]


def test_a_portal_fetched_in_pages_is_one_statement(live: Live) -> None:
    with raw(live) as client:
        client.send(parse("", "SELECT generate_series(1, 5)"), bind("p", ""))
        client.send(execute("p", 2), execute("p", 2), execute("p", 2), SYNC)
        assert kinds(client.until()) == "12DDsDDsDCZ"
    (statement,) = live.check(1)
    assert (statement["rows"], statement["fetches"]) == (5, 3)


def test_pipelined_statements_have_their_own_results(live: Live) -> None:
    with raw(live) as client:
        for number in (1, 2, 3):
            client.send(parse("", f"SELECT generate_series(1, {number})"), bind("", ""), execute())
        client.send(SYNC, query("SELECT 'next'"))
        assert kinds(client.until()) == "12DC12DDC12DDDCZ"
        client.until()
    assert [(s["rows"], s["tag"]) for s in live.check(4)] == [
        (1, "SELECT 1"),
        (2, "SELECT 2"),
        (3, "SELECT 3"),
        (1, "SELECT 1"),
    ]


# what became of it


def test_success_is_written_after_it_succeeded(live: Live) -> None:
    """While a statement runs, the record says so; when it fails at its end, it never said ``ok``."""
    with live.connect() as connection, pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / (n - 100000) FROM generate_series(1, 100000) AS n")
    (statement,) = live.check(lambda found: [s["status"] for s in found] == ["error"])
    assert statement["sqlstate"] == "22012"


def test_a_commit_answered_by_rollback_is_a_rollback(live: Live, table: str) -> None:
    with live.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO {table} VALUES (1)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        connection.execute("COMMIT")
    record = live.check(4)
    assert record[-1]["sql"] == "COMMIT" and record[-1]["tag"] == "ROLLBACK"
    assert {s["transaction"]["outcome"] for s in record} == {"rolled_back"}
    assert live.server.sql(f"SELECT * FROM {table}", database="shop") == []


def test_a_failed_deferred_constraint_at_commit_is_a_rollback(live: Live, table: str) -> None:
    live.server.sql(f"ALTER TABLE {table} ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED", database="shop")
    with live.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO {table} VALUES (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("COMMIT")
    assert [s["transaction"]["outcome"] for s in live.check(3)] == ["rolled_back"] * 3


# size


@pytest.mark.parametrize("size", [65_536, 1_048_576, 16_777_216], ids=["64KB", "1MB", "16MB"])
def test_padding_does_not_hide_what_follows(live: Live, table: str, size: int) -> None:
    padding = "x" * (size + 1000)
    with live.connect() as connection:
        connection.execute(f"SELECT length('{padding}'); DELETE FROM {table}")
        connection.execute("SELECT 'after'")
    record = live.record(3)
    assert [(s["command"], s["tag"], s["status"]) for s in record] == [
        ("SELECT", "SELECT 1", "ok"),
        ("DELETE", "DELETE 0", "ok"),
        ("SELECT", "SELECT 1", "ok"),
    ]
    assert record[1]["sql"] == f"DELETE FROM {table}"
    assert padding in record[0]["sql"] or record[0]["truncated"]


@pytest.mark.slow
def test_a_message_of_110_megabytes_passes_and_is_recorded(live: Live) -> None:
    with live.connect() as connection:
        row = connection.execute("SELECT length(%s::text)", ("y" * 120_000_000,)).fetchone()
        assert row == (120_000_000,)
    assert live.record(1)[0]["status"] == "ok"


def test_a_result_of_250_000_rows_passes(live: Live) -> None:
    digest = hashlib.sha256()
    with live.connect() as connection:
        cursor = connection.execute("SELECT n, repeat('v', 50) FROM generate_series(1, 250000) AS n")
        count = 0
        for number, text in cursor:
            count += 1
            digest.update(f"{number}{text}".encode())
    assert count == 250_000
    (statement,) = live.check(1)
    assert (statement["rows"], statement["tag"]) == (250_000, "SELECT 250000")
    assert 0 < statement["result"]["rows_recorded"] < 250_000 and not statement["result"]["complete"]


# credentials


def test_no_secret_lands_in_record_or_log(live: Live) -> None:
    with live.connect(sslmode="require") as connection:
        connection.execute("SELECT 'secrets are elsewhere'")
    live.check(1)
    secrets = {live.token, live.token.rsplit("_", 1)[1], live.server.password}
    for path in live.gateway.state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in secrets:
                assert secret.encode() not in content, path
    for secret in secrets:
        assert secret not in live.gateway.log


def test_a_token_as_user_name_is_refused_and_not_recorded(live15: Live) -> None:
    with pytest.raises(psycopg.OperationalError, match="FATAL"):
        psycopg.connect(
            host="127.0.0.1", port=live15.gateway.port, user=live15.token, password="x", dbname="shop15"
        )
    for path in (live15.gateway.state / "tape").glob("*.tape"):
        assert live15.token.encode() not in path.read_bytes()


def test_tokens_expire_by_default(live15: Live) -> None:
    tokens = live15.gateway.jsonl("token", "list")
    assert tokens and all(token["expires_at"] for token in tokens)


# the protocol's corners


def test_ssl_and_gss_requests_are_answered_rightly(live15: Live) -> None:
    with RawClient(live15.gateway.port) as client:
        client.send(GSS_REQUEST)
        assert client.socket.recv(1) == b"N"
        client.send(SSL_REQUEST)
        assert client.socket.recv(1) == b"S"


def test_prefer_works(live: Live) -> None:
    """libpq's default sslmode, and so what nearly every connection string means."""
    with live.connect(sslmode="prefer") as connection:
        assert connection.pgconn.ssl_in_use
        connection.execute("SELECT 1")
    live.check(1)


def test_cancel_requests_work_and_are_recorded(live: Live) -> None:
    import threading

    with live.connect() as connection:
        threading.Timer(0.3, connection.cancel).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")
    (statement,) = live.check(1)
    assert statement["status"] == "cancelled"
    shown = live.gateway.run("session", "show", statement["session"]).stdout
    assert "cancel" in shown


def test_a_cancel_key_of_another_session_cancels_nothing(live: Live) -> None:
    with raw(live) as client, RawClient(live.gateway.port) as stranger:
        client.send(query("SELECT pg_sleep(0.5)"))
        pid, key = client.key
        wrong = bytes(byte ^ 0xFF for byte in key)
        stranger.send((12 + len(key)).to_bytes(4) + (80877102).to_bytes(4) + pid.to_bytes(4) + wrong)
        assert stranger.closed()
        assert kinds(client.until()) == "TDCZ"
    assert live.check(1)[0]["status"] == "ok"


def test_protocol_3_2_and_its_longer_cancel_keys(live: Live) -> None:
    with RawClient(live.gateway.port) as client:
        client.login(live.identity, live.token, live.connection, protocol=0x30002, options=live.options)
        assert 4 <= len(client.key[1]) <= 256
        client.send(query("SELECT 1"))
        assert kinds(client.until()) == "TDCZ"


def test_an_unknown_minor_protocol_is_negotiated(live15: Live) -> None:
    from support.raw import startup

    with RawClient(live15.gateway.port) as client:
        client.send(startup(0x3270F, user="agent", database="shop15", **{"_pq_.nonsense": "on"}))
        kind, payload = client.receive()
        assert kind == "v" and int.from_bytes(payload[:4]) in (0x30000, 0x30002, 0, 2)
        assert b"_pq_.nonsense" in payload


def test_large_objects_by_function_call(live: Live) -> None:
    oid = int(str(live.server.sql("SELECT 'lo_creat'::regproc::oid::int")[0][0]))
    with raw(live) as client:
        client.send(function_call(oid, (-1).to_bytes(4, signed=True)))
        assert kinds(client.until()) == "VZ"
    (statement,) = live.check(1)
    assert statement["protocol"] == "function" and values(statement)[0] in ("-1", "ffffffff")


def test_a_message_above_16_mebibytes_passes(live: Live) -> None:
    with live.connect() as connection:
        row = connection.execute("SELECT repeat('r', 20000000), length(%s)", ("q" * 20_000_000,)).fetchone()
        assert row is not None and len(row[0]) == row[1] == 20_000_000
    assert live.record(1)[0]["status"] == "ok"


# others must not suffer


def test_one_silent_client_does_not_stall_new_ones(live: Live) -> None:
    silent = [socket.create_connection(("127.0.0.1", live.gateway.port)) for _ in range(20)]
    silent[0].sendall(b"\0")
    try:
        began = time.monotonic()
        with live.connect() as connection:
            connection.execute("SELECT 1")
        assert time.monotonic() - began < 5
    finally:
        for one in silent:
            one.close()
    live.check(1)


@pytest.mark.parametrize(
    "packet", [b"\0\0\0\4", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x08\0\0\0\0", b""]
)
def test_a_four_byte_start_up_packet_harms_nobody(live15: Live, packet: bytes) -> None:
    with RawClient(live15.gateway.port) as client:
        client.send(packet)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.closed()
    with live15.connect() as connection:
        connection.execute("SELECT 1")
    live15.check(1)


# review works on native sessions


def test_list_show_and_replay_work_on_native_sessions(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("SELECT 'alpha'")
        connection.execute("SELECT %s::text", ("beta",))
    record = live.check(2)
    session = record[0]["session"]
    listed = live.gateway.sessions("--run", live.run, wait_for=1)
    assert session in json.dumps(listed)
    assert session in live.gateway.run("session", "show", session).stdout
    replayed = live.gateway.run("session", "replay", session, "--speed", "max", "--results").stdout
    assert replayed.index("alpha") < replayed.rindex("beta")


def test_a_statement_is_found_within_two_seconds(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("SELECT 'warm'")
        live.record(1)
        for number in range(3):
            connection.execute(f"SELECT 'seen {number}'")
            ran = time.monotonic()
            live.record(lambda found, n=number: any(s["sql"] == f"SELECT 'seen {n}'" for s in found))
            assert time.monotonic() - ran < 2.0 + 1.0, "two seconds, and one for the command itself to start"


def test_export_holds_what_ran(live: Live, tmp_path: Path) -> None:
    with live.connect() as connection:
        connection.execute("SELECT %s::text", ("exported",))
    (statement,) = live.check(1)
    target = tmp_path / "session.jsonl"
    live.gateway.run("session", "export", statement["session"], "--format", "jsonl", "-o", str(target))
    assert "exported" in target.read_text()


def test_shape_of_a_statement_is_the_documented_one(live: Live) -> None:
    with live.connect() as connection:
        connection.execute("SELECT 1")
    (statement,) = live.check(1)
    assert list(statement)[:25] == [
        "session", "seq", "message", "identity", "on_behalf_of", "run", "connection", "database", "protocol",
        "sql", "prepared", "portal", "parameters", "command", "tag", "rows", "tables", "status", "sqlstate",
        "error", "transaction", "started_at", "duration_us", "result", "copy",
    ]  # fmt: skip
    assert shape([statement]) == [("SELECT 1", "SELECT 1", "ok", "committed")]
