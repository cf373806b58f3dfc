"""One session's frames, the wire itself, as far as they are indexed."""

import uuid
from collections.abc import Iterator
from pathlib import Path

from pgwitness._core import KIND_SESSION_ENDED, TapeReader
from pgwitness.index.store import SessionDetail
from pgwitness.statements.assembler import Frame


def session_frames(tape: Path, found: SessionDetail) -> Iterator[Frame]:
    """In their order, a few at a time in memory."""
    session = uuid.UUID(found.session.session).bytes
    reader = TapeReader(tape, found.first_position, session=session)
    while frames := reader.read(max_frames=256):
        for frame in frames:
            yield frame
            if frame[2] == KIND_SESSION_ENDED or frame[4] >= found.last_position:
                return
