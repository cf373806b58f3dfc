"""The log as its files have it: checkpoint, entries, hashes, proofs, objects. Reading proves nothing; that is
``verify``'s."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pgwitness.errors import RecordBroken
from pgwitness.record import merkle
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.edge import unpack
from pgwitness.record.entries import Entry, Stored, decode
from pgwitness.record.layout import TILE_WIDTH, Layout
from pgwitness.record.merkle import HASH_BYTES


class LogReader:
    """Reads a record's log up to one checkpoint: the latest, or the one given."""

    def __init__(self, layout: Layout, checkpoint: Checkpoint | None = None) -> None:
        """Raises RecordBroken if there is no checkpoint or it is none."""
        self.layout = layout
        self.note = b""
        if checkpoint is None:
            self.note = read_checkpoint(layout)
            checkpoint, _ = parse_checkpoint(self.note)
        self.checkpoint = checkpoint
        self._tile = lru_cache(maxsize=64)(self._read_tile)

    @property
    def size(self) -> int:
        return self.checkpoint.size

    def raw_entries(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """(index, bytes) from an index on. Raises RecordBroken."""
        for number in range(start // TILE_WIDTH, -(-self.size // TILE_WIDTH)):
            for index, entry in enumerate(self.bundle(number), number * TILE_WIDTH):
                if start <= index:
                    yield index, entry

    def entries(self, start: int = 0) -> Iterator[tuple[int, Entry]]:
        for index, data in self.raw_entries(start):
            yield index, decode(data)

    def raw_entry(self, index: int) -> bytes:
        return self.bundle(index // TILE_WIDTH)[index % TILE_WIDTH]

    def bundle(self, number: int) -> list[bytes]:
        """The entries of a bundle that this checkpoint covers. Raises RecordBroken."""
        width = tile_width(self.size, 0, number)
        path, data = _first(self.layout.bundle(number, width), self.layout.bundle(number))
        try:
            entries = unpack(data)
        except ValueError as error:
            raise RecordBroken(f"the entry bundle {path}: {error}") from None
        if len(entries) < width:
            raise RecordBroken(f"the entry bundle {path} has {len(entries)} entries instead of {width}")
        return entries[:width]

    def tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile that this checkpoint covers. Raises RecordBroken."""
        return self._tile(level, index)

    def subtree(self, level: int, index: int) -> bytes:
        """``merkle.Subtrees``. Raises RecordBroken."""
        tall, low = divmod(level, 8)
        start = index << low
        tile = self.tile(tall, start // TILE_WIDTH)
        at = start % TILE_WIDTH
        row = [tile[i * HASH_BYTES : (i + 1) * HASH_BYTES] for i in range(at, at + (1 << low))]
        return merkle.perfect_root(row)

    def inclusion_proof(self, index: int) -> list[bytes]:
        return merkle.inclusion_proof(self.subtree, index, self.size)

    def consistency_proof(self, old: int) -> list[bytes]:
        """That this checkpoint extends the one of ``old`` entries."""
        return merkle.consistency_proof(self.subtree, old, self.size)

    def root(self, size: int) -> bytes:
        """Of the first ``size`` entries."""
        return merkle.root(self.subtree, size)

    def object(self, stored: Stored) -> bytes:
        """The bytes of an object, fewer if the segment ends before. Raises FileNotFoundError, OSError."""
        with self.layout.segment(stored.segment).open("rb") as file:
            file.seek(stored.offset)
            return file.read(stored.length)

    def _read_tile(self, level: int, index: int) -> bytes:
        width = tile_width(self.size, level, index)
        path, data = _first(self.layout.tile(level, index, width), self.layout.tile(level, index))
        if len(data) < width * HASH_BYTES:
            raise RecordBroken(f"the tile {path} has {len(data)} bytes instead of {width * HASH_BYTES}")
        return data[: width * HASH_BYTES]


def tile_width(size: int, level: int, index: int) -> int:
    """How many hashes that tile has in a tree of ``size`` leaves."""
    return min(TILE_WIDTH, max(0, (size >> 8 * level) - index * TILE_WIDTH))


def read_checkpoint(layout: Layout) -> bytes:
    """The latest checkpoint's note. Raises RecordBroken."""
    try:
        return layout.checkpoint.read_bytes()
    except FileNotFoundError:
        raise RecordBroken(f"there is no checkpoint: {layout.checkpoint} is missing") from None


def _first(wanted: Path, full: Path) -> tuple[Path, bytes]:
    """The tile, or the full one that took its place."""
    for path in dict.fromkeys((wanted, full)):
        try:
            return path, path.read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue
    raise RecordBroken(f"{wanted} is missing")
