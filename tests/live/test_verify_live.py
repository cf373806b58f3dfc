"""A record that is being written is sound whenever one looks, with the index beside it; and a changed row of
the index, a changed byte of a chunk show."""

import json
import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest

from pgwitness.index.location import Location
from support.gateway import Gateway, Record
from support.records import flip
from support.servers import Server

WORKERS, LOOKS = 2, 6


@pytest.fixture
def busy(gateway: Gateway, server18: Server) -> Gateway:
    gateway.add_connection("shop", server18)
    gateway.add_identity("agent", "shop")
    return gateway


def verify(gateway: Gateway, *arguments: str) -> Record:
    done = gateway.run("verify", "--format", "json", *arguments, check=False)
    assert done.returncode in (0, 1), done.stderr
    report: Record = json.loads(done.stdout)
    assert report["result"] == ("broken" if done.returncode else "sound")
    return report


def work(gateway: Gateway, number: int, stop: threading.Event) -> None:
    """Sessions that come and go, with errors, transactions, parameters and results."""
    while not stop.wait(0.1):  # a little of everything, all the time: not as much as fits
        with gateway.connect("agent", "shop") as connection:
            connection.autocommit = True
            for turn in range(6):
                connection.execute("SELECT %s::int, repeat('x', 500)", (turn,))
                with connection.transaction(force_rollback=turn % 2 == 0):
                    connection.execute("CREATE TEMP TABLE IF NOT EXISTS t (a int)")
                    connection.execute("INSERT INTO t SELECT generate_series(1, %s)", (turn,))
                with pytest.raises(psycopg.errors.DivisionByZero):
                    connection.execute("SELECT 1/0")


def test_a_record_under_load_is_never_called_broken(busy: Gateway) -> None:
    stop = threading.Event()
    workers = [threading.Thread(target=work, args=(busy, number, stop)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    try:
        sizes = []
        for _ in range(LOOKS):
            report = verify(busy)
            assert report["problems"] == []
            sizes.append(report["size"] or 0)
        assert sizes == sorted(sizes)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert busy.terminate() == 0
    busy.run("statements", "--limit", "1")  # brings the index up to date
    report = verify(busy)
    assert report["problems"] == []
    assert report["numbers"]["sessions_open"] == 0
    assert report["numbers"]["statements_compared"] > 100
    assert not [remark for remark in report["remarks"] if remark["about"] not in ("key",)]
    _changed_row_and_byte(busy)


def _changed_row_and_byte(gateway: Gateway) -> None:
    current = Location(gateway.state).current()
    assert current
    connection = sqlite3.connect(current)
    with connection:
        last = "(SELECT max(number) FROM statements WHERE rows > 0)"
        changed = connection.execute(f"UPDATE statements SET rows = rows + 1 WHERE number = {last}")
        assert changed.rowcount == 1
    connection.close()
    (problem,) = verify(gateway)["problems"]
    assert problem["step"] == "index"
    assert "differs in the index: rows" in problem["text"]
    segment = Path(gateway.state) / "record" / "segments" / "0000000001.chunks"
    flip(segment, segment.stat().st_size // 2)
    (problem,) = verify(gateway)["problems"]
    assert problem["file"] == "segments/0000000001.chunks"
    assert problem["session"]
