"""The sealer's process: seals what the tape got, round after round, signs, sends the heads out, releases the
tape.

A round comes once in ``round_seconds`` and does all there is at once, in scheduling class SCHED_BATCH and
nice: recording is disturbed by one short burst a round, which yields to everybody, not by a process that
wakes with each frame. What fails is tried again from the last checkpoint; recording does not depend on it.
"""

import json
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pgwitness.config import HeadSettings
from pgwitness.errors import RecordBroken
from pgwitness.processes import only_one
from pgwitness.record.files import Files
from pgwitness.record.layout import Layout
from pgwitness.record.recipients import Wrapper
from pgwitness.sealing.messenger import Messenger, Place, report
from pgwitness.sealing.places import FilePlace, WebhookPlace, WitnessPlace
from pgwitness.sealing.release import release
from pgwitness.sealing.sealer import Sealer
from pgwitness.sealing.status import Report, sealing_directory, show_head, write_report

HEARTBEAT_SECONDS = 10.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LAST_HEAD_SECONDS = 5.0
"""At the end, for the last head to leave the house."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When to do what."""

    round_seconds: float = 1.0
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    keep_tape_seconds: float = 0.0
    heads: HeadSettings = field(default_factory=HeadSettings)
    recipients: tuple[str, ...] = ()
    """Of age, to which sessions' secrets are encrypted."""
    readable: bool = True
    """The gateway keeps the secrets as well."""


class SealingProcess:
    """Seals one state directory until it is told to stop."""

    def __init__(self, state: Path, plan: Plan, files: Files | None = None) -> None:
        self._state = state
        self._plan = plan
        self._files = files or Files()
        self._wrap = Wrapper(Layout(state / "record"), plan.recipients, files) if plan.recipients else None
        self._stop = threading.Event()
        self._abandon = threading.Event()
        self._cosigned: queue.SimpleQueue[tuple[bytes, list[str]]] = queue.SimpleQueue()
        self._messengers: list[Messenger] = []
        self._news = threading.Event()
        """The report has changed."""
        self._problem: str | None = None
        self._signed = 0.0

    def stop(self) -> None:
        """Make ``run`` seal to the tape's end and return. Safe in a signal handler and from any thread."""
        self._stop.set()

    def abandon(self) -> None:
        """Make ``run`` return as soon as it can."""
        self._abandon.set()
        self._stop.set()

    def run(self) -> None:
        """Raises ConflictError when another sealer runs, RecordBroken for a witness's key that is none."""
        directory = sealing_directory(self._state)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with only_one(directory / "lock", "seals this record"):
            self._messengers = [Messenger(place, self._news.set) for place in self._places()]
            self._report()
            pause = FIRST_PAUSE
            while not self._attempt() and not self._stop.wait(pause):
                pause = min(pause * 2, LONGEST_PAUSE)
            for messenger in self._messengers:
                messenger.close(0 if self._abandon.is_set() else LAST_HEAD_SECONDS)
            self._report()

    def _attempt(self) -> bool:
        """Seal until ``stop``: True. False when something failed."""
        sealer: Sealer | None = None
        try:
            sealer = Sealer(self._state, self._files, wrap=self._wrap, readable=self._plan.readable)
            self._serve(sealer)
        except (OSError, RecordBroken) as error:
            self._trouble(error)
            return False
        finally:
            if sealer is not None:
                sealer.close()
        return True

    def _serve(self, sealer: Sealer) -> None:
        if not sealer.note:
            self._sign(sealer)
        while True:
            began = time.monotonic()
            stopping = self._stop.is_set()
            self._round(sealer)
            self._trouble(None)
            if stopping:
                sealer.erase()
                sealer.save()
                return
            while not self._cosigned.empty():
                sealer.cosign(*self._cosigned.get())
            release(
                self._state, sealer.sealed, self._plan.keep_tape_seconds, self._files, erased=sealer.erase()
            )
            if self._news.is_set():
                self._report()
            self._stop.wait(max(0.0, began + self._plan.round_seconds - time.monotonic()))

    def _round(self, sealer: Sealer) -> None:
        """All that is on the tape."""
        more = True
        while more and not self._abandon.is_set():
            span = sealer.seal()
            if span is not None:
                self._signed_now(sealer)
            more = span is not None and span.full
        if time.monotonic() - self._signed >= self._plan.heartbeat_seconds:
            self._sign(sealer)

    def _sign(self, sealer: Sealer) -> None:
        sealer.sign()
        self._signed_now(sealer)

    def _signed_now(self, sealer: Sealer) -> None:
        self._signed = time.monotonic()
        show_head(self._state, sealer.note)
        for messenger in self._messengers:
            messenger.carry(sealer.note)

    def _places(self) -> list[Place]:
        heads = self._plan.heads
        layout = Layout(self._state / "record")
        places: list[Place] = []
        if heads.file is not None:
            places.append(FilePlace(heads.file))
        if heads.webhook is not None:
            places.append(WebhookPlace(heads.webhook.get_secret_value()))
        places += [
            WitnessPlace(witness.url, witness.key, layout, lambda *got: self._cosigned.put(got))
            for witness in heads.witnesses
        ]
        return places

    def _trouble(self, error: OSError | RecordBroken | None) -> None:
        """Say it, once for as long as it lasts."""
        hint = getattr(error, "hint", None)
        problem = None if error is None else f"{error}{f' ({hint})' if hint else ''}"
        if problem == self._problem:
            return
        self._problem = problem
        log(
            "sealing_goes_on" if error is None else "sealing_failed",
            **({"error": problem} if problem else {}),
        )
        self._report()

    def _report(self) -> None:
        self._news.clear()
        write_report(self._state, Report(self._problem, report(self._messengers)))


def log(event: str, **values: str) -> None:
    """A line of JSON on standard error."""
    sys.stderr.write(json.dumps({"event": event, **values}) + "\n")
    sys.stderr.flush()
