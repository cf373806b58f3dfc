"""A record made from a tape in this process, and what may be asked of it."""

from pathlib import Path
from typing import Any

from pgwitness._core import KIND_ROSTER, TapeReader
from pgwitness.index.frames import FrameFollower
from pgwitness.record.chunks import Frame
from pgwitness.record.files import Files
from pgwitness.record.layout import Layout
from pgwitness.record.report import Report
from pgwitness.record.verify import verify_record
from pgwitness.sealing.sealer import Sealer


def seal(state: Path, files: Files | None = None, **options: Any) -> int:
    """Seal what there is on the tape; the number of checkpoints that this took."""
    sealer = Sealer(state, files, **options)
    try:
        return seal_on(sealer)
    finally:
        sealer.close()


def seal_on(sealer: Sealer) -> int:
    if not sealer.note:
        sealer.sign()
    rounds = 1
    while (span := sealer.seal()) is not None:
        rounds += 1
        if not span.full:
            break
    sealer.save()
    return rounds


def verified(state: Path) -> Report:
    """The report on a record that must be sound."""
    report = verify_record(Layout(state / "record"))
    assert report.result == "sound", report.problems
    return report


def on_tape(state: Path) -> list[Frame]:
    """What of the tape belongs in a record."""
    reader = TapeReader(state / "tape")
    frames = []
    while more := reader.read():
        frames += [frame for frame in more if frame[2] != KIND_ROSTER]
    return frames


def read_back(state: Path, position: int = 0, at_a_time: int = 1000) -> list[Frame]:
    """All that record and tape have from there on."""
    follower = FrameFollower(state / "tape", position)
    frames = []
    while True:
        more, damage = follower.read(at_a_time, 1 << 20)
        assert damage is None, damage
        if not more:
            return frames
        frames += [frame for frame in more if frame[2] != KIND_ROSTER]


def drop_tape(state: Path, keep: int = 0) -> int:
    """Remove the oldest segments of the tape but ``keep``; how many are gone."""
    paths = sorted((state / "tape").glob("*.tape"))
    gone = paths[: len(paths) - keep]
    for path in gone:
        path.unlink()
    return len(gone)
