"""Wireshark's command line as a reader of captures that is not ours."""

import subprocess
from pathlib import Path

import pytest

TSHARK = Path("/usr/bin/tshark")
_BETWEEN = "\x1f"


def require_tshark() -> None:
    if not TSHARK.exists():
        pytest.skip("tshark is not installed: apt-get install tshark")


def fields(capture: Path, *names: str, only: str = "") -> list[tuple[list[str], ...]]:
    """For each packet that ``only`` (a display filter) lets through, all values of each field."""
    command = [str(TSHARK), "-r", str(capture), "-T", "fields", "-E", f"aggregator={_BETWEEN}"]
    command += ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    for name in names:
        command += ["-e", name]
    done = subprocess.run([*command, "-Y", only], capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [tuple(cell.split(_BETWEEN) if cell else [] for cell in row) for row in rows]
