"""A session again, on a copy: ``reenact`` is the whole of it as a function."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from pgwitness.reenact import line as wire
from pgwitness.reenact.judge import Judge
from pgwitness.reenact.origins import Origins
from pgwitness.reenact.plan import Plan, make_plan
from pgwitness.reenact.player import LostError, NoAnswerError, Player
from pgwitness.reenact.report import Ended, Progress, Report, State
from pgwitness.reenact.spool import Spool
from pgwitness.reenact.target import Target
from pgwitness.statements.model import Statement

ALIGNED: Final = (
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "standard_conforming_strings",
    "search_path",
    "default_transaction_read_only",
)
"""What the server reported at log-in and a client may ask for: asked for here, so that it is as it was even
where the copy's database or role is set otherwise."""
_TOLD: Final = ("server_version", "server_encoding", "is_superuser", "session_authorization")
_TICK: Final = 0.1

Tell = Callable[[Progress], None]


def reenact(
    spool: Spool,
    target: Target,
    *,
    until: int | None = None,
    committed_only: bool = False,
    keep_going: bool = False,
    timeout: float | None = None,
    tell: Tell | None = None,
) -> Report:
    """Run the session's statements on ``target``, which is the caller's to close, and compare.

    Ends at the first divergence unless ``keep_going``; before statement ``until``; when an answer takes
    longer than ``timeout`` seconds; and when interrupted (Ctrl-C, SIGTERM), of which the report tells as of
    anything else: what is on the copy is in ``state``. Raises NotFoundError, ConflictError, UnavailableError
    before anything is run.
    """
    plan = make_plan(spool.frames(), until=until, committed_only=committed_only)
    one = _Reenactment(spool, target, plan, keep_going=keep_going, timeout=timeout, tell=tell)
    return asyncio.run(one.run())


class _Reenactment:
    def __init__(
        self,
        spool: Spool,
        target: Target,
        plan: Plan,
        *,
        keep_going: bool,
        timeout: float | None,
        tell: Tell | None,
    ) -> None:
        self._spool, self._target, self._plan = spool, target, plan
        self._tell, self._told = tell, 0.0
        begun = datetime.fromtimestamp(spool.first[3] / 1e9, UTC) if spool.first else datetime.now(UTC)
        self._judge = Judge(plan, begun, self._fills, keep_going=keep_going)
        self._player = Player(plan, self._recorded, self._judge.here, lambda: self._judge.over, timeout)
        self._origins = Origins()
        self._circumstances = list(plan.notes)
        self._problem: str | None = None
        self._open: str | None = None

    async def run(self) -> Report:
        started = time.monotonic()
        header, minor = self._plan.header, self._minor()
        self._player.begin(self._spool.session, msgspec.json.encode(self._header_here()))
        async with wire.dial(self._target, parameters_of(header), minor, self._take) as line:
            self._compare_servers(line.greeting.parameters)
            with _terminated_like_interrupted():
                ended = await self._play(line)
            if ended not in ("lost", "interrupted", "timeout"):
                with suppress(LostError):
                    await line.bid_farewell()
        return self._report(ended, time.monotonic() - started)

    async def _play(self, line: wire.Line) -> Ended:
        """Whatever ends it is told, not raised."""
        judge, player = self._judge, self._player
        try:
            await player.play(self._spool, line)
            if judge.over:
                return "divergence"
            if player.stopped:
                return await self._stop(line)
            player.conclude()
            judge.conclude()
        except LostError:
            self._problem = "the copy's server closed the connection"
            return "lost"
        except NoAnswerError:
            await line.cancel()
            self._problem = "a statement took longer than --timeout allows, and was cancelled"
            return "timeout"
        except asyncio.CancelledError:
            if player.waiting:
                await line.cancel()
                self._problem = "interrupted; the statement that ran was cancelled"
            else:
                self._problem = "interrupted"
            return "interrupted"
        return "divergence" if judge.over else "end"

    async def _stop(self, line: wire.Line) -> Ended:
        """In the middle: what its transaction did so far is committed, for others to see."""
        judge, player = self._judge, self._player
        before = judge.committed
        await player.conclude_pipeline(line)
        player.read_on(lambda: judge.waits)
        if judge.over:
            return "divergence"
        judge.concluding = True
        self._open = await player.commit(line) or ("committed" if judge.committed > before else None)
        return "until" if self._plan.until is not None else "end"

    def _report(self, ended: Ended, seconds: float) -> Report:
        judge, plan = self._judge, self._plan
        if ended not in ("end", "until") or plan.stop is not None:
            left_out = max(plan.total - judge.run, plan.left_out)
        else:
            left_out = plan.left_out
        return Report(
            session=str(plan.header.get("session")),
            into=self._target.words,
            ended=ended,
            until=plan.until,
            committed_only=plan.committed_only,
            recorded=plan.total,
            run=judge.run,
            same=judge.same,
            differ_by_nature=judge.by_nature,
            diverged=judge.diverged,
            left_out=left_out,
            first=judge.first,
            divergences=sorted(judge.listed, key=lambda one: one.seq),
            explained=judge.explained,
            stood_in=judge.stood_in,
            not_comparable=judge.not_comparable,
            not_compared=judge.not_compared,
            in_doubt=plan.in_doubt,
            circumstances=self._circumstances,
            state=State(self._state(ended), judge.committed, self._open),
            seconds=round(seconds, 3),
            problem=self._problem,
        )

    def _state(self, ended: Ended) -> str:
        """In words."""
        judge = self._judge
        many = f"{judge.committed:,} transaction{'' if judge.committed == 1 else 's'}"
        if ended == "until":
            text = f"The copy is as it was just before statement {self._plan.until}"
            if self._open == "committed":
                return f"{text}: what its transaction had done until then is committed here, to be looked at."
            if self._open is not None:
                return f"{text}: its transaction had failed before, and is rolled back here."
            return f"{text}."
        if ended == "end":
            return f"{many} committed on the copy, as far as the session goes."
        doubt = " One that was being committed may be, too." if ended in ("lost", "timeout") else ""
        return (
            f"Stopped behind statement {judge.last_seq}: {many} committed on the copy, and what was open "
            f"then is rolled back.{doubt} Restore the copy before it is used again."
        )

    # --- what the two sides tell ---

    def _recorded(self, events: list[Any]) -> None:
        self._judge.recorded(events)
        now = time.monotonic()
        if self._tell is not None and now - self._told >= _TICK:
            self._told = now
            judge = self._judge
            self._tell(Progress(judge.run, self._plan.total, judge.last_seq, judge.diverged))

    def _take(self, data: bytes) -> None:
        self._origins.feed(data)
        self._player.take(data)

    def _fills(self, here: Statement) -> Iterator[str | None]:
        for table, attribute in self._origins.of(here.result):
            yield self._target.fills(table, attribute)

    def _header_here(self) -> dict[str, Any]:
        """For the assembler: how to read what the client sends."""
        header = self._plan.header
        return {
            name: header.get(name)
            for name in ("session", "identity", "connection", "database", "claims", "client", "upstream")
        }

    def _minor(self) -> int:
        protocol = str((self._plan.header.get("client") or {}).get("protocol") or "3.0")
        return int(protocol.rpartition(".")[2]) if protocol[-1:].isdigit() else 0

    def _compare_servers(self, here: Mapping[str, str]) -> None:
        then = (self._plan.header.get("upstream") or {}).get("parameters") or {}
        for name in _TOLD:
            if name in then and name in here and then[name] != here[name]:
                self._circumstances.append(f"{name} was {then[name]}, here it is {here[name]}")


def parameters_of(header: Mapping[str, Any]) -> dict[str, str]:
    """Start-up parameters that make the session begin as it did: what its client asked for, and what the
    server's own settings made of the rest."""
    asked = (header.get("client") or {}).get("parameters") or {}
    given = {
        str(name): str(value)
        for name, value in asked.items()
        if name not in ("user", "database", "replication") and not name.startswith("_pq_.")
    }
    reported = (header.get("upstream") or {}).get("parameters") or {}
    lowered = {name.lower() for name in given}
    for name in ALIGNED:
        if name in reported and name.lower() not in lowered:
            given[name] = str(reported[name])
    return given


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the task as Ctrl-C does; where we are not the main thread, neither comes here."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    try:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    except (RuntimeError, ValueError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
