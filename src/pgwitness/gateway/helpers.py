"""Processes beside the gateway: started, restarted when they die, stopped with it. Recording never waits for
one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

import structlog

log = structlog.get_logger("pgwitness.helpers")

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
STEADY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 5.0
SEAL_SECONDS: Final = 60.0
"""What is not sealed by then is sealed by the next sealer."""
_spawning: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
_ASKED: Final = frozenset({0, -signal.SIGTERM, -signal.SIGINT})
"""How a helper ends that was asked to, as by a signal to all processes of the gateway's group."""


class Helper:
    """Keeps ``command`` running. Each of our helpers ends by itself when its parent is gone.

    ``finishes``: it has work to finish when it is stopped. Then SIGTERM reaches it only when it is ready for
    it (it unblocks the signal), and one that is just not running is started once more.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        config: Path | None = None,
        stop_seconds: float = STOP_SECONDS,
        *,
        finishes: bool = False,
    ) -> None:
        self._name = name
        self._command = command
        self._environment = {**os.environ, **({"PGWITNESS_CONFIG": str(config)} if config else {})}
        self._stop_seconds = stop_seconds
        self._finishes = finishes
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.restarts = 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL to a process that has not ended ``stop_seconds`` later."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._finishes and not self.running:
            with contextlib.suppress(OSError):
                await self._spawn()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._stop_seconds):
                await process.wait()
        except TimeoutError:
            log.warning("helper_killed", helper=self._name, after=self._stop_seconds)
            process.kill()
            await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        """Raises OSError."""
        # A child inherits the mask of the thread that starts it; so one at a time, or one takes another's.
        async with _spawning.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if self._finishes else ())
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=asyncio.subprocess.DEVNULL, env=self._environment
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return self._process

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            started = loop.time()
            try:
                code: int | str = await (await self._spawn()).wait()
            except OSError as error:
                code = str(error)
            if loop.time() - started > STEADY_SECONDS:
                pause = FIRST_PAUSE
            say = log.info if code in _ASKED else log.error
            say("helper_stopped", helper=self._name, code=code, restart_in=pause)
            self.restarts += 1
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def indexer(state: Path, config: Path | None, text: str = "all") -> Helper:
    """Fills the index; ``text`` says how much of statements' texts it keeps."""
    command = [sys.executable, "-m", "pgwitness.index.indexer", "--state", str(state), "--text", text]
    return Helper("indexer", command, config)


def sealer(state: Path, config: Path | None) -> Helper:
    """Makes the sealed record."""
    command = [sys.executable, "-m", "pgwitness.sealing", "--state", str(state)]
    return Helper("sealer", command, config, SEAL_SECONDS, finishes=True)


def sinks(state: Path, config: Path | None, begin: int) -> Helper:
    """Delivers to sinks; one that is new is told what is recorded from position ``begin`` on."""
    command = [sys.executable, "-m", "pgwitness.sinks", "--state", str(state), "--begin", str(begin)]
    return Helper("sinks", command, config)
