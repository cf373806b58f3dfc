"""Random conversations (pipelines, portals in pages, COPY, savepoints, errors, open transactions), again on a
copy: no divergence, and the same rows."""

import psycopg
import pytest
from _pytest.mark import ParameterSet

from live.test_differential import Talker
from reenact.conftest import Pair
from support.raw import RawClient, message, query

TABLE = "CREATE TABLE numbers (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"


def slow(*seeds: int) -> list[ParameterSet]:
    return [pytest.param(seed, marks=pytest.mark.slow) for seed in seeds]


def converse(pair: Pair, talker: Talker, batches: int) -> None:
    token = pair.gateway.tokens["pairs"]
    with RawClient(pair.gateway.port) as client:
        client.login("pairs", token, f"{pair.connection}/{pair.name}")
        for _ in range(batches):
            wire, answers = talker.batch()
            client.send(wire)
            for _ in range(answers):
                client.until()
        client.send(query("ROLLBACK") + message("X"))
        assert client.closed()


@pytest.mark.parametrize("seed", [1, *slow(2, 3, 4)])
def test_no_divergence_and_the_same_rows(pair: Pair, seed: int) -> None:
    for dsn in (pair.server.dsn(pair.name, user="app"), pair.copy):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(TABLE)
    converse(pair, Talker(seed, "numbers", 1000 * seed), 150)
    report = pair.reenact()
    assert (report.first, report.ended) == (None, "end")
    assert report.run == report.recorded > 200
    original, copy = pair.rows("SELECT n FROM numbers ORDER BY n")
    assert original == copy and len(copy) > 20


@pytest.mark.parametrize("seed", [9, *slow(5, 6, 12, 18, 21)])
def test_committed_only_leaves_the_same_rows(pair: Pair, seed: int) -> None:
    for dsn in (pair.server.dsn(pair.name, user="app"), pair.copy):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(TABLE)
    converse(pair, Talker(seed, "numbers", 1000 * seed), 150)
    report = pair.reenact(committed_only=True, keep_going=True)
    original, copy = pair.rows("SELECT n FROM numbers ORDER BY n")
    assert original == copy and len(copy) > 20
    assert (report.first, report.ended) == (None, "end")
    assert report.left_out > 20 and report.run + report.left_out == report.recorded
