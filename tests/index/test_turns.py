"""The indexer takes what is left over, and more when that is not enough."""

import os
import threading

import pytest

from pgwitness.index.follower import Follower
from pgwitness.index.indexer import LONGEST_REST, Turns


class Steps(Follower):
    """Stands for a follower: notes in which scheduling class its steps are taken."""

    def __init__(self, *more: bool) -> None:
        self.more = list(more)
        self.idle: list[bool] = []

    def step(self) -> bool:
        self.idle.append(os.sched_getscheduler(threading.get_native_id()) == os.SCHED_IDLE)
        return self.more.pop(0)


def test_it_hurries_until_it_has_caught_up_and_then_takes_what_is_left_over() -> None:
    turns, follower = Turns(), Steps(True, False, True, True, False)
    assert [turns.step(follower) for _ in range(5)] == [True, False, True, True, False]
    assert follower.idle == [False, False, True, True, True]
    turns.close()


def test_it_hurries_again_when_it_has_not_caught_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    turns, follower = Turns(patience=60), Steps(False, True, True, False, True)
    for now in (0.0, 59.0, 61.0, 62.0, 63.0):  # noqa: B007 - what the clock says
        turns.step(follower)
    assert follower.idle == [False, True, False, False, True]
    turns.close()


def test_it_rests_only_while_others_want_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = iter([0.0, 0.0, 10.0, 20.0])
    monkeypatch.setattr("pgwitness.index.indexer._seconds_waited", lambda: next(waited))
    turns, follower = Turns(), Steps(False, True, True)
    rests = []
    for _ in range(3):
        turns.step(follower)
        rests.append(turns.rest)
    assert rests[:2] == [0, 0]
    assert 0 < rests[2] <= LONGEST_REST
    turns.close()
