"""A process beside the gateway does not outlive it."""

import os
import threading
from collections.abc import Callable


def watch_parent(parent: int, stop: Callable[[], None]) -> None:
    """``stop`` when the parent is gone: then nothing writes the tape any more, and a new gateway brings
    helpers of its own."""

    def watch() -> None:
        while os.getppid() == parent:
            pause.wait(0.5)
        stop()

    pause = threading.Event()
    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
