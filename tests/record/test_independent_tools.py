"""Go's transparency log packages, which share no code with ours, read a record of ours and accept it; and
refuse one that was changed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pgwitness.record.log_reader import LogReader
from support.records import Sealing, flip, make_record

HERE = Path(__file__).parent
VECTORS = HERE / "samples" / "tlog-vectors.json"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def tlogcheck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool, built."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        pytest.skip("there is no Go here")
    directory = tmp_path_factory.mktemp("tlogcheck")
    built = directory / "tlogcheck"
    source = HERE / "tlogcheck"
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    subprocess.run([go, "build", "-o", str(built), "."], cwd=source, check=True, env=environment)
    return built


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sealing, list[Path]]:
    """A record of more than 65,536 entries, so that it has tiles of three levels, and older checkpoints."""
    directory = tmp_path_factory.mktemp("independent")
    sealing = make_record(directory / "record", 60)
    older = []
    for number in range(66_000):
        if number % 9_973 == 0 or number in (256, 65_536 - 317):
            older.append(directory / f"checkpoint-{number}")
            older[-1].write_bytes(sealing.commit())
        sealing.event("tick", number=number)
    sealing.commit()
    return sealing, older


def check(tlogcheck: Path, sealing: Sealing, *older: Path) -> subprocess.CompletedProcess[str]:
    command = [tlogcheck, "check", sealing.layout.log, sealing.layout.verifier, *older]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)


def test_go_accepts_checkpoint_tiles_entries_and_consistency(
    tlogcheck: Path, record: tuple[Sealing, list[Path]]
) -> None:
    sealing, older = record
    done = check(tlogcheck, sealing, *older)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    reader = LogReader(sealing.layout)
    assert told["origin"] == reader.checkpoint.origin
    assert (told["size"], told["root"]) == (reader.size, reader.checkpoint.root.hex())
    assert told["bytes"] == sum(len(data) for _, data in reader.raw_entries())
    assert told["proofs"] >= 50
    assert told["older"] == len(older) > 5


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/017", "tile/1/000", "tile/entries/017"])
def test_go_refuses_what_was_changed(tlogcheck: Path, record: tuple[Sealing, list[Path]], name: str) -> None:
    sealing, _ = record
    flip(sealing.layout.log / name, 60)
    try:
        assert check(tlogcheck, sealing).returncode == 1
    finally:
        flip(sealing.layout.log / name, 60)


def test_the_committed_vectors_are_what_it_makes(tlogcheck: Path) -> None:
    done = subprocess.run([str(tlogcheck), "vectors"], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == json.loads(VECTORS.read_text())
