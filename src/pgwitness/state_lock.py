"""A state directory belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pgwitness.errors import UnavailableError


class StateLock:
    """Holds ``STATE/<kind>.lock`` until ``release`` or the end of the process; the file names the holder."""

    def __init__(self, state: Path, kind: str = "gateway") -> None:
        """Makes the directory if need be. Raises UnavailableError if another one of this kind is there."""
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(state / f"{kind}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnavailableError(
                f"the state directory {state} cannot be used: {error.strerror}",
                hint="--state chooses another one",
            ) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise UnavailableError(
                f"another {kind} (process {holder or 'unknown'}) serves the state directory {state}",
                hint="stop it first, or give this one a directory of its own with --state",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)
