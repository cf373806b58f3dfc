"""Warm connections: how many are ordered, who gets them, and which tickets are good."""

import asyncio
from typing import Any, cast

import pytest

from pgwitness.gateway import tunnel_pool
from pgwitness.gateway.tunnel_pool import FEWEST, MOST, TICKET_SECONDS, Pool, PoolClosedError


class FakeStream:
    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class World:
    """A pool whose clock the test moves, and whose orders it sees."""

    def __init__(self, threads: int = 1) -> None:
        self.now = 100.0
        self.ordered: list[str] = []
        self.pool = Pool(threads, self.ordered.extend, lambda: self.now)
        self.pool.order()

    def arrive(self, thread: int = 0) -> FakeStream:
        """One of the ordered connections comes in."""
        assert self.pool.redeem(self.ordered.pop(0))
        stream = FakeStream(thread)
        self.pool.put(cast(Any, stream))
        return stream

    async def waiting(self, thread: int = 0) -> "asyncio.Task[Any]":
        task = asyncio.create_task(self.pool.take(thread))
        await asyncio.sleep(0)
        return task


async def test_a_few_are_ordered_a_thread_and_each_that_is_taken_is_replaced() -> None:
    world = World(threads=2)
    assert len(world.ordered) == 2 * FEWEST
    streams = [world.arrive(thread) for thread in (0, 0, 1, 1)]
    assert world.ordered == [] and world.pool.wants(0) == 0
    assert await world.pool.take(0) in streams[:2]
    assert len(world.ordered) == 1 and world.pool.wants(0) == 1


async def test_whoever_waits_is_served_first_and_in_order() -> None:
    world = World()
    first, second = await world.waiting(), await world.waiting()
    assert len(world.ordered) == 2 + 4 * FEWEST  # two who wait, and a target that doubled twice
    stream = world.arrive()
    assert await first is stream and not second.done()
    stream = world.arrive()
    assert await second is stream


async def test_a_connection_on_another_thread_does_not_help_and_another_is_ordered() -> None:
    world = World(threads=2)
    waiting = await world.waiting(1)
    ordered = len(world.ordered)
    for _ in range(ordered):
        world.arrive(0)
    assert not waiting.done()
    assert world.ordered, "what went to the wrong thread is ordered again"
    world.arrive(1)
    await waiting


async def test_a_wait_that_is_given_up_loses_no_connection() -> None:
    world = World()
    waiting = await world.waiting()
    waiting.cancel()
    stream = world.arrive()  # served to nobody: it stays warm
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await world.pool.take(0) is stream


async def test_a_wait_that_is_given_up_at_the_moment_of_arrival_loses_none_either() -> None:
    world = World()
    waiting = await world.waiting()
    stream = world.arrive()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await world.pool.take(0) is stream


async def test_the_target_grows_with_waiting_and_shrinks_in_calm() -> None:
    world = World()
    waiting = [await world.waiting() for _ in range(10)]
    while world.ordered:
        world.arrive()
    await asyncio.gather(*waiting)
    assert world.pool.wants(0) == 0
    kept = world.pool._threads[0].warm
    assert len(kept) == MOST
    for _ in range(5):
        world.now += tunnel_pool.CALM_SECONDS + 1
        world.pool.tidy()
    assert len(kept) == FEWEST


async def test_a_ticket_is_good_once_and_in_time() -> None:
    world = World()
    ticket, late = world.ordered
    assert world.pool.redeem(ticket) and not world.pool.redeem(ticket)
    assert not world.pool.redeem("another")
    world.now += TICKET_SECONDS
    assert not world.pool.redeem(late)


async def test_tickets_that_bring_nothing_are_replaced() -> None:
    world = World()
    old = list(world.ordered)
    world.pool.tidy()
    assert world.ordered == old
    world.now += TICKET_SECONDS
    world.pool.tidy()
    assert len(world.ordered) == 2 * FEWEST and not set(world.ordered[FEWEST:]) & set(old)


async def test_closing_turns_everybody_away() -> None:
    world = World()
    warm = world.arrive()
    ticket = world.ordered[0]
    await world.pool.take(0)
    waiting = await world.waiting()
    world.pool.close("it went offline")
    with pytest.raises(PoolClosedError, match="it went offline"):
        await waiting
    with pytest.raises(PoolClosedError):
        await world.pool.take(0)
    assert not world.pool.redeem(ticket)
    late = FakeStream(0)
    world.pool.put(cast(Any, late))
    assert late.aborted and not warm.aborted
