"""``pgwitness verify``: exit codes, what a person reads, what a machine reads; and that it needs no
gateway."""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pgwitness.cli import run
from support import tapes
from support.records import Sealing, copy_record, flip, make_record
from support.sealing import seal

Command = Callable[..., str]


@pytest.fixture
def pgwitness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN", "PGWITNESS_CONFIG", "PGWITNESS_DEBUG"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PGWITNESS_STATE", str(tmp_path / "state"))

    def command(*arguments: object, code: int = 0) -> str:
        done = run([str(argument) for argument in arguments])
        out, said = capsys.readouterr()
        assert done == code, (out, said)
        return out if out else said

    return command


@pytest.fixture
def record(tmp_path: Path) -> Sealing:
    return make_record(tmp_path / "record", 12)


def test_a_sound_copy(pgwitness: Command, record: Sealing, tmp_path: Path) -> None:
    copy = copy_record(record.layout.directory, tmp_path / "copy")
    said = pgwitness("verify", "--record", copy.directory)
    lines = said.splitlines()
    assert [line.split()[:3] for line in lines if line[:1].isdigit()] == [
        ["1", "key", "ok"],
        ["2", "checkpoint", "ok"],
        ["3", "tree", "ok"],
        ["4", "heads", "skipped"],
        ["5", "chains", "ok"],
        ["6", "chunks", "ok"],
        ["7", "contents", "skipped"],
        ["8", "index", "skipped"],
    ]
    assert lines[-1] == "Sound: the record is what was recorded."
    assert "was not compared with one from elsewhere" in said
    with_key = pgwitness("verify", "--record", copy.directory, "--key", record.layout.verifier)
    assert "not compared" not in with_key


def test_a_broken_copy_names_what_is_broken(pgwitness: Command, record: Sealing) -> None:
    flip(record.layout.segment(1), 700)
    said = pgwitness("verify", "--record", record.layout.directory, code=1)
    assert "6  chunks      BROKEN   1 problem, see below" in said
    assert "segments/0000000001.chunks, session " in said
    assert said.splitlines()[-1] == "BROKEN: the record is not what was recorded."


def test_for_machines(pgwitness: Command, record: Sealing) -> None:
    document = json.loads(pgwitness("verify", "--record", record.layout.directory, "--format", "json"))
    assert document["result"] == "sound"
    assert document["origin"] == record.signer.name
    assert document["size"] == record.log.size
    assert [step["outcome"] for step in document["steps"]][:3] == ["sound"] * 3
    flip(record.layout.checkpoint, 20)
    document = json.loads(
        pgwitness("verify", "--record", record.layout.directory, "--format", "json", code=1)
    )
    assert document["result"] == "broken"
    assert document["problems"][0]["step"] == "checkpoint"
    assert document["problems"][0]["file"] == "log/checkpoint"


def test_heads_from_elsewhere(pgwitness: Command, record: Sealing, tmp_path: Path) -> None:
    early, late = tmp_path / "early", tmp_path / "late"
    early.write_bytes(record.log.note)
    copy = copy_record(record.layout.directory, tmp_path / "copy")
    record.session()
    late.write_bytes(record.commit())
    pgwitness("verify", "--record", record.layout.directory, "--checkpoint", early, "--checkpoint", late)
    said = pgwitness("verify", "--record", copy.directory, "--checkpoint", late, code=1)
    assert "the log was cut off: " in said
    assert str(late) in said


def test_one_session(pgwitness: Command, record: Sealing) -> None:
    session = str(uuid.UUID(bytes=record.session(2)))
    record.commit()
    said = pgwitness("verify", session[-9:], "--record", record.layout.directory)
    assert said.splitlines()[-1] == f"Sound: session {session} is what was recorded."
    taken_out = str(uuid.UUID(int=7))
    said = pgwitness("verify", taken_out, "--record", record.layout.directory, code=1)
    assert "the record has no entry of this session" in said
    said = pgwitness("verify", "ffffffff-dead", "--record", record.layout.directory, code=2)
    assert "no session of this record has an id that begins or ends with 'ffffffff-dead'" in said


def test_a_wrong_file_is_no_accusation(pgwitness: Command, record: Sealing, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("not what was meant\n")
    said = pgwitness("verify", "--bundle", other, code=2)
    assert f"{other} is no bundle" in said
    said = pgwitness("verify", "--record", record.layout.directory, "--checkpoint", other, code=2)
    assert f"--checkpoint {other} is no checkpoint" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--record", "/nonexistent"], "there is no sealed record in /nonexistent"),
        ([], "there is no sealed record in"),
        (["--bundle", "/nonexistent"], "there is no bundle /nonexistent"),
        (["--bundle", "x", "--record", "y"], "--bundle is verified for itself"),
        (["--record", "RECORD", "--key", "/nonexistent"], "/nonexistent cannot be read"),
        (["--record", "RECORD", "--key", "RECORD/log/checkpoint"], "is no verifier key"),
        (["--record", "RECORD", "--checkpoint", "/nonexistent"], "/nonexistent cannot be read"),
        (["--format", "csv"], "csv"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage(pgwitness: Command, record: Sealing, arguments: list[str], message: str) -> None:
    directory = str(record.layout.directory)
    said = pgwitness("verify", *(each.replace("RECORD", directory) for each in arguments), code=2)
    assert said.startswith("error: ")
    assert message in said
    assert "Traceback" not in said


def test_the_state_directory_with_its_index(pgwitness: Command, tmp_path: Path) -> None:
    state = tmp_path / "state"
    talks = [tapes.dialogue(number, user="app").run("SELECT 1", "SELECT 1").ended() for number in range(3)]
    tapes.record(state, *talks)
    tapes.index(state).close()
    seal(state)
    said = pgwitness("verify")
    assert "8  index       ok       3 sessions and 3 statements are the record's" in said
    assert "objects opened" in said
    document = json.loads(pgwitness("verify", "--format", "json"))
    assert document["numbers"]["statements_compared"] == 3


def test_nothing_of_the_gateway_is_imported(record: Sealing) -> None:
    """Verifying a copy loads neither gateway nor catalog, nor a database driver."""
    program = (
        "import sys\nfrom pgwitness.cli import run\n"
        f"assert run(['verify', '--record', {str(record.layout.directory)!r}, '--format', 'json']) == 0\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = {name for name in done.stderr.split() if name.startswith("pgwitness.")}
    words = {"pgwitness.review", "pgwitness.review.text", "pgwitness.review.cells"}  # for people
    assert {name.split(".")[1] for name in loaded - words} == {"cli", "errors", "record"}
    assert "sqlalchemy" not in done.stderr
