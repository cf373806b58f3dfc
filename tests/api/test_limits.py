"""How often one may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.api import limits
from pgwitness.api.limits import Buckets, neighbourhood


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    buckets = Buckets(2, 3, clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 0.25
    assert buckets.take("a") == pytest.approx(0.25), "asking too early costs nothing"
    clock.now += 0.25
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0


def test_each_has_a_bucket_of_its_own() -> None:
    buckets = Buckets(1, 1, Clock())
    assert buckets.take("a") == 0 and buckets.take("a") > 0
    assert buckets.take("b") == 0


def test_what_is_given_back_can_be_taken_again() -> None:
    buckets = Buckets(1, 1, Clock())
    assert buckets.take("a") == 0
    buckets.give_back("a")
    assert buckets.take("a") == 0 and buckets.take("a") > 0
    buckets.give_back("b")
    assert buckets.take("b") == 0 and buckets.take("b") > 0, "never more than the burst"


def test_a_rate_of_nothing_sets_no_limit() -> None:
    buckets = Buckets(0, 1, Clock())
    assert {buckets.take("a") for _ in range(100)} == {0}


def test_memory_is_bounded_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_KEPT", 10)
    buckets = Buckets(1, 2, Clock())
    for number in range(100):
        buckets.take(str(number))
    assert len(buckets._levels) == 10


@given(st.lists(st.floats(0, 3), max_size=60))
def test_in_the_long_run_there_is_no_more_than_the_rate(pauses: list[float]) -> None:
    clock = Clock()
    buckets, begun, taken = Buckets(1.5, 4, clock), clock.now, 0
    for pause in pauses:
        clock.now += pause
        taken += buckets.take("a") == 0
        assert taken <= 4 + 1.5 * (clock.now - begun) + 1e-6


def test_a_host_of_ipv6_has_a_network_of_addresses() -> None:
    assert neighbourhood("192.0.2.7") == "192.0.2.7"
    assert (
        neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:2") != neighbourhood("2001:db8:0:1::1")
    )
    assert neighbourhood("::ffff:192.0.2.7") != neighbourhood("::ffff:192.0.2.8")
    assert neighbourhood("testclient") == "testclient"
