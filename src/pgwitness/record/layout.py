"""Where everything of the record lies (docs/record-format.md, Files)."""

from pathlib import Path

TILE_WIDTH = 256
SEGMENT_BYTES = 64 << 20
ENTRIES = "entries"


class Layout:
    """The paths of one record."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.verifier = directory / "verifier"
        self.log = directory / "log"
        self.checkpoint = self.log / "checkpoint"
        self.witnessed = self.log / "witnessed"
        self.tiles = self.log / "tile"
        self.segments = directory / "segments"
        self.wrapped = directory / "wrapped"
        self.keys = directory / "keys"
        self.signing_key = self.keys / "signing.key"
        self.secrets = self.keys / "sessions"

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> Path:
        """A tile of hashes; narrower than 256 it is partial."""
        return self.log / tile_name(str(level), index, width)

    def bundle(self, index: int, width: int = TILE_WIDTH) -> Path:
        """A bundle of entries."""
        return self.log / tile_name(ENTRIES, index, width)

    def segment(self, number: int) -> Path:
        return self.segments / f"{number:010}.chunks"

    def segment_numbers(self) -> list[int]:
        """Of the segments that are there, ascending."""
        stems = (path.stem for path in self.segments.glob("*.chunks"))
        return sorted(int(stem) for stem in stems if len(stem) == 10 and stem.isdecimal())

    def wrapped_secret(self, session: str) -> Path:
        """``session`` as text, with hyphens."""
        return self.wrapped / session[-2:] / f"{session}.age"


def tile_name(level: str, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile as c2sp.org/tlog-tiles has it, ``level`` being a number or ``entries``."""
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{tile_index(index)}{partial}"


def tile_index(index: int) -> str:
    """1234067 as ``x001/x234/067``."""
    name = f"{index % 1000:03}"
    while index := index // 1000:
        name = f"x{index % 1000:03}/{name}"
    return name
