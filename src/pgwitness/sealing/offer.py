"""Heads for those who keep one elsewhere: connectors, and clients that are told at log-in.

The sealer says which head may leave the house: one that is on stable storage, so that not even a power
failure takes back what others have seen.
"""

from pathlib import Path

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader


def head_file(state: Path) -> Path:
    """The latest head that may leave the house."""
    return state / "sealing" / "head"


class Heads:
    """The heads of one record on this machine."""

    def __init__(self, state: Path) -> None:
        self._file = head_file(state)
        self._layout = Layout(state / "record")
        self._seen = (0, 0)
        self._latest = b""

    def latest(self) -> bytes:
        """A signed note; empty while there is none. Cheap: the file is read when it has changed."""
        try:
            found = self._file.stat()
            if (found.st_mtime_ns, found.st_ino) != self._seen:
                self._latest = self._file.read_bytes()
                self._seen = found.st_mtime_ns, found.st_ino
        except OSError:
            return b""
        return self._latest

    def verifier(self) -> str:
        """The record's public key as text. Raises OSError."""
        return self._layout.verifier.read_text().strip()

    def proof(self, old: int, note: bytes) -> list[bytes]:
        """That a head extends the log of ``old`` entries. Raises RecordBroken, OSError."""
        checkpoint, _ = parse_checkpoint(note)
        if old > checkpoint.size:
            raise RecordBroken(f"the log of {checkpoint.size} entries extends none of {old}")
        return LogReader(self._layout, checkpoint).consistency_proof(old)


def short(note: bytes) -> str:
    """A head in one line: log, size and root."""
    return " ".join(note.decode().split("\n")[:3])
