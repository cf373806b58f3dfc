"""``kill -9`` at any moment, and SIGTERM under load: the record holds everything that the server ran."""

import itertools
import os
import random
import subprocess
import time
from typing import Any

import pytest

from pgwitness.embedded import wheel_programs
from support.compare import Record, missing, upstream_pids
from support.gateway import Gateway
from support.servers import DEBIAN_15, Server

_runs = itertools.count(1)
MODES = ("simple", "extended", "prepared")


def pgbench(gateway: Gateway, application: str, *arguments: str) -> "subprocess.Popen[str]":
    program = DEBIAN_15 / "pgbench" if DEBIAN_15.is_dir() else wheel_programs() / "pgbench"
    environment = {
        **os.environ,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(gateway.port),
        "PGUSER": "agent",
        "PGPASSWORD": gateway.tokens["agent"],
        "PGDATABASE": "shop",
        "PGSSLMODE": "disable",
        "PGAPPNAME": application,
        "PGOPTIONS": f"-c pgwitness.run={application}",
    }
    return subprocess.Popen(
        [str(program), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def prepare(gateway: Gateway) -> None:
    process = pgbench(gateway, "setup", "-i", "-s", "1", "-q")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output


def assert_complete(gateway: Gateway, server: Server, application: str) -> list[Record]:
    """None of the server's statements is missing from the record of this run; the record."""
    logged = server.log_statements(application)
    pids = upstream_pids(gateway.state)

    def complete(record: list[dict[str, Any]]) -> bool:
        return not missing(record, logged, pids)

    record = gateway.statements("--run", application, wait_for=complete, timeout=60)
    assert len(logged) > 0
    return record


def kill_round(gateway: Gateway, server: Server, number: int) -> int:
    """One ``kill -9`` under load, and the record after the restart; how many statements the server ran."""
    application = f"kill-{next(_runs)}"
    load = pgbench(gateway, application, "-M", MODES[number % 3], "-c", "8", "-j", "2", "-T", "60", "-n")
    time.sleep(random.Random(number).uniform(0.4, 1.5))
    gateway.kill()
    load.communicate(timeout=30)
    while server.backends():  # they finish what reached them
        time.sleep(0.05)
    gateway.restart()
    record = assert_complete(gateway, server, application)
    sessions = {statement["session"] for statement in record}
    logged = server.log_statements(application)
    assert len(sessions) == len({entry.pid for entry in logged})
    # pgbench's first connection, which only looks around, had ended before.
    ended = gateway.sessions("--run", application, wait_for=lambda found: all(s["ended_at"] for s in found))
    assert {s["end_reason"] for s in ended if s["session"] in sessions} <= {"interrupted", "terminated"}
    assert sum(s["end_reason"] == "interrupted" for s in ended) >= len(sessions) - 1
    return len(logged)


def test_kill_9_under_load(front: Gateway, server18: Server) -> None:
    prepare(front)
    assert sum(kill_round(front, server18, number) for number in range(2)) > 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_twenty_times(front: Gateway, server18: Server) -> None:
    prepare(front)
    total = sum(kill_round(front, server18, number) for number in range(20))
    print(f"{total} statements in 20 rounds, none of them unrecorded")


def test_kill_9_of_the_indexer_alone_loses_nothing(front: Gateway, server18: Server) -> None:
    import psutil

    children = [
        child
        for child in psutil.Process(front.pid).children(recursive=True)
        if "indexer" in " ".join(child.cmdline())
    ]
    assert children, "the gateway runs an indexer"
    with front.connect("agent", "shop") as connection:
        connection.execute("SELECT 'before the indexer died'")
        for child in children:
            child.kill()
        connection.execute("SELECT 'after the indexer died'")
    front.statements("--match", "the indexer died", wait_for=2, timeout=30)


def test_sigterm_under_load_is_clean(front: Gateway, server18: Server) -> None:
    prepare(front)
    application = f"term-{next(_runs)}"
    load = pgbench(front, application, "-M", "prepared", "-c", "8", "-j", "2", "-T", "60", "-n")
    time.sleep(1.0)
    assert front.terminate(timeout=60) == 0
    output, _ = load.communicate(timeout=30)
    assert "57P01" in output or "shut" in output.lower() or "terminat" in output.lower(), output
    assert "Traceback" not in front.log, front.log
    front.restart()
    record = assert_complete(front, server18, application)
    # No statement was cut off: each was answered before its session ended.
    assert {statement["status"] for statement in record} <= {"ok", "skipped"}
    assert "interrupted" not in str(front.sessions("--run", application, wait_for=8))


def test_sigterm_lets_a_running_statement_finish(front: Gateway) -> None:
    import threading

    with front.connect("agent", "shop") as connection:
        result: list[Any] = []
        worker = threading.Thread(
            target=lambda: result.append(connection.execute("SELECT 'finished', pg_sleep(2)").fetchone())
        )
        worker.start()
        time.sleep(0.5)
        assert front.terminate(timeout=30) == 0
        worker.join(10)
    assert result and result[0][0] == "finished"
