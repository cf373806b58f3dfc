"""One session's frames, the wire itself, as far as they are indexed."""

import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pgwitness.errors import ConflictError
from pgwitness.index import frames
from pgwitness.index.store import SessionDetail
from pgwitness.record.stream import pack
from pgwitness.statements.assembler import Frame


def session_frames(tape: Path, found: SessionDetail) -> Iterator[Frame]:
    """In their order, a few at a time in memory; of the sealed record where the tape was released. None of an
    erased session, though the tape has them until it is released."""
    if found.session.erased_at is not None:
        return iter(())
    session = uuid.UUID(found.session.session).bytes
    return frames.session_frames(tape, session, found.first_position, found.last_position)


def packed_frames(tape: Path, found: SessionDetail) -> Iterator[bytes]:
    """The same as one stream of bytes, to be read elsewhere. Raises ConflictError before the first of them if
    there are none: what is empty must not pass for what happened."""
    return pack(uuid.UUID(found.session.session).bytes, some_frames(session_frames(tape, found), found))


def some_frames(frames: Iterator[Frame], found: SessionDetail) -> Iterator[Frame]:
    """Raises ConflictError if there are none."""
    first = next(frames, None)
    if first is None:
        raise ConflictError(
            f"the wire of session {found.session.session} cannot be read here: it was erased, or only "
            "auditors have its key",
            hint="--format bundle exports what can be proved, and auditors can open it",
        )
    return chain([first], frames)
