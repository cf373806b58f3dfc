"""``python -m pgwitness.sinks --state DIR --begin POSITION``: a child of the gateway. On SIGTERM it delivers
what there is, for some seconds; when its parent is gone it ends at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from pgwitness.config import load
from pgwitness.errors import ConflictError, WitnessError
from pgwitness.processes import watch_parent, yield_to_others
from pgwitness.sinks.process import SinksProcess, log


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pgwitness.sinks", description="Deliver to sinks.")
    parser.add_argument("--state", type=Path, required=True, help="the gateway's state directory")
    parser.add_argument(
        "--begin", type=int, default=0, help="position of the tape where a sink that is new begins"
    )
    parser.add_argument("--nice", type=int, default=10, help="how much to yield to others, 0 to 19 (10)")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    yield_to_others(options.nice)
    try:
        settings = load(state=options.state)
        process = SinksProcess(settings.state, settings.sinks, options.begin)
        for number in (signal.SIGTERM, signal.SIGINT):
            # On a thread: the one that is interrupted may hold the lock that this takes.
            signal.signal(number, lambda *_: threading.Thread(target=process.stop).start())
        watch_parent(parent, process.abandon)
        process.run()
    except ConflictError as error:
        log("sinks_busy", error=str(error))
        return 1
    except WitnessError as error:
        log("sinks_failed", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
