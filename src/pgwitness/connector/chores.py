"""Short tasks that nobody waits for, such as cancel requests: they end by themselves, also beyond a lease."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

log = structlog.get_logger("pgwitness.connector")

AT_ONCE: Final = 32


class Chores:
    """``start`` any number; so many run at the same time."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def start(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._run(chore))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, seconds: float) -> None:
        """Wait so long for those that are under way, then give them up."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, chore: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._places:
                await chore
        except Exception:
            log.exception("chore_failed")
        finally:
            chore.close()
