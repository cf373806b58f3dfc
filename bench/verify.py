"""How many MB of chunk data a second ``pgwitness verify`` proves, on one core.

    python bench/verify.py [--megabytes 400] [--threads 1]

A record of invented sessions is written first and is not part of the time. Rates are by processor time, so
that they are of one core whatever else runs: of a copy (hashes, chains, tree) and of a record with its
secrets, where every chunk is also decrypted, unpacked and compared with its commitment.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from pgwitness.record.layout import Layout
from pgwitness.record.verify import Options, verify_record
from support.records import SERVER, Sealing, copy_record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print("   chunks of  stored MB  ratio  copy MB/s  opened MB/s  plain MB/s")
    for size in (2_000, 16_000, 200_000):
        with tempfile.TemporaryDirectory(prefix="pgw-bench-") as directory:
            _measure(Path(directory), size, arguments.megabytes * 1_000_000, arguments.threads)
    return 0


def _measure(directory: Path, size: int, wanted: int, threads: int) -> None:
    layout = _record(directory / "record", size, wanted)
    copy = copy_record(layout.directory, directory / "copy")
    closed, numbers = _rate(copy, threads)
    opened, numbers = _rate(layout, threads)
    stored, plain = numbers["chunk_bytes"], numbers["plain_bytes"]
    average = stored // numbers["objects"]
    print(
        f"{average:>10} B {stored / 1e6:>10.0f} {plain / stored:>6.1f} {stored / closed / 1e6:>10.0f} "
        f"{stored / opened / 1e6:>12.0f} {plain / opened / 1e6:>11.0f}"
    )


def _rate(layout: Layout, threads: int) -> tuple[float, dict[str, int]]:
    """Seconds of processor time, and what was verified."""
    started = time.process_time()
    report = verify_record(layout, Options(threads=threads))
    assert report.result == "sound", report.problems
    return time.process_time() - started, report.numbers


def _record(directory: Path, size: int, wanted: int) -> Layout:
    """Sessions of ten chunks, each of statements, answers and a result that packs to about ``size``."""
    sealing = Sealing(directory)
    while sealing.log._segment * 64_000_000 + sealing.log._offset < wanted + 64_000_000:
        session = sealing.tape.session()
        sealing.seal([sealing.tape.start(session)])
        for _ in range(10):
            frames = sealing.tape.talk(session, max(1, size // 100))
            rows = os.urandom(size // 2) + bytes(range(64)) * (size // 64)
            frames.append(sealing.tape.frame(session, SERVER, rows))
            sealing.seal(frames)
        sealing.seal([sealing.tape.end(session)])
    sealing.commit()
    sealing.close()
    return sealing.layout


if __name__ == "__main__":
    sys.exit(main())
