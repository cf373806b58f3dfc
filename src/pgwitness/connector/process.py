"""The connector's process from start to stop: join if need be, then stay online until told to stop.

A gateway that cannot be reached is tried again, for ever; a gateway that refuses us ends the process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from pgwitness import __version__
from pgwitness._core import Engine
from pgwitness.connector.allowed import Allowed
from pgwitness.connector.chores import Chores
from pgwitness.connector.credentials import Credentials
from pgwitness.connector.heads import HeadWatch, heads_directory
from pgwitness.connector.joining import join
from pgwitness.connector.lease import Holder, Lease
from pgwitness.connector.membership import Membership, MembershipFile
from pgwitness.connector.reach import Way
from pgwitness.connector.serving import Server
from pgwitness.errors import UnavailableError
from pgwitness.upstream.dialling import Dialler
from pgwitness.wire.join_token import JoinToken

log = structlog.get_logger("pgwitness.connector")

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 2.0
STEADY_SECONDS: Final = 5.0
"""A lease that lasted so long was a good one: the next attempt comes at once."""
CHORE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the connector was told at its start."""

    gateway: str
    """``HOST:PORT``"""
    token: JoinToken | None
    allowed: Allowed
    credentials: Credentials
    grace: float
    threads: int


async def run(
    plan: Plan,
    file: MembershipFile,
    membership: Membership | None,
    announce: Callable[[str], None],
    stop: asyncio.Event,
    at_once: asyncio.Event,
) -> None:
    """Until ``stop`` is set, and sessions have had their time unless ``at_once`` is set too. ``announce`` is
    told our name when we are online for the first time. Raises WitnessError."""
    loop = asyncio.get_running_loop()
    engine = Engine(loop.create_future, plan.threads)
    loop.add_reader(engine.fileno(), engine.drain)
    way = Way(engine, plan.gateway)
    dialler = Dialler(engine, 0)
    try:
        await _Online(plan, file, membership, announce, engine, way, dialler).stay(stop, at_once)
    finally:
        dialler.close()
        way.close()
        loop.remove_reader(engine.fileno())
        engine.close()


class _Online:
    """Lease after lease."""

    def __init__(
        self,
        plan: Plan,
        file: MembershipFile,
        membership: Membership | None,
        announce: Callable[[str], None],
        engine: Engine,
        way: Way,
        dialler: Dialler,
    ) -> None:
        self._plan, self._file, self._membership = plan, file, membership
        self._announce: Callable[[str], None] | None = announce
        self._engine, self._way = engine, way
        self._server = Server(engine, dialler, plan.allowed, plan.credentials)
        self._chores = Chores()
        self._lease: Lease | None = None
        self._leaving = False

    async def stay(self, stop: asyncio.Event, at_once: asyncio.Event) -> None:
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        try:
            if serving.done():
                serving.result()
            elif self._lease is not None:
                self._leaving = True  # nobody comes back from a drain
                await self._lease.drain(self._plan.grace, at_once)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await self._chores.finish(CHORE_SECONDS)

    async def _serve(self) -> None:
        if self._membership is None:
            self._membership = await self._join()
        holder = Holder(self._file, self._membership)
        heads = HeadWatch(heads_directory(self._file.directory, self._membership.authority))
        delay = _Delay()
        while not self._leaving:
            self._lease = Lease(
                self._engine,
                self._way,
                holder,
                self._server,
                self._plan.allowed.entries,
                self._chores,
                heads,
            )
            began = asyncio.get_running_loop().time()
            try:
                why = await self._lease.hold(self._online)
            except UnavailableError as error:
                why = str(error)
            if asyncio.get_running_loop().time() - began > STEADY_SECONDS:
                delay = _Delay()
            log.warning("offline", gateway=self._plan.gateway, why=why)
            await asyncio.sleep(delay.next())

    def _online(self, name: str) -> None:
        log.info("online", name=name, gateway=self._plan.gateway)
        if self._announce is not None:
            self._announce(name)
            self._announce = None

    async def _join(self) -> Membership:
        """Raises ConnectorRefused; a gateway that is not there yet is waited for."""
        token = self._plan.token
        assert token is not None
        delay = _Delay()
        while True:
            try:
                stream, _ = await self._way.find()
                joined = await join(stream, self._plan.gateway, token, f"pgwitness {__version__}")
            except UnavailableError as error:
                log.warning("not_joined_yet", why=str(error))
                await asyncio.sleep(delay.next())
            else:
                self._file.save(joined)
                log.info("joined", name=joined.name, gateway=joined.gateway)
                return joined


class _Delay:
    """Full jitter: connectors that lost the same gateway do not all come back at the same moment."""

    def __init__(self) -> None:
        self._most = FIRST_DELAY

    def next(self) -> float:
        seconds = random.uniform(0, self._most)
        self._most = min(LONGEST_DELAY, self._most * 2)
        return seconds
