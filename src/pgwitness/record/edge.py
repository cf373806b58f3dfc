"""The right edge of a tiled tree: all that has to be held in memory to append to it.

``Edge`` takes entries and says which tiles and bundles they fill or change. It touches no file.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from pgwitness.record.layout import TILE_WIDTH, Layout
from pgwitness.record.merkle import fold, leaf_hash, perfect_root

_LENGTH = struct.Struct(">H")


class Edge:
    """The incomplete tile of each level, and the incomplete bundle."""

    def __init__(self, layout: Layout, size: int, bundle: list[bytes], levels: list[list[bytes]]) -> None:
        self._layout = layout
        self.size = size
        self._bundle = bundle
        self._levels = levels
        self._bundles: dict[Path, bytes] = {}
        self._tiles: dict[Path, bytes] = {}
        self._changed: set[int] = set()
        self.completed: list[Path] = []
        """Full tiles and bundles since the last ``take``, whose partial ones are not needed any more."""

    def add(self, entry: bytes) -> int:
        """Append an entry; its index."""
        index = self.add_leaf(leaf_hash(entry))
        self._bundle.append(entry)
        if len(self._bundle) == TILE_WIDTH:
            path = self._layout.bundle(index // TILE_WIDTH)
            self._bundles[path] = pack(self._bundle)
            self.completed.append(path)
            self._bundle = []
        return index

    def add_leaf(self, leaf: bytes) -> int:
        """Append to the tree only; the index."""
        index = self.size
        self.size += 1
        self._push(0, leaf, index // TILE_WIDTH)
        return index

    def take(self, *, partial: bool = True) -> tuple[dict[Path, bytes], dict[Path, bytes]]:
        """Bundles and tiles to write for the tree as it is now, that changed since the last time."""
        if not partial:
            taken = self._bundles, self._tiles
            self._bundles, self._tiles = {}, {}
            return taken
        if self._changed and self._bundle:
            path = self._layout.bundle(self.size // TILE_WIDTH, len(self._bundle))
            self._bundles[path] = pack(self._bundle)
        for level in sorted(self._changed):
            row = self._levels[level]
            if row:
                index = self.size >> 8 * (level + 1)
                self._tiles[self._layout.tile(level, index, len(row))] = b"".join(row)
        taken = self._bundles, self._tiles
        self._bundles, self._tiles, self._changed = {}, {}, set()
        return taken

    def root(self) -> bytes:
        return fold([peak for row in reversed(self._levels) for peak in _peaks(row)])

    def _push(self, level: int, hashed: bytes, index: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        row = self._levels[level]
        row.append(hashed)
        self._changed.add(level)
        if len(row) == TILE_WIDTH:
            path = self._layout.tile(level, index)
            self._tiles[path] = b"".join(row)
            self.completed.append(path)
            self._levels[level] = []
            self._push(level + 1, perfect_root(row), index // TILE_WIDTH)


def pack(entries: Sequence[bytes]) -> bytes:
    """A bundle."""
    return b"".join(piece for entry in entries for piece in (_LENGTH.pack(len(entry)), entry))


def unpack(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises ValueError if its lengths do not fit."""
    entries = []
    at = 0
    while at < len(bundle):
        if at + 2 > len(bundle):
            raise ValueError("it is cut off")
        end = at + 2 + _LENGTH.unpack_from(bundle, at)[0]
        if end > len(bundle):
            raise ValueError("it is cut off")
        entries.append(bundle[at + 2 : end])
        at = end
    return entries


def _peaks(row: Sequence[bytes]) -> Iterator[bytes]:
    """The perfect subtrees of a row of fewer than 256 hashes, the largest first."""
    start = 0
    for bit in range(7, -1, -1):
        if len(row) >> bit & 1:
            yield perfect_root(row[start : start + (1 << bit)])
            start += 1 << bit
