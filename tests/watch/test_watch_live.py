"""The watch as a whole: its command, features of servers, servers that hang, and what is on the tape."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from pgwitness._core import KIND_RECORDER, TapeReader
from support.servers import PASSWORD
from support.watched import Document, Watched, on_one_version

FEATURES = (
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION postgres_fdw",
    "CREATE EXTENSION file_fdw",
    "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
    "GRANT USAGE ON FOREIGN SERVER elsewhere TO app",
    "GRANT pg_execute_server_program TO app",
    "CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$",
    "CREATE EVENT TRIGGER noting ON ddl_command_end EXECUTE FUNCTION noted()",
)
NO_FEATURES = (
    "DROP EVENT TRIGGER noting",
    "DROP FUNCTION noted",
    "REVOKE pg_execute_server_program FROM app",
    "DROP EXTENSION dblink, postgres_fdw, file_fdw CASCADE",
)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for one in held:
            one.close()


def events(watched: Watched, *names: str) -> list[Document]:
    reader = TapeReader(watched.gateway.state / "tape")
    found = []
    while frames := reader.read():
        found += [json.loads(frame[5]) for frame in frames if frame[2] == KIND_RECORDER]
    return [event for event in found if event["event"] in names]


def test_features_are_listed_and_gone_again(on_demand: Watched) -> None:
    server = on_demand.server
    assert on_demand.look("feature")["findings"] == []
    server.sql(*FEATURES, database="shop")
    try:
        found = {one["key"]: one for one in on_demand.look("feature")["findings"]}
        assert {key: one["level"] for key, one in found.items()} == {
            "feature-extension-dblink": "weakness",
            "feature-extension-postgres_fdw": "note",
            "feature-extension-file_fdw": "note",
            "feature-server-elsewhere": "weakness",
            "feature-power-pg_execute_server_program": "weakness",
            "feature-trigger-noting": "note",
        }
        assert "COPY … PROGRAM" in found["feature-power-pg_execute_server_program"]["what"]
        assert "runs public.noted at ddl_command_end" in found["feature-trigger-noting"]["what"]
    finally:
        server.sql(*NO_FEATURES, database="shop")
    assert on_demand.look("feature")["findings"] == []
    past = [one for one in on_demand.findings(past=True) if one["kind"] == "feature"]
    assert len(past) == 6
    assert all(one["gone_at"] for one in past)


@on_one_version
def test_what_a_recorded_statement_does_by_dblink_is_a_session_around(on_demand: Watched) -> None:
    server = on_demand.server
    server.sql("CREATE EXTENSION dblink", database="shop")
    try:
        with on_demand.through() as connection:
            target = f"host=127.0.0.1 port={server.port} dbname=shop user=app password={PASSWORD}"
            connection.execute("SELECT dblink_connect('side', %s || ' application_name=side')", (target,))
            (found,) = on_demand.look("session")["findings"]
            assert "application 'side'" in found["what"]
    finally:
        server.sql("DROP EXTENSION dblink", database="shop")


@on_one_version
def test_ways_in_are_seen_by_who_may(on_demand: Watched) -> None:
    blind = on_demand.look("route")
    assert any("pg_hba.conf cannot be read" in limit for limit in blind["limits"])
    assert not any(one["key"].startswith("route-hba") for one in blind["findings"])
    sighted = on_demand.look("route", through="monitor")
    assert not any("pg_hba.conf" in limit for limit in sighted["limits"])
    found = {one["details"].get("rule"): one for one in sighted["findings"]}
    assert found["local all postgres trust"]["details"]["roles"] == ["postgres"]
    assert "app" in found["local all all scram-sha-256"]["details"]["roles"]
    members = {one["details"].get("role") for one in sighted["findings"]}
    assert {"app_md5", "app_clear", "app_trust"} <= members
    # who cannot see them does not say that they are gone
    after = on_demand.look("route")
    assert {one["key"] for one in after["findings"]} == {one["key"] for one in sighted["findings"]}


def test_parallel_workers_and_replication_of_ours_are_ours(on_demand: Watched) -> None:
    setting = "force_parallel_mode" if on_demand.server.version == 15 else "debug_parallel_query"
    on_demand.gateway.run("connection", "update", "shop", "--replication", "on")
    with (
        on_demand.through() as connection,
        on_demand.gateway.connect("agent", "shop", replication="database") as walsender,
    ):
        walsender.execute("IDENTIFY_SYSTEM")
        connection.execute(f"SET {setting} = on")
        query = threading.Thread(target=connection.execute, args=("SELECT count(pg_sleep(3))",))
        query.start()
        kinds: set[object] = set()
        deadline = time.monotonic() + 3
        while "parallel worker" not in kinds:
            assert time.monotonic() < deadline
            rows = on_demand.server.sql("SELECT backend_type FROM pg_stat_activity WHERE usename = 'app'")
            kinds = {row[0] for row in rows}
        assert {"client backend", "walsender"} <= kinds
        assert on_demand.look("session")["findings"] == []
        query.join()
    with psycopg.connect(
        on_demand.server.dsn("shop", "app", PASSWORD), autocommit=True, replication="database"
    ):
        (found,) = on_demand.look("session")["findings"]
        assert "for replication" in found["what"]


@on_one_version
def test_the_command(on_demand: Watched) -> None:
    run = on_demand.gateway.run
    assert run("watch", "shop", "--only", "sessions").returncode == 0
    with on_demand.around(application_name="by hand"):
        found = run("watch", "shop", "--only", "sessions", "--format", "jsonl", check=False)
        assert found.returncode == 1
        (line,) = found.stdout.splitlines()
        finding = json.loads(line)
        assert finding["details"]["application"] == "by hand"
        shown = run("connection", "show", "shop")
        assert "1 alarm" in shown.stdout
        assert "by hand" in shown.stderr
        assert '"alarm": 1' in run("connection", "list", "--format", "json").stdout
        run("watch", "shop", "--accept", finding["key"])
        accepted = run("watch", "shop", "--only", "sessions")
        assert "1 more are accepted" in accepted.stderr
        run("watch", "shop", "--unaccept", finding["key"])
        assert run("watch", "shop", "--only", "sessions", check=False).returncode == 1
    assert run("watch", "shop", "--only", "sessions").returncode == 0
    assert "by hand" in run("watch", "shop", "--all", "--format", "jsonl").stdout
    for wrong in (["nowhere"], ["shop", "--only", "everything"], ["shop", "--as", "nobody"]):
        done = run("watch", *wrong, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")


@on_one_version
def test_a_server_that_hangs_is_said_to(on_demand: Watched, silent: int) -> None:
    run = on_demand.gateway.run
    where = ["--host", "127.0.0.1", "--port", str(silent), "--database", "shop", "--user", "app"]
    run("connection", "add", "silent", *where, "--sslmode", "disable", "--connect-timeout", "1")
    try:
        done = run("watch", "silent", check=False)
        assert done.returncode == 2
        assert "'silent' cannot be looked at" in done.stderr
        assert "no answer within 1 seconds" in done.stderr
    finally:
        run("connection", "remove", "silent")


@on_one_version
def test_servers_that_hang_hold_up_nobody(always: Watched, silent: int) -> None:
    run = always.gateway.run
    where = ["--host", "127.0.0.1", "--port", str(silent), "--database", "shop", "--user", "app"]
    for number in range(3):
        run("connection", "add", f"silent{number}", *where, "--sslmode", "disable")
    with always.around(application_name="meanwhile"):
        began = time.monotonic()
        while not any(one["kind"] == "session" for one in always.findings()):
            assert time.monotonic() - began < 10
            time.sleep(0.1)
    began = time.monotonic()
    with always.through() as connection:
        connection.execute("SELECT 1")
    assert time.monotonic() - began < 5  # half of what the silent ones wait
    for number in range(3):
        run("connection", "remove", f"silent{number}")


@on_one_version
def test_all_of_it_is_on_the_tape(on_demand: Watched) -> None:
    before = len(events(on_demand, "watch_opened"))
    with on_demand.around(application_name="on tape") as around:
        on_demand.look()
        pid = around.info.backend_pid
    on_demand.look("session")
    opened = events(on_demand, "watch_opened")[before:]
    assert {event["connection"] for event in opened} == {"shop"}
    announced = [one for one in events(on_demand, "watch_asked") if one["pid"] == opened[0]["pid"]]
    assert len(announced) < 8
    asked = [sql for event in announced for sql in event["sql"]]
    assert any("FROM pg_stat_activity" in sql for sql in asked)
    assert len(asked) == len(set(asked))
    closed = events(on_demand, "watch_closed")
    assert any(event["asked"].get(asked[0]) == 1 for event in closed)
    (told,) = (
        event for event in events(on_demand, "unrecorded_session") if event["application"] == "on tape"
    )
    assert (told["pid"], told["user"], told["address"]) == (pid, "app", "127.0.0.1")
    changes = [
        event["change"]
        for event in events(on_demand, "watch_finding")
        if event["details"].get("application") == "on tape"
    ]
    assert changes == ["new", "gone"]
    # the server saw no question that the tape has not
    logged = [
        one for one in on_demand.server.log_statements("pgwitness watch") if one.pid == opened[0]["pid"]
    ]
    assert logged
    assert {entry.sql for entry in logged} <= set(asked)
