"""Checkpoints (c2sp.org/tlog-checkpoint): the log's size and root, and what it covers."""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pgwitness.errors import RecordBroken
from pgwitness.record.merkle import HASH_BYTES
from pgwitness.record.notes import Note, Signer, parse_note

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes
    time: datetime | None = None
    """When it was signed."""
    tape: int = 0
    """Every frame of the tape below this position is sealed."""
    segment: int = 0
    offset: int = 0
    """Where the objects end; 0 and 0 when there are none."""

    @property
    def text(self) -> str:
        """What is signed."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode()]
        if self.time is not None:
            lines += [f"time {self.time.astimezone(UTC).strftime(_TIME)}", f"tape {self.tape}"]
            lines += [f"chunks {self.segment} {self.offset}"]
        return "".join(f"{line}\n" for line in lines)

    def sign(self, signer: Signer) -> bytes:
        return signer.sign(self.text).encode()


def parse_checkpoint(data: bytes) -> tuple[Checkpoint, Note]:
    """The checkpoint and the note it is in, whose signatures are not checked yet. Raises RecordBroken."""
    note = parse_note(data)
    return parse_text(note.text), note


def parse_text(text: str) -> Checkpoint:
    """A checkpoint's text. Lines that other logs add mean nothing here. Raises RecordBroken."""
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines) or not _NUMBER.fullmatch(lines[1]):
        raise RecordBroken("it is not a checkpoint: origin, size and root on three lines")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        root = b""
    if len(root) != HASH_BYTES or base64.b64encode(root).decode() != lines[2]:
        raise RecordBroken("its root is not a hash in base64")
    more = dict(line.partition(" ")[::2] for line in lines[3:])
    moment = more.get("time")
    segment, _, offset = more.get("chunks", "0 0").partition(" ")
    return Checkpoint(
        lines[0],
        int(lines[1]),
        root,
        _moment(moment) if moment is not None else None,
        _number(more.get("tape", "0")),
        _number(segment),
        _number(offset),
    )


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise RecordBroken(f"{text!r} is no number")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise RecordBroken(f"{text!r} is no time") from None
