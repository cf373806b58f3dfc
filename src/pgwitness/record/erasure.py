"""Erasing a session's content: its secret is destroyed and the bytes of its chunks are dropped; its entries
stay (docs/record-format.md, event).

Every step may be done again: a crash in between is answered by doing all of it once more.
"""

from collections.abc import Iterator

from pgwitness.errors import RecordBroken
from pgwitness.record.chunks import NOBODY
from pgwitness.record.entries import ERASED, Chunk, Event, Stored, session_text
from pgwitness.record.files import Files, opened
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.ordering import entries_between
from pgwitness.record.secrets import Secrets


def destroy_secret(layout: Layout, session: bytes, files: Files | None = None) -> None:
    """After this nobody can read the session: neither here nor, without a copy made before, an auditor.
    Raises OSError."""
    assert session != NOBODY
    files = files or Files()
    Secrets(layout, files).forget(session)
    wrapped = layout.wrapped_secret(session_text(session))
    if wrapped.exists():
        files.remove(wrapped)
        files.sync_directory(wrapped.parent)


def drop_chunks(log: LogReader, session: bytes, first: int, last: int, files: Files | None = None) -> int:
    """Give the room of the session's chunks back; how many bytes. ``first`` and ``last`` are positions of the
    tape between which the session was. Raises RecordBroken, OSError."""
    files = files or Files()
    dropped = 0
    for stored in _objects(log, session_text(session), first, last):
        path = log.layout.segment(stored.segment)
        if not path.exists():
            continue
        with opened(files, path) as descriptor:
            files.punch(descriptor, stored.offset, stored.length)
            files.sync(descriptor)
        dropped += stored.length
    return dropped


def erased_since(layout: Layout, size: int | None) -> bool:
    """Whether the log goes on behind its first ``size`` entries, and erases something there."""
    if size is None:
        return False
    try:
        later = LogReader(layout).entries(size)
        return any(isinstance(entry, Event) and entry.event == ERASED for _, entry in later)
    except (RecordBroken, OSError):
        return False


def _objects(log: LogReader, session: str, first: int, last: int) -> Iterator[Stored]:
    for entry in entries_between(log, first, last):
        if isinstance(entry, Chunk) and entry.session == session:
            yield entry.stored
