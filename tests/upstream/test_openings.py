"""Which backends are ours: by process id and start, with dials under way and given up."""

from datetime import UTC, datetime

import pytest

from pgwitness.catalog.models import Connection
from pgwitness.upstream.openings import LINGERING_SECONDS, Openings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def openings(clock: Clock) -> Openings:
    return Openings(clock)


def to(user: str = "app", host: str = "a", connector: str | None = None) -> Connection:
    return Connection(
        id="1",
        name="shop",
        host=host,
        port="1",
        database="shop",
        user=user,
        connectors=(connector,) if connector else (),
        created_at=datetime.now(UTC),
    )


def dial(
    openings: Openings, clock: Clock, pid: int, address: str = "a:1", connector: str | None = None
) -> None:
    with openings.dialling(to(connector=connector), "shop") as opening:
        clock.now += 0.5
        opening.opened(pid, address)


def judge(
    openings: Openings, pid: int, started: float | None, user: str = "app", database: str | None = "shop"
) -> str:
    return openings.judge(pid, user, database, started, 0.1, {("a", 1)})


def test_a_backend_that_we_opened_is_ours(openings: Openings, clock: Clock) -> None:
    dial(openings, clock, 7)
    assert judge(openings, 7, 100.2) == "ours"
    assert judge(openings, 7, None) == "ours"
    assert judge(openings, 7, 100.2, database=None) == "ours"


def test_the_same_process_id_of_another_start_or_user_is_foreign(openings: Openings, clock: Clock) -> None:
    dial(openings, clock, 7)
    clock.now += 60
    assert judge(openings, 7, 100.7) == "foreign"
    assert judge(openings, 7, 99.8) == "foreign"
    assert judge(openings, 7, 100.2, user="postgres") == "foreign"
    assert judge(openings, 7, 100.2, database="other") == "foreign"
    assert judge(openings, 8, 100.2) == "foreign"


def test_it_may_be_ours_while_a_dial_is_under_way(openings: Openings, clock: Clock) -> None:
    with openings.dialling(to(), "shop"):
        clock.now += 2
        assert judge(openings, 7, 100.5) == "maybe"
        assert judge(openings, 7, 99.0) == "foreign"
        assert judge(openings, 7, 100.5, user="postgres") == "foreign"


def test_a_dial_to_another_server_is_no_doubt(openings: Openings, clock: Clock) -> None:
    with openings.dialling(to(host="b"), "shop"):
        clock.now += 2
        assert judge(openings, 7, 100.5) == "foreign"


def test_a_dial_given_up_leaves_a_doubt_for_a_moment(openings: Openings, clock: Clock) -> None:
    with pytest.raises(TimeoutError), openings.dialling(to(), "shop"):
        clock.now += 1
        raise TimeoutError
    assert judge(openings, 7, 100.5) == "maybe"
    assert judge(openings, 7, 101.5) == "foreign"
    clock.now += LINGERING_SECONDS
    assert judge(openings, 7, 100.5) == "foreign"


def test_what_is_not_listed_any_more_is_forgotten(openings: Openings, clock: Clock) -> None:
    dial(openings, clock, 7)
    dial(openings, clock, 8)
    dial(openings, clock, 9, address="b:1")
    looked = clock.now + 1
    clock.now += 2
    dial(openings, clock, 10)
    openings.forget("a:1", (), looked, {8})
    assert [judge(openings, pid, None) for pid in (7, 8, 9, 10)] == ["foreign", "ours", "ours", "ours"]


def test_one_address_beside_two_connectors_is_two_servers(openings: Openings, clock: Clock) -> None:
    for pid, connector in ((7, "east"), (8, "west")):
        dial(openings, clock, pid, connector=connector)
    clock.now += 1
    openings.forget("a:1", ("east",), clock.now, {7})
    assert judge(openings, 8, None) == "ours"
    openings.forget("a:1", ("west",), clock.now, set())
    assert judge(openings, 8, None) == "foreign"


def test_only_so_many_are_kept(clock: Clock) -> None:
    openings = Openings(clock, kept=3)
    for pid in range(5):
        dial(openings, clock, pid)
    assert len(openings) == 3
    assert openings.overflowed
    assert [judge(openings, pid, None) for pid in range(5)] == ["foreign"] * 2 + ["ours"] * 3
