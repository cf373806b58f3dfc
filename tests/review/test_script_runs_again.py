"""An exported script, run by psql on a fresh database, leaves behind what the session left behind."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgwitness.review.export import export_session
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import complete, copy_data, copy_done, copy_in, ready
from support.gateway import Gateway
from support.servers import DEBIAN_15, Server

DATABASES = ("exported", "replayed")


@pytest.fixture
def databases(server15: Server) -> Iterator[None]:
    for name in DATABASES:
        server15.sql(f"CREATE DATABASE {name} OWNER app")
    yield
    for name in DATABASES:
        server15.sql(f"DROP DATABASE {name} WITH (FORCE)")


def _work(connection: psycopg.Connection) -> None:
    """As agents work: with values, in transactions, with mistakes."""
    connection.autocommit = True
    connection.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, b bytea, n numeric, d timestamptz, a int[], j jsonb)"
    )
    for n, value in enumerate(["it's", "back\\slash", "new\nline", "", None, "$1 ; -- \\! true", "☃"]):
        connection.execute(
            "INSERT INTO t VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (n, value, b"\0\xff", 1.5, "2026-11-22T06:45:31.000123+01:00", [n, -n], '{"a": "\\\\"}'),
        )
    connection.execute("INSERT INTO t (id, v) VALUES (%s, %s)", (100, "binary"), binary=True)
    connection.execute(r"INSERT INTO t (id, v) VALUES (101, E'a\'b'), (102, 'c\d')")
    with connection.cursor().copy("COPY t (id, v) FROM STDIN") as copy:
        for n, value in enumerate(["tab\there", "back\\slash", "new\nline", None, "\\.", "\\! true", "☃"]):
            copy.write_row((300 + n, value))
    with connection.transaction(), connection.cursor().copy("COPY t (id, v) FROM STDIN (FORMAT csv)") as copy:
        copy.write('400,"a ""quoted"" one"\r\n401,\r\n402,last')
    connection.execute("SET standard_conforming_strings = off")
    connection.execute(r"INSERT INTO t (id, v) VALUES (103, 'x\'; \\! true; --')")
    connection.execute("RESET standard_conforming_strings")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("INSERT INTO t (id) VALUES (0)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("INSERT INTO t (id) VALUES (200); INSERT INTO t (id) VALUES (0)")
    connection.execute("INSERT INTO t (id) VALUES (201); INSERT INTO t (id) VALUES (202) -- both")
    with connection.transaction():
        connection.execute("UPDATE t SET v = 'kept' WHERE id = 1")
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("DELETE FROM t")
            connection.execute("SELECT 1/0")
    with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
        connection.execute("DELETE FROM t")
        connection.execute("SELECT 1/0")
    connection.execute("BEGIN")
    connection.execute("DELETE FROM t")
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1/0")
    connection.execute("COMMIT")
    connection.execute("BEGIN; DELETE FROM t")


def test_what_is_left_behind_is_the_same(
    shared_gateway: Gateway, server15: Server, databases: None, tmp_path: Path
) -> None:
    shared_gateway.add_connection("exported", server15, database="exported")
    shared_gateway.add_identity("worker", "exported")
    with psycopg.connect(shared_gateway.dsn("worker", "exported")) as connection:
        _work(connection)
        connection.close()
    (session,) = shared_gateway.sessions(
        "--identity", "worker", wait_for=lambda found: bool(found) and found[0]["ended_at"] is not None
    )
    script = tmp_path / "session.sql"
    shared_gateway.run("session", "export", session["session"][-8:], "--format", "sql", "-o", str(script))
    done = subprocess.run(
        [
            DEBIAN_15 / "psql",
            "--no-psqlrc",
            "-v",
            "ON_ERROR_STOP=1",
            "--file",
            script,
            server15.dsn("replayed"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{script.read_text()}"
    original, replayed = (_rows(server15, name) for name in DATABASES)
    assert original == replayed
    assert len(original) == 23


def test_data_are_never_taken_for_commands(server15: Server, tmp_path: Path) -> None:
    """Also where psql cannot copy, because the table is not there."""
    owned = tmp_path / "owned"
    talk = tapes.dialogue(1).client(query("COPY no_such_table FROM STDIN")).server(copy_in())
    talk.client(copy_data(f"\\! touch {owned}\n".encode()), copy_done()).server(complete("COPY 1"), ready())
    tapes.record(tmp_path, talk)
    reader = tapes.index(tmp_path)
    script = b"".join(export_session(reader, tmp_path / "tape", str(tapes.session_id(1)), "sql"))
    reader.close()
    command = [DEBIAN_15 / "psql", "--no-psqlrc", server15.dsn("postgres")]
    done = subprocess.run(command, input=script, capture_output=True, check=False)
    assert done.returncode == 3 and b"no_such_table" in done.stderr
    assert str(owned).encode() in script and not owned.exists()


def _rows(server: Server, database: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn(database)) as connection:
        return connection.execute("SELECT * FROM t ORDER BY id").fetchall()
