"""``pgwitness record``, on a state directory without a gateway."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pgwitness.cli import run
from pgwitness.record.heads import HeadKeeper
from pgwitness.sealing.messenger import Delivery
from pgwitness.sealing.process import Plan, SealingProcess
from pgwitness.sealing.status import Report, write_report
from support import tapes

Command = Callable[..., str]


@pytest.fixture
def pgwitness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN", "PGWITNESS_CONFIG", "PGWITNESS_DEBUG"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PGWITNESS_STATE", str(tmp_path))

    def command(*arguments: str, code: int = 0) -> str:
        assert run(arguments) == code
        said = capsys.readouterr()
        return said.out + said.err

    return command


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    tapes.record(tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1").ended())
    process = SealingProcess(tmp_path, Plan())
    process.stop()
    process.run()
    return tmp_path


def test_how_far_it_is(sealed: Path, pgwitness: Command) -> None:
    assert "none runs" in pgwitness("record", "status")
    status = json.loads(pgwitness("record", "status", "--format", "json"))
    assert (status["size"], status["lag_bytes"], status["problem"], status["heads"]) == (3, 0, None, [])


def test_what_does_not_get_on_is_an_exit_code(sealed: Path, pgwitness: Command) -> None:
    head = vars(Delivery("witness w1", error="it did not answer in time")) | {"size": None}
    write_report(sealed, Report(heads=[head]))
    assert "it did not answer in time" in pgwitness("record", "status", code=1)
    write_report(sealed, Report(problem="No space left on device"))
    assert "No space left" in pgwitness("record", "status", code=1)


def test_the_head_is_what_others_keep(sealed: Path, pgwitness: Command, tmp_path: Path) -> None:
    key, head = pgwitness("record", "head", "--key"), pgwitness("record", "head")
    assert HeadKeeper(tmp_path / "kept", key).check(head.encode()).verdict.sound
    (tmp_path / "head.txt").write_text(head)
    assert run(["verify", "--checkpoint", str(tmp_path / "head.txt")]) == 0


def test_without_a_record(pgwitness: Command) -> None:
    assert "holds no record" in pgwitness("record", "head", code=3)
