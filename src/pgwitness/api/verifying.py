"""Verification in the background: one at a time, in a process of its own, its last result kept.

Results are files in ``STATE/verification``: ``record.json`` of the whole record, and one a session of those
that were verified last.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from pgwitness.errors import ConflictError, UnavailableError
from pgwitness.private_files import write_private

_log = logging.getLogger(__name__)

_WHOLE: Final = "record"
_KEPT: Final = 100
"""Results of single sessions."""


@dataclass(frozen=True, slots=True)
class Running:
    """A verification under way."""

    session: str | None
    """None: of the whole record."""
    asked_by: str
    started_at: datetime
    step: str | None = None
    done: int = 0
    in_all: int = 0


def command(state: Path, session: str | None) -> list[str]:
    """Of the process that verifies."""
    program = [sys.executable, "-m", "pgwitness.review.verification", "--state", str(state)]
    return program if session is None else [*program, "--session", session]


class Verifications:
    """Of one state directory. Safe between threads."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def start(self, session: str | None, *, asked_by: str) -> Running:
        """Verify the whole record, or the session of this full id. Raises ConflictError while another runs,
        UnavailableError."""
        with self._lock:
            if self._running is not None:
                what = f"session {self._running.session}" if self._running.session else "the whole record"
                raise ConflictError(
                    f"a verification of {what} is under way since {self._running.started_at:%H:%M:%SZ}",
                    hint="wait for it: there is one at a time",
                )
            try:
                self._process = subprocess.Popen(
                    command(self._state, session),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                )
            except OSError as error:
                raise UnavailableError(f"the verification does not start: {error.strerror}") from None
            self._running = Running(session, asked_by, datetime.now(UTC))
            self._listener = threading.Thread(
                target=self._listen, args=(self._process,), name="verification", daemon=True
            )
            self._listener.start()
            return self._running

    @property
    def running(self) -> Running | None:
        return self._running

    def last(self, session: str | None) -> dict[str, Any] | None:
        """The last result: ``session``, ``asked_by``, ``started_at``, ``ended_at``, and ``report`` or
        ``failed``."""
        try:
            kept: dict[str, Any] = json.loads(self._file(session).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("the last verification's result cannot be read: %s", error)
            return None
        return kept

    def close(self) -> None:
        """End the one under way."""
        process, listener = self._process, self._listener
        if process is not None and listener is not None:
            process.kill()
            listener.join()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None and self._running is not None
        outcome: dict[str, Any] = {}
        try:
            outcome = self._follow(process.stdout)
        except ValueError as error:
            outcome = {"failed": f"the verification said what is not JSON: {error}"}
        finally:
            code = process.wait()
            self._keep(outcome or {"failed": f"the verification was ended ({code})"})

    def _follow(self, lines: IO[str]) -> dict[str, Any]:
        with lines:
            for line in lines:
                said = json.loads(line)
                if "step" not in said:
                    return {name: said[name] for name in ("report", "failed") if name in said}
                assert self._running is not None
                self._running = replace(self._running, **said)
        return {}

    def _keep(self, outcome: dict[str, Any]) -> None:
        with self._lock:
            running, self._running = self._running, None
            assert running is not None
            result = {
                "session": running.session,
                "asked_by": running.asked_by,
                "started_at": running.started_at.isoformat(),
                "ended_at": datetime.now(UTC).isoformat(),
                "report": None,
                "failed": None,
                **outcome,
            }
            file = self._file(running.session)
            try:
                file.parent.mkdir(mode=0o700, exist_ok=True)
                write_private(file, json.dumps(result, ensure_ascii=False).encode(), 0o600)
                self._forget(file.parent)
            except OSError as error:
                _log.error("the result of a verification cannot be kept: %s", error)

    def _forget(self, directory: Path) -> None:
        of_sessions = [path for path in directory.glob("*.json") if path.stem != _WHOLE]
        for path in sorted(of_sessions, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            path.unlink()

    def _file(self, session: str | None) -> Path:
        return self._state / "verification" / f"{session or _WHOLE}.json"
