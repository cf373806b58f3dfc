"""Appends to the record: objects, entries, checkpoints, in the order that docs/record-format.md demands.

The one promise: what a checkpoint covers is on stable storage, whole, before the checkpoint is. After any
OSError the writer is spent; a new one cuts off what no checkpoint covers and goes on from there.
"""

import contextlib
from collections.abc import Iterator
from datetime import datetime

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.cutting import cut, remove_partial
from pgwitness.record.edge import Edge
from pgwitness.record.entries import Stored
from pgwitness.record.files import Files, ensure_directory, publish
from pgwitness.record.layout import SEGMENT_BYTES, Layout
from pgwitness.record.log_reader import LogReader, read_checkpoint, tile_width
from pgwitness.record.merkle import HASH_BYTES
from pgwitness.record.notes import Signer


class LogWriter:
    """One record's only writer. Not for two threads."""

    def __init__(
        self,
        layout: Layout,
        signer: Signer,
        files: Files | None = None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Cuts off what the last checkpoint does not cover. Raises RecordBroken if what it covers is not
        there, OSError."""
        self.layout = layout
        self._signer = signer
        self._files = files or Files()
        self._segment_bytes = segment_bytes
        self.note = b""
        """The latest checkpoint as a signed note; empty before the first."""
        self.checkpoint = self._latest()
        self._edge = self._read_edge()
        cut(layout, self._files, self.checkpoint)
        self._segment, self._offset = self.checkpoint.segment, self.checkpoint.offset
        self._file: int | None = None
        self._new_segments = False
        self._spent = False

    @property
    def size(self) -> int:
        """Entries, those included that no checkpoint covers yet."""
        return self._edge.size

    def store(self, data: bytes) -> Stored:
        """Write an object. Raises OSError."""
        with self._whole_or_spent():
            if self._segment == 0 or (self._offset and self._offset + len(data) > self._segment_bytes):
                self._next_segment()
            if self._file is None:
                self._file = self._files.open(self.layout.segment(self._segment))
            self._files.write(self._file, data, self._offset)
        stored = Stored.of(self._segment, self._offset, data)
        self._offset += len(data)
        return stored

    def add(self, entry: bytes) -> int:
        """Append an entry; its index. It is part of the record with the next ``commit``."""
        with self._whole_or_spent():
            return self._edge.add(entry)

    def commit(self, moment: datetime, tape: int) -> Checkpoint:
        """Make all of it durable, then sign for it. ``tape``: every frame below is sealed. Also without new
        entries, as a sign of life. Raises OSError."""
        with self._whole_or_spent():
            self._sync_objects()
            bundles, tiles = self._edge.take()
            publish(self._files, bundles)
            publish(self._files, tiles)
            checkpoint = Checkpoint(
                self._signer.name,
                self._edge.size,
                self._edge.root(),
                moment,
                tape,
                self._segment,
                self._offset,
            )
            note = checkpoint.sign(self._signer)
            # This line must not move: before it, nothing of the above is part of the record.
            publish(self._files, {self.layout.checkpoint: note})
            self.checkpoint, self.note = checkpoint, note
            self._drop_partial()
        return checkpoint

    def close(self) -> None:
        """Without a commit, what is not committed is lost. Idempotent."""
        self._spent = True
        if self._file is not None:
            self._files.close(self._file)
            self._file = None

    def _latest(self) -> Checkpoint:
        if not self.layout.checkpoint.exists():
            return Checkpoint(self._signer.name, 0, Edge(self.layout, 0, [], []).root())
        self.note = read_checkpoint(self.layout)
        try:
            checkpoint, note = parse_checkpoint(self.note)
            note.verify([self._signer.verifier])
        except RecordBroken as error:
            raise RecordBroken(f"{self.layout.checkpoint}: {error}") from None
        if checkpoint.origin != self._signer.name:
            raise RecordBroken(f"{self.layout.checkpoint} is of another log, {checkpoint.origin}")
        return checkpoint

    def _read_edge(self) -> Edge:
        size = self.checkpoint.size
        reader = LogReader(self.layout, self.checkpoint)
        bundle = reader.bundle(size >> 8) if size & 0xFF else []
        levels = []
        level = 0
        while size >> 8 * level:
            index = size >> 8 * (level + 1)
            row = reader.tile(level, index) if tile_width(size, level, index) else b""
            levels.append([row[at : at + HASH_BYTES] for at in range(0, len(row), HASH_BYTES)])
            level += 1
        edge = Edge(self.layout, size, bundle, levels)
        if edge.root() != self.checkpoint.root:
            raise RecordBroken(f"the last tiles in {self.layout.tiles} do not fit the checkpoint")
        return edge

    def _next_segment(self) -> None:
        if self._file is not None:
            self._files.sync(self._file)
            self._files.close(self._file)
            self._file = None
        self._segment, self._offset = self._segment + 1, 0
        ensure_directory(self._files, self.layout.segments)
        self._new_segments = True

    def _sync_objects(self) -> None:
        if self._file is not None:
            self._files.sync(self._file)
        if self._new_segments:
            self._files.sync_directory(self.layout.segments)
            self._new_segments = False

    def _drop_partial(self) -> None:
        """Partial tiles whose full ones the checkpoint covers now."""
        for path in self._edge.completed:
            remove_partial(self._files, path)
        self._edge.completed.clear()

    @contextlib.contextmanager
    def _whole_or_spent(self) -> Iterator[None]:
        """What is half done must not be gone on from."""
        if self._spent:
            raise RecordBroken("this writer of the record failed before, or is closed")
        try:
            yield
        except BaseException:
            self._spent = True
            raise
