"""The end of the demo: the record is verified, then one byte of a copy is changed, and that is caught.

The copy is what one hands to an auditor: the record without its keys, and the verifier kept elsewhere.
"""

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgwitness.demo_stage import answer
from pgwitness.errors import UnavailableError
from pgwitness.record.entries import Chunk
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader

SEAL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What ``pgwitness verify`` said, and what was done in between."""

    entries: int
    statements: int
    """Read out of the sealed record and compared with the index."""
    changed: str
    """The byte of the copy that was changed."""
    caught: str
    """What is broken, in verification's words."""


def prove(state: Path, session: str, position: int) -> Proof:
    """``position`` of the last statement: it is sealed first. Raises UnavailableError if the record is not
    found sound, or the change is not found."""
    layout = Layout(state / "record")
    _wait_until_sealed(layout, position)
    report = _verify(state, "sound")
    with tempfile.TemporaryDirectory(prefix="pgwitness-demo-copy-") as directory:
        copy = Path(directory) / "record"
        shutil.copytree(layout.directory, copy, ignore=shutil.ignore_patterns("keys", "*.tmp"))
        elsewhere = ("--record", str(copy), "--key", str(layout.verifier))
        _verify(state, "sound", *elsewhere)
        changed = _change_one_byte(Layout(copy), session)
        broken = _verify(state, "broken", *elsewhere)
    numbers, problem = report["numbers"], broken["problems"][0]
    return Proof(report["size"], numbers["statements_compared"], changed, problem["text"])


def _wait_until_sealed(layout: Layout, position: int) -> None:
    deadline = time.monotonic() + SEAL_SECONDS
    while not layout.checkpoint.exists() or LogReader(layout).checkpoint.tape <= position:
        if time.monotonic() > deadline:
            raise UnavailableError("the session was not sealed in time")
        time.sleep(0.1)


def _verify(state: Path, expected: str, *arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(answer(state, "verify", "--format", "json", *arguments))
    if report["result"] != expected:
        raise UnavailableError(
            f"the record should be {expected}, and verification says {report['result']}",
            hint=json.dumps(report["problems"]),
        )
    return report


def _change_one_byte(layout: Layout, session: str) -> str:
    """One bit of it, in the middle of the session's first chunk."""
    chunks = (entry for _, entry in LogReader(layout).entries() if isinstance(entry, Chunk))
    stored = next(chunk for chunk in chunks if chunk.session == session).stored
    path = layout.segment(stored.segment)
    offset = stored.offset + stored.length // 2
    with path.open("r+b") as file:
        file.seek(offset)
        before = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([before ^ 1]))
    return f"byte {offset:,} of {path.relative_to(layout.directory)}, {before:#04x} to {before ^ 1:#04x}"
