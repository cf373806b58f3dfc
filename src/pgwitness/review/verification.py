"""Verification of the record in a state directory, and of the index made of it.

``python -m pgwitness.review.verification --state DIR [--session ID]`` does it for the API in a process of its
own, since it takes all that a processor gives. It prints JSON Lines: ``{"step", "done", "in_all"}`` while it
goes on, ``{"report"}`` or ``{"failed"}`` at the end. It ends when its parent does.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pgwitness.errors import WitnessError
from pgwitness.index.agreement import check_index
from pgwitness.processes import watch_parent, yield_to_others
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.report import Progress, Report
from pgwitness.record.verify import Options
from pgwitness.record.verify_in_use import verify_in_use

_TOLD_EVERY = 0.2
_NICE = 10


def verify_state(state: Path, options: Options, progress: Progress) -> Report:
    """What is broken is in the report. Raises InvalidError if there is no record, OSError."""
    layout = Layout(state / "record")

    def index(report: Report) -> None:
        if report.size is not None:
            check_index(report, LogReader(layout), state, progress)

    return verify_in_use(layout, options, progress, index)


class _Teller:
    """Progress, a few lines a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, step: str, done: int, in_all: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TOLD_EVERY
            _tell({"step": step, "done": done, "in_all": in_all})


def _tell(document: dict[str, Any]) -> None:
    print(json.dumps(document, ensure_ascii=False), flush=True)  # noqa: T201


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pgwitness.review.verification")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--session")
    given = parser.parse_args(arguments)
    watch_parent(os.getppid(), lambda: os._exit(1))
    yield_to_others(_NICE)
    try:
        report = verify_state(given.state, Options(session=given.session, threads=1), _Teller())
        _tell({"report": report.document()})
    except (WitnessError, OSError) as error:
        _tell({"failed": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
