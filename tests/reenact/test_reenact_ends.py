"""Where a re-enactment ends, and what the copy is left with, as it says itself."""

import contextlib
import os
import signal
import threading
from typing import Any

import psycopg
import pytest

from pgwitness.errors import ConflictError, NotFoundError, UnavailableError
from pgwitness.reenact.target import open_target
from reenact.conftest import Pair
from support.raw import SYNC, RawClient, bind, execute, message, parse, query
from support.waiting import wait_until


def _three(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("UPDATE orders SET status = 'one' WHERE id = 1")
        with connection.transaction():
            connection.execute("UPDATE orders SET status = 'two' WHERE id = 2")
            connection.execute("UPDATE orders SET status = 'three' WHERE id = 3")
        connection.execute("UPDATE orders SET status = 'four' WHERE id = 4")


def _changed(pair: Pair) -> list[Any]:
    return [row for (row,) in pair.on_copy("SELECT status FROM orders WHERE status <> 'paid' ORDER BY id")]


def test_until_a_statement_within_its_transaction(pair: Pair) -> None:
    _three(pair)
    report = pair.reenact(until=4)
    assert (report.ended, report.run, report.sound) == ("until", 3, True)
    assert report.state.open == "committed" and "just before statement 4" in report.state.text
    assert _changed(pair) == ["one", "two"], "as the statement saw it"


def test_until_a_statement_within_a_message_or_a_pipeline(pair: Pair) -> None:
    wanted = "UPDATE orders SET status = 'no'"
    with RawClient(pair.gateway.port) as client:
        client.login("pairs", pair.gateway.tokens["pairs"], f"{pair.connection}/{pair.name}")
        client.send(query(f"UPDATE orders SET status = 'a' WHERE id = 1; {wanted}; SELECT 1"))
        client.until()
        first = parse("", "UPDATE orders SET status = 'b' WHERE id = 2") + bind("", "") + execute()
        client.send(first + parse("", wanted) + bind("", "") + execute() + SYNC)
        client.until()
        client.send(message("X"))
        assert client.closed()
    assert pair.reenact(until=2).ended == "until"
    assert _changed(pair) == ["a"]
    pair.on_copy("UPDATE orders SET status = 'paid'")
    assert pair.reenact(until=5).run == 4
    assert pair.on_copy("SELECT count(*) FROM orders WHERE status = 'no'") == [(299,)]
    assert pair.on_copy("SELECT count(*) FROM orders WHERE status = 'b'") == [(1,)]


def test_a_failed_transaction_is_rolled_back_at_the_end(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("DELETE FROM orders")
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        with contextlib.suppress(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 2")
    report = pair.reenact(until=4)
    assert (report.ended, report.state.open) == ("until", "rolled back")
    assert pair.on_copy("SELECT count(*) FROM orders") == [(300,)]


def test_all_divergences_are_counted_on_demand(pair: Pair) -> None:
    _three(pair)
    pair.on_copy("DELETE FROM orders WHERE id IN (2, 4)")
    stopped = pair.reenact()
    assert (stopped.ended, stopped.diverged) == ("divergence", 1)
    assert stopped.first is not None and stopped.first.seq == 3
    assert [(one.what, one.recorded, one.here) for one in stopped.first.differences] == [
        ("tag", "UPDATE 1", "UPDATE 0")
    ]
    assert "transaction committed on the copy" in stopped.state.text and _changed(pair) == ["one"]
    went_on = pair.reenact(keep_going=True)
    assert (went_on.ended, went_on.diverged, went_on.run) == ("end", 2, 6)
    assert [one.seq for one in went_on.divergences] == [3, 6]


def test_what_others_stopped_is_not_run(pair: Pair) -> None:
    """A lock that another session held, a timeout: here nobody holds it, and nothing takes so long."""
    with pair.connect() as one, pair.connect() as other:
        one.execute("BEGIN")
        one.execute("SELECT * FROM orders WHERE id = 1 FOR UPDATE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("SELECT * FROM orders WHERE id = 1 FOR UPDATE NOWAIT")
        other.execute("BEGIN")
        other.execute("SET LOCAL lock_timeout = '50ms'")
        other.execute("UPDATE orders SET status = 'mine' WHERE id = 2")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE orders SET status = %s WHERE id = %s", ("mine", 1))
        other.execute("COMMIT")
        other.execute("UPDATE orders SET status = 'later' WHERE id = 3; SELECT 1")
        session = str(pair.gateway.sessions("--connection", pair.connection, wait_for=2)[0]["session"])
        other.close()
        one.close()
    pair.session(2)
    report = pair.reenact(session)
    assert (report.first, report.ended) == (None, "end")
    assert [(stood.seq, stood.sqlstate) for stood in report.stood_in] == [(1, "55P03"), (5, "55P03")]
    assert _changed(pair) == ["later"]


def test_what_was_refused_for_want_of_privileges_is_not_run(pair: Pair) -> None:
    """As whom it is run here may have them."""
    planted = pair.server.directory / f"planted_{pair.name}"
    pair.server.sql(
        "CREATE SCHEMA guarded", "CREATE TABLE guarded.t (n int)", "CREATE TABLE hidden (n int)",
        database=pair.name,
    )  # fmt: skip
    refused = psycopg.errors.InsufficientPrivilege
    with pair.connect() as connection:
        with pytest.raises(refused):
            connection.execute(f"COPY orders TO PROGRAM 'touch {planted}'")
        with pytest.raises(refused):
            connection.execute(f"COPY (SELECT 1) TO '{planted}'; SELECT 1")
        with pytest.raises(refused):
            connection.execute("SELECT * FROM guarded.t WHERE n = %s", (1,))
        with pytest.raises(refused):
            connection.execute("SELECT * FROM hidden WHERE n = %s", (1,))
        with pytest.raises(refused):
            connection.execute("SELECT * FROM guarded.t", prepare=True)
        connection.execute("UPDATE orders SET status = 'later' WHERE id = %s", (3,))
    pair.other_way = (
        f"host={pair.server.directory} port={pair.server.port} user=postgres dbname={pair.name}_copy"
    )
    report = pair.reenact()
    assert (report.first, report.ended) == (None, "end")
    assert [stood.sqlstate for stood in report.stood_in] == ["42501"] * 5
    assert not planted.exists() and _changed(pair) == ["later"]


def test_interrupted_it_cancels_and_says_so(pair: Pair) -> None:
    _three(pair)
    with psycopg.connect(pair.copy) as holder:
        holder.execute("SELECT * FROM orders WHERE id = 3 FOR UPDATE")
        threading.Thread(target=_interrupt_when_waiting, args=(pair,)).start()
        report = pair.reenact()
    assert (report.ended, report.sound) == ("interrupted", False)
    assert "cancelled" in str(report.problem) and report.state.committed == 1
    assert _changed(pair) == ["one"], "its open transaction is rolled back"


def test_an_answer_that_takes_too_long(pair: Pair) -> None:
    _three(pair)
    with psycopg.connect(pair.copy) as holder:
        holder.execute("SELECT * FROM orders WHERE id = 1 FOR UPDATE")
        report = pair.reenact(timeout=0.3)
    assert (report.ended, report.run, report.state.committed) == ("timeout", 0, 0)
    assert _changed(pair) == []


def test_the_copy_goes_away(pair: Pair) -> None:
    _three(pair)
    with psycopg.connect(pair.copy) as holder:
        holder.execute("SELECT * FROM orders WHERE id = 3 FOR UPDATE")
        threading.Thread(target=_terminate_when_waiting, args=(pair,)).start()
        report = pair.reenact()
    assert report.ended == "lost" and "closed the connection" in str(report.problem)
    assert _changed(pair) == ["one"]


def test_what_cannot_be_run_is_refused_before_anything_is(pair: Pair) -> None:
    _three(pair)
    with pytest.raises(NotFoundError, match="has no statement 99"):
        pair.reenact(until=99)
    with pytest.raises(UnavailableError, match="the copy cannot be reached"):
        open_target("host=127.0.0.1 port=1 password=secret-word dbname=x")
    with pytest.raises(UnavailableError) as caught:
        open_target(pair.copy.replace("upstream-secret", "wrong-secret"))
    assert "wrong-secret" not in str(caught.value) and "password authentication failed" in str(caught.value)
    assert _changed(pair) == []


def test_a_session_of_replication_is_refused(pair: Pair) -> None:
    from pgwitness.reenact.plan import make_plan
    from support.dialogue import Dialogue

    talk = Dialogue(client={"parameters": {"replication": "database"}})
    with pytest.raises(ConflictError, match="replication"):
        make_plan(talk.frames)


def _blocked(pair: Pair) -> list[int]:
    found = pair.server.sql(
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{pair.name}_copy' AND wait_event_type = 'Lock'"
    )
    return [int(str(pid)) for (pid,) in found]


def _interrupt_when_waiting(pair: Pair) -> None:
    wait_until(lambda: _blocked(pair))
    os.kill(os.getpid(), signal.SIGINT)


def _terminate_when_waiting(pair: Pair) -> None:
    (pid,) = wait_until(lambda: _blocked(pair))
    pair.server.sql(f"SELECT pg_terminate_backend({pid})")
