"""Verification, step 3: the tree made again from its entries, compared with every tile and with the
checkpoint."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pgwitness.record.checkpoint import Checkpoint
from pgwitness.record.cutting import listed, tiles_beyond
from pgwitness.record.edge import Edge, pack, unpack
from pgwitness.record.layout import TILE_WIDTH, Layout
from pgwitness.record.merkle import HASH_BYTES, leaf_hash
from pgwitness.record.report import Findings, Progress, Report

Leaf = tuple[int, bytes, bytes]
"""(index, entry, leaf hash)"""


class TreeCheck:
    """Reads the log once. ``entries`` is to be consumed; then ``finish`` tells."""

    def __init__(
        self, layout: Layout, checkpoint: Checkpoint, sizes: Sequence[int], progress: Progress
    ) -> None:
        """``sizes``: of which smaller trees the roots are wanted, too."""
        self._layout = layout
        self._checkpoint = checkpoint
        self._progress = progress
        self._edge = Edge(layout, 0, [], [])
        self._wanted = frozenset(sizes)
        self.roots: dict[int, bytes] = {0: self._edge.root()}
        self._unreadable: list[tuple[Path, str]] = []
        self._differing: list[tuple[Path, int, bytes, bytes]] = []
        """(tile, level-0 index of its first hash or -1, what it has, what it should have)"""

    def entries(self) -> Iterator[Leaf]:
        """All entries that can be read. Where a bundle cannot be, the tree goes on with the tile's hashes."""
        size = self._checkpoint.size
        for number in range(-(-size // TILE_WIDTH)):
            first = number * TILE_WIDTH
            width = min(TILE_WIDTH, size - first)
            for index, entry in enumerate(self._bundle(number, width), first):
                leaf = leaf_hash(entry)
                self._add(leaf)
                yield index, entry, leaf
            self._fill(number, first + width)
            self._compare_tiles()
            self._progress("tree", first + width, size)

    def finish(self, report: Report) -> bool:
        """Whether the tree is the one that was signed."""
        found = report.step("tree")
        size, signed = self._checkpoint.size, self._checkpoint.root
        rebuilt = self._edge.root() if self._edge.size == size else None
        for path, text in self._unreadable:
            found.broken(text, file=self._name(path))
        if rebuilt == signed:
            for path, *_ in self._differing:
                found.broken(
                    "the tile does not hold the hashes of the entries that were signed", file=self._name(path)
                )
        else:
            self._blame(found, rebuilt)
        beyond = tiles_beyond(self._layout, size)
        if beyond:
            report.remark(
                "beyond", f"{len(beyond)} tiles lie beyond the checkpoint; no one signed for them yet"
            )
        report.numbers["entries"] = size
        return found.end(f"{size:,} entries, every tile, the root")

    def _bundle(self, number: int, width: int) -> list[bytes]:
        path, data = self._read(self._layout.bundle(number, width), self._layout.bundle(number))
        if data is None:
            self._unreadable.append((path, "the entry bundle is missing"))
            return []
        try:
            entries = unpack(data)
        except ValueError as error:
            self._unreadable.append((path, f"the entry bundle cannot be read: {error}"))
            return []
        shown = int(path.name) if path.parent.suffix == ".p" else TILE_WIDTH
        if len(entries) != shown:
            self._unreadable.append((path, f"the entry bundle has {len(entries)} entries instead of {shown}"))
            return []
        whole = pack(entries[:width])
        for partial, held in self._partial(self._layout.bundle(number), width):
            if not whole.startswith(held) or len(_entries(held)) != int(partial.name):
                self._unreadable.append(
                    (partial, "the partial entry bundle is not the beginning of the full one")
                )
        return entries[:width]

    def _fill(self, number: int, end: int) -> None:
        """Leaves of entries that cannot be read, from the tile, if that can."""
        if self._edge.size >= end:
            return
        width = end - number * TILE_WIDTH
        _, tile = self._read(self._layout.tile(0, number, width), self._layout.tile(0, number))
        if tile is not None and len(tile) >= width * HASH_BYTES:
            for at in range(self._edge.size % TILE_WIDTH, width):
                self._add(tile[at * HASH_BYTES : (at + 1) * HASH_BYTES])

    def _add(self, leaf: bytes) -> None:
        size = self._edge.add_leaf(leaf) + 1
        if size in self._wanted:
            self.roots[size] = self._edge.root()

    def _compare_tiles(self) -> None:
        """Whatever tiles the entries so far give: the files must be the same."""
        complete = self._edge.size == self._checkpoint.size
        if not complete and self._edge.size % TILE_WIDTH:
            return
        _, tiles = self._edge.take(partial=complete)
        self._edge.completed.clear()
        for path, expected in tiles.items():
            full = path.parent.with_suffix("") if path.parent.suffix == ".p" else path
            found, data = self._read(path, full)
            if data is None:
                self._unreadable.append((found, "the tile is missing"))
            elif data[: len(expected)] != expected or len(data) != _proper(found):
                self._differing.append((found, self._first_leaf(full), data, expected))
            for partial, held in self._partial(full, len(expected) // HASH_BYTES):
                if not expected.startswith(held) or len(held) != _proper(partial):
                    self._differing.append((partial, -1, held, expected))

    def _blame(self, found: Findings, rebuilt: bytes | None) -> None:
        """The entries are not those that were signed. Where a tile has another hash, say which."""
        named = 0
        for _, first, data, expected in self._differing:
            if first < 0:
                continue
            for at in range(0, len(expected), HASH_BYTES):
                if data[at : at + HASH_BYTES] != expected[at : at + HASH_BYTES]:
                    entry = first + at // HASH_BYTES
                    bundle = self._layout.bundle(entry // TILE_WIDTH)
                    text = "the entry is not the one that was signed, or its hash in the tile was changed"
                    found.broken(text, file=self._name(bundle), entry=entry)
                    named += 1
        for path, first, *_ in self._differing:
            if first < 0 and not named:
                found.broken("the tile does not fit the entries", file=self._name(path))
        if rebuilt is None:
            found.broken(
                f"only {self._edge.size} of the {self._checkpoint.size} entries that were signed are there"
            )
        else:
            text = (
                "the entries do not give the root that was signed: the log was rewritten, or the checkpoint"
            )
            found.broken(text if not named else "the entries do not give the root that was signed")

    def _first_leaf(self, full: Path) -> int:
        """Of a tile of level 0; -1 of others."""
        relative = full.relative_to(self._layout.tiles).parts
        if relative[0] != "0":
            return -1
        return int("".join(part.removeprefix("x") for part in relative[1:])) * TILE_WIDTH

    def _partial(self, full: Path, width: int) -> Iterator[tuple[Path, bytes]]:
        """Partial tiles of earlier checkpoints: (file, bytes). A sealer may remove them meanwhile."""
        for path in listed(full.with_name(full.name + ".p")):
            if path.name.isdecimal() and int(path.name) <= width:
                _, data = self._read(path, path)
                if data is not None or path.exists():
                    yield path, data or b""

    def _read(self, wanted: Path, full: Path) -> tuple[Path, bytes | None]:
        """The file of this checkpoint, or the full one that took its place."""
        for path in dict.fromkeys((wanted, full)):
            try:
                return path, path.read_bytes()
            except OSError:
                continue
        return wanted, None

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._layout.directory))


def _proper(path: Path) -> int:
    """The length of a tile of hashes by its name."""
    width = int(path.name) if path.parent.suffix == ".p" else TILE_WIDTH
    return width * HASH_BYTES


def _entries(bundle: bytes) -> list[bytes]:
    """As ``unpack``; what cannot be read has no entries."""
    try:
        return unpack(bundle)
    except ValueError:
        return []
