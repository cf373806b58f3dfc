"""What lies beyond the last checkpoint is not the record: a crash left it. A writer that starts removes it,
since other entries will take those places.

Tiles are written in ascending order, so of each level the remains follow the last tile of the checkpoint
without a hole; they are removed from behind, so that this still holds if removal is broken off.
"""

from pathlib import Path

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import Checkpoint
from pgwitness.record.files import TEMPORARY, Files, opened
from pgwitness.record.layout import ENTRIES, TILE_WIDTH, Layout, tile_name


def cut(layout: Layout, files: Files, checkpoint: Checkpoint) -> None:
    """Raises RecordBroken if objects that the checkpoint covers are not there, OSError."""
    _cut_segments(layout, files, checkpoint)
    for level in _levels(layout):
        size = checkpoint.size >> 8 * (0 if level == ENTRIES else int(level))
        for path in reversed(_beyond(layout, level, size)):
            files.remove(path)
        _drop_replaced(layout, files, level, size)
    _remove_temporary(files, layout.log)


def tiles_beyond(layout: Layout, size: int) -> list[Path]:
    """Files of tiles and bundles that belong to no tree of ``size`` entries."""
    return [
        path
        for level in _levels(layout)
        for path in _beyond(layout, level, size >> 8 * (0 if level == ENTRIES else int(level)))
    ]


def _cut_segments(layout: Layout, files: Files, checkpoint: Checkpoint) -> None:
    for number in reversed(layout.segment_numbers()):
        if number > checkpoint.segment:
            files.remove(layout.segment(number))
    if checkpoint.segment == 0:
        return
    path = layout.segment(checkpoint.segment)
    have = path.stat().st_size if path.exists() else 0
    if have < checkpoint.offset:
        raise RecordBroken(
            f"{path} has {have} bytes and the checkpoint covers {checkpoint.offset}",
            hint="restore the record from a backup; pgwitness verify tells what else is missing",
        )
    if have > checkpoint.offset:
        with opened(files, path) as descriptor:
            files.truncate(descriptor, checkpoint.offset)
            files.sync(descriptor)


def _levels(layout: Layout) -> list[str]:
    if not layout.tiles.is_dir():
        return []
    names = [path.name for path in layout.tiles.iterdir() if path.is_dir()]
    return sorted(name for name in names if name == ENTRIES or name.isdecimal())


def _beyond(layout: Layout, level: str, size: int) -> list[Path]:
    """Of one level with ``size`` hashes: partial tiles wider than that and tiles behind, ascending."""
    found = []
    index, width = divmod(size, TILE_WIDTH)
    while True:
        full = layout.log / tile_name(level, index)
        partial = full.with_name(full.name + ".p")
        inside = listed(partial)
        here = [path for path in inside if not path.name.isdecimal() or int(path.name) > width]
        here += [path for path in (full, full.with_name(full.name + TEMPORARY)) if path.exists()]
        found += here
        if not here and not inside:
            return found
        index, width = index + 1, 0


def listed(directory: Path) -> list[Path]:
    """What is in it; nothing if it is none, or not there any more."""
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _drop_replaced(layout: Layout, files: Files, level: str, size: int) -> None:
    """Partial tiles whose full one the checkpoint covers, which a crash kept from being removed."""
    last = layout.log / tile_name(level, max(0, size // TILE_WIDTH - 1))
    for partial in sorted(last.parent.glob("*.p")):
        if partial.with_suffix("").exists():
            remove_partial(files, partial.with_suffix(""))


def _remove_temporary(files: Files, directory: Path) -> None:
    for path in sorted(directory.glob("*" + TEMPORARY)):
        files.remove(path)


def remove_partial(files: Files, full: Path) -> None:
    """The partial tiles of a full one."""
    directory = full.with_name(full.name + ".p")
    if directory.is_dir():
        for path in sorted(directory.iterdir()):
            files.remove(path)
        files.remove_directory(directory)
