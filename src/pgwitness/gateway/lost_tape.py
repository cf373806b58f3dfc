"""A tape that is gone, or cut short, while record or index know that it went on further.

A new tape would begin at segment 1 again: positions would come twice, and the index, then the last account of
what was lost, would give way to one of the new tape. So the new tape begins above all that is known.
"""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path

from pgwitness.errors import RecordBroken
from pgwitness.index.location import Location
from pgwitness.index.tape import last_segment, segment, segments
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader

_HEADER = struct.Struct("<8sIIQ16s20x")
_END_MARK = b"\xff\xff\xff\xff"


def begin_above_what_is_known(state: Path, tape: Path) -> int | None:
    """Before the tape is opened. If segments are missing at its end: an empty one is made above the last that
    is known, whose number is returned; the recorder goes on after it."""
    known = last_segment(max(_indexed(state), _sealed(state)))
    last = max(segments(tape), default=0)
    if last >= known:
        return None
    tape.mkdir(mode=0o700, parents=True, exist_ok=True)
    head = _HEADER.pack(b"PGWTAPE1", 1, known + 1, time.time_ns(), bytes(16))
    path = segment(tape, known + 1)
    aside = path.with_suffix(".new")
    aside.write_bytes(head + struct.pack("<I", zlib.crc32(head)) + _END_MARK)
    aside.rename(path)
    return known


def _indexed(state: Path) -> int:
    return Location(state).resume() or 0


def _sealed(state: Path) -> int:
    layout = Layout(state / "record")
    try:
        return LogReader(layout).checkpoint.tape if layout.checkpoint.exists() else 0
    except RecordBroken:
        return 0
