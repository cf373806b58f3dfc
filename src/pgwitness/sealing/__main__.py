"""``python -m pgwitness.sealing --state DIR``: the sealer, a child of the gateway. On SIGTERM it seals to the
tape's end first; when its parent is gone it ends at once.
"""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from pgwitness.config import load
from pgwitness.errors import ConflictError, WitnessError
from pgwitness.processes import collect_garbage_rarely, watch_parent, yield_to_others
from pgwitness.sealing.process import Plan, SealingProcess, log


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pgwitness.sealing", description="Seal a tape.")
    parser.add_argument("--state", type=Path, required=True, help="the gateway's state directory")
    parser.add_argument("--nice", type=int, default=10, help="how much to yield to others, 0 to 19 (10)")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    yield_to_others(options.nice)
    collect_garbage_rarely()
    try:
        settings = load(state=options.state)
        plan = Plan(
            settings.seal.round_seconds,
            keep_tape_seconds=settings.seal.keep_tape_seconds,
            heads=settings.heads,
            recipients=settings.seal.recipients,
            readable=settings.seal.readable,
        )
        process = SealingProcess(settings.state, plan)
        for number in (signal.SIGTERM, signal.SIGINT):
            # On a thread: the one that is interrupted may hold the lock that this takes.
            signal.signal(number, lambda *_: threading.Thread(target=process.stop).start())
        # The gateway holds it back until here: a sealer that is told to stop at once seals all the same.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        watch_parent(parent, process.abandon)
        process.run()
    except ConflictError as error:
        log("sealer_busy", error=str(error))
        return 1
    except WitnessError as error:
        log("sealer_failed", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
