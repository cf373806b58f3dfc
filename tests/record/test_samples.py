"""Records and bundles of every version of the format stay readable and verify; their bytes are never made
again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgwitness.record.chunks import Keys, load, split
from pgwitness.record.entries import Chunk, Event, Gap, Session, session_bytes
from pgwitness.record.events import event_payload
from pgwitness.record.keys import load_signer, read_verifiers
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.log_writer import LogWriter
from pgwitness.record.secrets import Secrets
from pgwitness.record.verify import Options, verify_record
from pgwitness.record.verify_bundle import verify_bundle

SAMPLES = Path(__file__).parent / "samples"
VERSIONS = sorted(path.name for path in SAMPLES.glob("v*"))
ROOTS = {"v1": "d82c8ad958f24a409cf2c15f92250b00ab0b9d03b6d1f606f879a1f6a308a8c1"}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_there_is_a_sample_of_every_version() -> None:
    assert list(ROOTS) == VERSIONS


def test_the_record_verifies(version: str) -> None:
    layout = Layout(SAMPLES / version / "record")
    report = verify_record(layout, Options(read_verifiers(layout.verifier)))
    assert (report.problems, report.result) == ([], "sound")
    assert report.root == ROOTS[version]
    assert {remark.about for remark in report.remarks} == {"gap", "erased", "open"}
    assert report.numbers["sessions"] == 4
    assert report.numbers["sessions_erased"] == report.numbers["sessions_open"] == 1


def test_the_frames_come_back(version: str) -> None:
    layout = Layout(SAMPLES / version / "record")
    reader, secrets = LogReader(layout), Secrets(layout)
    keys: dict[str, Keys | None] = {}
    frames, events, gaps = 0, [], 0
    for _, entry in reader.entries():
        match entry:
            case Session():
                assert entry.slot is not None
                secret = secrets.get(entry.slot, session_bytes(entry.session))
                keys[entry.session] = Keys.of(secret) if secret else None
            case Chunk() if found := keys[entry.session]:
                read = split(session_bytes(entry.session), load(reader.object(entry.stored), found))
                frames += len(read)
                assert entry.sequence == (read[0][1], read[-1][1])
            case Event():
                events.append((entry.event, len(event_payload(reader, entry))))
            case Gap():
                gaps += 1
    assert frames == 14 + 8 + 3
    assert [name for name, _ in events] == ["started", "recovered", "session_erased"]
    assert events[1][1] > 32 << 10
    assert gaps == 1


def test_the_bundle_verifies(version: str) -> None:
    (path,) = (SAMPLES / version).glob("*.pgwitness.zip")
    keys = read_verifiers(SAMPLES / version / "record" / "verifier")
    report = verify_bundle(path, verifiers=keys)
    assert (report.problems, report.result) == ([], "sound")
    script = Path(__file__).parents[2] / "docs" / "verify_bundle.py"
    command = [sys.executable, "-I", str(script), str(path), str(SAMPLES / version / "record" / "verifier")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_record_is_gone_on_with(version: str, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / version / "record", tmp_path / "record")
    layout = Layout(tmp_path / "record")
    before = LogReader(layout).checkpoint
    log = LogWriter(layout, load_signer(layout))
    log.add(
        b'{"type":"event","v":1,"sequence":9,"position":9,"time":9,"event":"x","payload":"{}","stored":null}'
    )
    assert before.time
    log.commit(before.time, before.tape)
    log.close()
    head = ("before", (SAMPLES / version / "record" / "log" / "checkpoint").read_bytes())
    assert verify_record(layout, Options(heads=[head])).result == "sound"
