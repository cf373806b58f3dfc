"""The indexer's process: ``python -m pgwitness.index.indexer --state DIR``, a child of the gateway.

It works with what recording leaves over of the processors, sleeps when there is nothing to do, ends in order
on SIGTERM and by itself when its parent is gone. One line of JSON on standard error tells whatever it had to
do out of the ordinary.
"""

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pgwitness.errors import ConflictError
from pgwitness.index.discretion import TEXTS, Text
from pgwitness.index.follower import Follower, Pace
from pgwitness.index.location import Location
from pgwitness.index.opening import log, open_writer
from pgwitness.processes import collect_garbage_rarely, watch_parent

SHORTEST_SLEEP = 0.05
LONGEST_SLEEP = 0.5
SLEEP_FACTOR = 8.0
PATIENCE_SECONDS = 60.0
BUSY_SHARE = 0.1
REST_FACTOR = 4.0
BEHIND_SECONDS = 0.5
BEHIND_REST_FACTOR = 12.0
LONGEST_REST = 1.5


class Turns:
    """On which thread the work is done.

    Usually on one of scheduling class SCHED_IDLE: to whoever relays or answers, a processor on which only
    such a thread runs is a free one. It still costs them a switch from one process to another where they
    would have found the processor asleep, so while others want it the thread rests four times as long as it
    works, and twelve times where that does not keep up: what it does there, others lack, and it is too late
    anyway. On a machine that is never idle it may not get on; when it has not caught up for ``patience``
    seconds, and at first, the work is done at the process's own priority and without rest.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._caught_up = -math.inf
        self.rest = 0.0
        self._leisure = ThreadPoolExecutor(1, "leisure", initializer=_take_only_what_is_left_over)

    @property
    def hurried(self) -> bool:
        return time.monotonic() - self._caught_up > self._patience

    def step(self, follower: Follower) -> bool:
        """``follower.step()``: False at the tape's live end. Sets ``rest``, in seconds."""
        self.rest = 0.0
        more = follower.step() if self.hurried else self._leisure.submit(self._work, follower).result()
        if not more:
            self._caught_up = time.monotonic()
        return more

    def _work(self, follower: Follower) -> bool:
        began, waited = time.monotonic(), _seconds_waited()
        more = follower.step()
        worked, waited = time.monotonic() - began, _seconds_waited() - waited
        if waited > worked * BUSY_SHARE:
            behind = time.monotonic() - self._caught_up > BEHIND_SECONDS
            self.rest = min(worked * (BEHIND_REST_FACTOR if behind else REST_FACTOR), LONGEST_REST)
        return more

    def close(self) -> None:
        self._leisure.shutdown()


def _seconds_waited() -> float:
    """How long the calling thread has been ready to run, and somebody else ran: proc(5), schedstat."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def _take_only_what_is_left_over() -> None:
    """The calling thread's class; none but Linux has it."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Indexer:
    """Follows a tape until it is told to stop."""

    def __init__(self, state: Path, *, text: Text = "all", pace: Pace | None = None) -> None:
        self._location = Location(state)
        self._text = text
        self._tape = state / "tape"
        self._pace = pace
        self._stop = threading.Event()
        self._turns = Turns()

    def stop(self) -> None:
        """Make ``run`` return soon. Safe in a signal handler and from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Index until ``stop``. Raises ConflictError when another indexer runs."""
        with self._location.lock(), contextlib.closing(self._turns):
            while not self._stop.is_set():
                self._follow()

    def _follow(self) -> None:
        """Fill one index file until ``stop``, or until a rebuild put another one in its place."""
        path, writer = open_writer(self._location, self._tape, self._text)
        try:
            follower = Follower(self._tape, writer, self._pace)
            while not self._stop.is_set() and self._location.current() == path:
                began = time.monotonic()
                more = self._turns.step(follower)
                worked = time.monotonic() - began
                self._stop.wait(self._turns.rest if more else nap(worked))
            if self._location.current() == path:
                follower.snapshot()
        finally:
            writer.close()


def nap(worked: float) -> float:
    """Seconds to sleep at the tape's live end, after a step of ``worked`` seconds: the more there is to do,
    the longer, since a large batch costs half as much a statement as many small ones."""
    return min(max(SHORTEST_SLEEP, worked * SLEEP_FACTOR), LONGEST_SLEEP)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pgwitness.index.indexer", description="Index a tape.")
    parser.add_argument("--state", type=Path, required=True, help="the gateway's state directory")
    parser.add_argument("--text", choices=TEXTS, default="all", help="what of statements' texts to keep")
    parser.add_argument("--nice", type=int, default=10, help="how much to yield to others, 0 to 19 (10)")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    os.nice(options.nice)
    collect_garbage_rarely()
    indexer = Indexer(options.state, text=options.text)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: indexer.stop())
    watch_parent(parent, indexer.stop)
    try:
        indexer.run()
    except ConflictError as error:
        log("index_busy", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
