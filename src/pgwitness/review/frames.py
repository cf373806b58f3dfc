"""One session's frames, the wire itself, as far as they are indexed."""

import uuid
from collections.abc import Iterator
from pathlib import Path

from pgwitness.index import frames
from pgwitness.index.store import SessionDetail
from pgwitness.statements.assembler import Frame


def session_frames(tape: Path, found: SessionDetail) -> Iterator[Frame]:
    """In their order, a few at a time in memory; of the sealed record where the tape was released. None of an
    erased session, though the tape has them until it is released."""
    if found.session.erased_at is not None:
        return iter(())
    session = uuid.UUID(found.session.session).bytes
    return frames.session_frames(tape, session, found.first_position, found.last_position)
