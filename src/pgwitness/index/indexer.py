"""The indexer's process: ``python -m pgwitness.index.indexer --state DIR``, a child of the gateway.

It is nice to everything that records, sleeps when there is nothing to do, ends in order on SIGTERM and by
itself when its parent is gone. One line of JSON on standard error tells whatever it had to do out of the
ordinary.
"""

import argparse
import gc
import os
import signal
import sys
import threading
from pathlib import Path

from pgwitness.errors import ConflictError
from pgwitness.index.follower import Follower, Pace
from pgwitness.index.location import Location
from pgwitness.index.opening import log, open_writer

SHORTEST_SLEEP = 0.05
LONGEST_SLEEP = 0.2


class Indexer:
    """Follows a tape until it is told to stop."""

    def __init__(self, state: Path, *, pace: Pace | None = None) -> None:
        self._location = Location(state)
        self._tape = state / "tape"
        self._pace = pace
        self._stop = threading.Event()

    def stop(self) -> None:
        """Make ``run`` return soon. Safe in a signal handler and from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Index until ``stop``. Raises ConflictError when another indexer runs."""
        with self._location.lock():
            while not self._stop.is_set():
                self._follow()

    def _follow(self) -> None:
        """Fill one index file until ``stop``, or until a rebuild put another one in its place."""
        path, writer = open_writer(self._location, self._tape)
        try:
            follower = Follower(self._tape, writer, self._pace)
            sleep = SHORTEST_SLEEP
            while not self._stop.is_set() and self._location.current() == path:
                before = follower.position
                if follower.step():
                    sleep = SHORTEST_SLEEP
                    continue
                sleep = SHORTEST_SLEEP if follower.position != before else min(sleep * 1.5, LONGEST_SLEEP)
                self._stop.wait(sleep)
            if self._location.current() == path:
                follower.snapshot()
        finally:
            writer.close()


def watch_parent(indexer: Indexer, parent: int) -> None:
    """Stop when the parent is gone: then nothing writes the tape any more, and a new gateway brings its
    own indexer."""

    def watch() -> None:
        while os.getppid() == parent:
            pause.wait(0.5)
        indexer.stop()

    pause = threading.Event()
    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pgwitness.index.indexer", description="Index a tape.")
    parser.add_argument("--state", type=Path, required=True, help="the gateway's state directory")
    parser.add_argument("--nice", type=int, default=10, help="how much to yield to others, 0 to 19 (10)")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    os.nice(options.nice)
    # Batches are short-lived and without cycles: looking through them for garbage is a tenth of the work.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    indexer = Indexer(options.state)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: indexer.stop())
    watch_parent(indexer, parent)
    try:
        indexer.run()
    except ConflictError as error:
        log("index_busy", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
