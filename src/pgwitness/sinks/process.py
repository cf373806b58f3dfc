"""The process that delivers: one courier a sink, so that none of them can hold up another one, and a report
of how they are."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pgwitness.config.sinks import AnySink
from pgwitness.errors import WitnessError
from pgwitness.index.store import IndexReader
from pgwitness.processes import only_one
from pgwitness.sinks.courier import Courier, Delivery
from pgwitness.sinks.feed import Feed, Wanted
from pgwitness.sinks.items import Discretion
from pgwitness.sinks.places.opening import open_place
from pgwitness.sinks.positions import Positions
from pgwitness.sinks.status import lock_file, sinks_directory, write_report

REPORT_SECONDS: Final = 0.5
"""Between two reports, at least."""
LAST_SECONDS: Final = 3.0
"""At the end, to deliver what there is."""


class SinksProcess:
    """Serves the sinks of one state directory until it is told to stop."""

    def __init__(self, state: Path, sinks: Mapping[str, AnySink], begin: int) -> None:
        """``begin``: position of the tape from which a sink that is new is told."""
        self._state = state
        self._sinks = sinks
        self._begin = begin
        self._stop = threading.Event()
        self._news = threading.Event()
        self._last_seconds = LAST_SECONDS
        self._broken: list[Delivery] = []

    def stop(self) -> None:
        """Make ``run`` deliver what there is and return. Safe in a signal handler and from any thread."""
        self._stop.set()
        self._news.set()

    def abandon(self) -> None:
        """Make ``run`` return as soon as it can."""
        self._last_seconds = 0.0
        self.stop()

    def run(self) -> None:
        """Raises ConflictError when another process delivers."""
        sinks_directory(self._state).mkdir(mode=0o700, parents=True, exist_ok=True)
        with only_one(lock_file(self._state), "delivers to this gateway's sinks"):
            index = IndexReader(self._state)
            couriers = self._couriers(index)
            for courier in couriers:
                courier.start()
            self._watch(couriers)
            for courier in couriers:
                courier.stop(self._last_seconds)
            for courier in couriers:
                courier.join(self._last_seconds + 1)
            self._report(couriers)
            index.close()

    def _couriers(self, index: IndexReader) -> list[Courier]:
        """One that cannot even begin keeps no other from it."""
        made = []
        for name, settings in self._sinks.items():
            try:
                made.append(self._courier(index, name, settings))
            except WitnessError as error:
                why = f"{error}{f' ({error.hint})' if error.hint else ''}"
                self._broken.append(Delivery(name, settings.kind, error=why, failing_since=time.time()))
                log("sink_failed", sink=name, error=why)
        return made

    def _courier(self, index: IndexReader, name: str, settings: AnySink) -> Courier:
        begin = 0 if settings.from_beginning else self._begin
        positions = Positions(sinks_directory(self._state) / f"{name}.sqlite", begin)
        discretion = Discretion(settings.sql, settings.parameters, settings.longest_text)
        wanted = Wanted(settings.send, discretion, settings.open_after_seconds)
        return Courier(name, Feed(index, positions, wanted), open_place(settings), self._news.set)

    def _watch(self, couriers: list[Courier]) -> None:
        said: dict[str, str | None] = {}
        while not self._stop.is_set():
            self._report(couriers)
            for courier in couriers:
                delivery = courier.delivery
                if said.get(delivery.sink) != delivery.error:
                    said[delivery.sink] = delivery.error
                    _say(delivery.sink, delivery.error)
            self._stop.wait(REPORT_SECONDS)
            self._news.wait()

    def _report(self, couriers: list[Courier]) -> None:
        self._news.clear()
        write_report(self._state, [*(courier.delivery for courier in couriers), *self._broken])


def _say(sink: str, error: str | None) -> None:
    """Once for as long as it lasts."""
    if error is None:
        log("sink_goes_on", sink=sink)
    else:
        log("sink_failed", sink=sink, error=error)


def log(event: str, **values: str) -> None:
    """A line of JSON on standard error."""
    sys.stderr.write(json.dumps({"event": event, **values}) + "\n")
    sys.stderr.flush()
