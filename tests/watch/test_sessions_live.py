"""Sessions around the gateway are found and named; those that it opened never are."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from support.servers import PASSWORD
from support.watched import Watched, on_one_version

WITHIN_SECONDS = 10.0


def sessions(watched: Watched) -> list[dict[str, object]]:
    return [one for one in watched.findings() if one["kind"] == "session"]


def wait(condition: Callable[[], bool], seconds: float) -> float:
    """How long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"waited {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - began


def test_a_session_around_the_gateway_is_found_named_and_gone_again(always: Watched) -> None:
    with always.through() as recorded, always.around(application_name="psql") as around:
        recorded.execute("SELECT 1")
        took = wait(lambda: bool(sessions(always)), WITHIN_SECONDS)
        (found,) = sessions(always)
        assert took < WITHIN_SECONDS
        assert found["level"] == "alarm"
        details = found["details"]
        assert isinstance(details, dict)
        assert (details["user"], details["database"]) == ("app", "shop")
        assert (details["address"], details["application"]) == ("127.0.0.1", "psql")
        (session,) = details["sessions"]
        assert session["pid"] == around.info.backend_pid
        since = around.execute(
            "SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone()
        assert since is not None
        assert session["since"][:19] == since[0][:19]
        for word in ("app", "127.0.0.1", "psql", str(around.info.backend_pid), session["since"]):
            assert word in str(found["what"])
    wait(lambda: not sessions(always), WITHIN_SECONDS)
    past = next(one for one in always.findings(past=True) if one["key"] == found["key"])
    assert past["gone_at"] is not None


@on_one_version
def test_recorded_sessions_are_not_reported_while_a_hundred_open_and_close(always: Watched) -> None:
    stop = threading.Event()
    opened = [0] * 10
    problems: list[Exception] = []

    def churn(worker: int) -> None:
        while not stop.is_set():
            try:
                held = [always.through() for _ in range(10)]
                for connection in held:
                    connection.execute("SELECT pg_sleep(0.01)")
                    connection.close()
                opened[worker] += len(held)
            except psycopg.Error as error:
                problems.append(error)
                return

    workers = [threading.Thread(target=churn, args=(worker,)) for worker in range(10)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 8
    try:
        while time.monotonic() < deadline:
            assert always.look("session")["findings"] == []
        with always.around(application_name="in the crowd"):
            wait(lambda: bool(sessions(always)), WITHIN_SECONDS)
            (found,) = sessions(always)
            assert "in the crowd" in str(found["what"])
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not problems
    assert sum(opened) > 200


@on_one_version
def test_a_statement_that_outlives_its_session_is_still_ours(on_demand: Watched) -> None:
    connection = on_demand.through()
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert pid is not None
    with pytest.raises(psycopg.Error):
        threading.Timer(0.5, connection.pgconn.finish).start()
        connection.execute("SELECT pg_sleep(8)")
    for _ in range(2):
        assert on_demand.look("session")["findings"] == []
    on_demand.server.sql(f"SELECT pg_terminate_backend({pid[0]}, 10000)")


@on_one_version
def test_what_cannot_be_seen_is_said(on_demand: Watched) -> None:
    server = on_demand.server
    server.sql(f"CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}'")
    try:
        with on_demand.around("stranger", application_name="seen in part"):
            (hidden,) = (blind := on_demand.look("session"))["findings"]
            assert "an address that cannot be seen" in hidden["what"]
            assert any("grant pg_monitor" in limit for limit in blind["limits"])
            (seen,) = (sighted := on_demand.look("session", through="monitor"))["findings"]
            assert "stranger is connected to shop from 127.0.0.1" in seen["what"]
            assert sighted["limits"] == []
        assert on_demand.look("session", through="monitor")["findings"] == []
    finally:
        server.sql("DROP ROLE stranger")


def sleep_through(watched: Watched, seconds: int) -> None:
    """Until the gateway dies."""
    with contextlib.suppress(psycopg.Error), watched.through() as connection:
        connection.execute(f"SELECT pg_sleep({seconds})")


@on_one_version
def test_a_restart_repeats_nothing_as_new(always: Watched) -> None:
    with always.around(application_name="stays"):
        wait(lambda: bool(sessions(always)), WITHIN_SECONDS)
        (before,) = sessions(always)
        orphan = threading.Thread(target=sleep_through, args=(always, 30))
        orphan.start()
        running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(30)%' AND pid <> pg_backend_pid()"
        wait(lambda: bool(always.server.sql(running)), WITHIN_SECONDS)
        always.gateway.kill()
        orphan.join()
        always.gateway.restart()
        wait(lambda: sessions(always)[0]["last_seen"] != before["last_seen"], WITHIN_SECONDS + 30)
        assert always.server.sql(running)
        (after,) = sessions(always)
        assert (after["key"], after["first_seen"]) == (before["key"], before["first_seen"])
