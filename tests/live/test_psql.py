"""psql, unchanged: every sslmode, and what a person types."""

import psycopg
import pytest

from support.live import Live, shape, values


def test_statements_are_recorded_as_typed(live: Live, table: str) -> None:
    out = live.psql(
        f"""SELECT 1 AS one;
        INSERT INTO {table} VALUES (1, 'first'), (2, NULL);
        BEGIN;
        UPDATE {table} SET name = 'second' WHERE id = 2;
        COMMIT;
        SELECT name FROM {table} ORDER BY id;
        """
    )
    assert out.split() == ["1", "first", "second"]
    assert shape(live.check(6)) == [
        ("SELECT 1 AS one", "SELECT 1", "ok", "committed"),
        (f"INSERT INTO {table} VALUES (1, 'first'), (2, NULL)", "INSERT 0 2", "ok", "committed"),
        ("BEGIN", "BEGIN", "ok", "committed"),
        (f"UPDATE {table} SET name = 'second' WHERE id = 2", "UPDATE 1", "ok", "committed"),
        ("COMMIT", "COMMIT", "ok", "committed"),
        (f"SELECT name FROM {table} ORDER BY id", "SELECT 2", "ok", "committed"),
    ]


def test_several_statements_in_one_message(live: Live, table: str) -> None:
    live.program(
        "psql", "-c", f"INSERT INTO {table} VALUES (1, 'a'); SELECT 'x;y'; UPDATE {table} SET id = 2"
    )
    record = live.check(3)
    assert [(s["sql"], s["tag"]) for s in record] == [
        (f"INSERT INTO {table} VALUES (1, 'a')", "INSERT 0 1"),
        ("SELECT 'x;y'", "SELECT 1"),
        (f"UPDATE {table} SET id = 2", "UPDATE 1"),
    ]
    assert len({s["message"] for s in record}) == 1
    assert {s["transaction"]["number"] for s in record} == {record[0]["transaction"]["number"]}


def test_a_failure_in_a_message_undoes_and_skips_its_neighbours(live: Live, table: str) -> None:
    done = live.program(
        "psql", "-c", f"INSERT INTO {table} VALUES (1, 'a'); SELECT 1/0; SELECT 3", check=False
    )
    assert "division by zero" in done.stderr
    record = live.check(3)
    assert [(s["status"], s["sqlstate"], s["transaction"]["outcome"]) for s in record] == [
        ("ok", None, "rolled_back"),
        ("error", "22012", "rolled_back"),
        ("skipped", None, "rolled_back"),
    ]
    assert record[1]["error"] == "division by zero"


def test_copy_both_ways(live: Live, table: str) -> None:
    out = live.psql(f"COPY {table} FROM STDIN;\n1\tone\n2\t\\N\n\\.\nCOPY {table} TO STDOUT;\n")
    assert out == "1\tone\n2\t\\N\n"
    arriving, leaving = live.check(2)
    assert (arriving["tag"], arriving["copy"]) == (
        "COPY 2",
        {"direction": "in", "bytes": 14, "rows": 2, "complete": True},  # 15's psql sends the end mark, too
    )
    assert (leaving["tag"], leaving["copy"]) == (
        "COPY 2",
        {"direction": "out", "bytes": 11, "rows": 2, "complete": True},
    )


def test_large_objects_are_function_calls(live: Live, tmp_path: object) -> None:
    source = live.gateway.state / "large.bin"
    source.write_bytes(bytes(range(256)) * 40)
    out = live.psql(f"\\lo_import '{source}'\n\\lo_export :LASTOID '{source}.back'\n\\lo_unlink :LASTOID\n")
    assert (live.gateway.state / "large.bin.back").read_bytes() == source.read_bytes(), out
    record = live.check(lambda found: any("COMMIT" in s["sql"] for s in found[-3:]) and len(found) > 10)
    assert sum(s["protocol"] == "function" for s in record) > 5


@pytest.mark.parametrize("version", ["psql", "psql18"])
def test_bound_parameters_of_bind(live: Live, version: str) -> None:
    """\\bind is new in 16; 15's psql has no extended protocol."""
    if version == "psql":
        live.psql("PREPARE p (text) AS SELECT $1;\nEXECUTE p('it''s');\n")
        assert [s[0] for s in shape(live.check(2))] == [
            "PREPARE p (text) AS SELECT $1",
            "EXECUTE p('it''s')",
        ]
        return
    script = "SELECT $1::int + $2::int AS sum \\bind 40 2 \\g\n"
    assert live.program("psql18", "-XAt", stdin=script).stdout == "42\n"
    (statement,) = live.check(1)
    assert (statement["sql"].strip(), values(statement), statement["protocol"]) == (
        "SELECT $1::int + $2::int AS sum",
        ["40", "2"],
        "extended",
    )


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_sslmodes(live15: Live, mode: str) -> None:
    out = live15.psql(
        "\\conninfo\nSELECT 'served'",
        PGSSLMODE=mode,
        PGHOST="localhost",
        PGSSLROOTCERT=str(live15.ca) if mode.startswith("verify") else "/nonexistent",
    )
    assert "served" in out
    plaintext = mode in ("disable", "allow")
    assert ("SSL connection" in out) is not plaintext
    assert len(live15.check(1)) == 1


def test_verify_full_refuses_another_authority(live15: Live, authority: object) -> None:
    root = live15.gateway.state / "other-ca.crt"
    root.write_bytes(live15.server.authority.certificate)
    done = live15.program(
        "psql", "-c", "SELECT 1", check=False, PGSSLMODE="verify-full", PGSSLROOTCERT=str(root)
    )
    assert done.returncode == 2 and "certificate verify failed" in done.stderr


def test_gss_request_is_declined_politely(live15: Live) -> None:
    """libpq sends GSSENCRequest where there are credentials; the answer N lets it go on."""
    import socket

    with socket.create_connection(("127.0.0.1", live15.gateway.port), timeout=10) as raw:
        for code in (80877104, 80877103):
            raw.sendall((8).to_bytes(4) + code.to_bytes(4))
            assert raw.recv(1) == (b"N" if code == 80877104 else b"S")


def test_protocol_3_2(live: Live) -> None:
    """libpq 18 speaks 3.2 to a gateway whose server, 15, does not: cancel keys are the gateway's own."""
    done = live.program(
        "psql18",
        f"min_protocol_version=3.2 max_protocol_version=3.2 dbname={live.connection}",
        "-XAtc",
        "SELECT 'three two'",
    )
    assert done.stdout == "three two\n"
    assert len(live.check(1)) == 1


def test_direct_tls(live15: Live) -> None:
    """sslnegotiation=direct, PostgreSQL 17's: TLS from the first byte, ALPN ``postgresql``."""
    assert psycopg.pq.version() >= 170000
    with live15.connect(
        sslmode="verify-full", sslrootcert=str(live15.ca), sslnegotiation="direct"
    ) as connection:
        assert connection.execute("SELECT 'direct'").fetchone() == ("direct",)
    assert len(live15.check(1)) == 1
