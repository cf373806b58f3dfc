"""``pgwitness claims``, on a state directory without a gateway."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pgwitness.cli import run
from support import tapes
from support.claims import SESSION, STORY, talk_of
from support.testimonies import anthropic, in_place, plain

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session of the story, in a run; one of another run that is still open."""
    state = tmp_path_factory.mktemp("state")
    one = talk_of(STORY, claims={"run": "run-81"}).ended()
    tapes.record(state, one, talk_of(STORY[:2], 2, claims={"run": "run-82"}))
    return state


@pytest.fixture
def pgwitness(state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN", "PGWITNESS_CONFIG", "PGWITNESS_DEBUG"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PGWITNESS_STATE", str(state))
    monkeypatch.setenv("COLUMNS", "140")

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(["claims", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def honest(tmp_path: Path) -> str:
    path = tmp_path / "honest.json"
    path.write_bytes(anthropic(STORY, in_place))
    return str(path)


@pytest.fixture
def lying(tmp_path: Path) -> str:
    """One literal is another, one statement is kept silent."""
    path = tmp_path / "lying.jsonl"
    path.write_bytes(
        plain([*STORY[:6], *STORY[7:]], in_place).replace(b"'west' AND cents", b"'east' AND cents")
    )
    return str(path)


def test_the_truth(pgwitness: Command, honest: str) -> None:
    code, out, err = pgwitness(SESSION[-8:], honest)
    assert code == 0, err
    assert "MATCHES" in out and "11  matched" in out
    assert pgwitness("--run", "run-81", honest)[0] == 0


def test_a_lie_side_by_side(pgwitness: Command, lying: str) -> None:
    code, out, _ = pgwitness(SESSION, lying)
    assert code == 1
    assert "DIFFERS" in out
    text = " ".join(out.replace("│", " ").split())
    assert "value of region in WHERE: claimed 'east'" in text
    assert "executed, not claimed" in text and "DELETE FROM audit" in text
    assert "INSERT INTO notes" not in text
    assert "INSERT INTO notes" in pgwitness(SESSION, lying, "--all")[1]


def test_for_programs(pgwitness: Command, lying: str) -> None:
    code, out, _ = pgwitness(SESSION, lying, "--format", "jsonl")
    summary, *findings = [json.loads(each) for each in out.splitlines()]
    assert code == 1
    assert (summary["type"], summary["verdict"]) == ("summary", "differs")
    assert summary["counts"] == {"altered": 1, "unclaimed": 1, "matched": 9}
    altered = next(each for each in findings if each["kind"] == "altered")
    assert altered["claim"]["place"] == "line 2"
    assert altered["record"]["seq"] == 7
    assert altered["differences"] == [
        {"kind": "altered", "what": "value of region in WHERE", "claimed": "'east'", "recorded": "'west'"}
    ]
    code, out, _ = pgwitness(SESSION, lying, "--format", "json")
    assert json.loads(out) == {**summary, "findings": findings}


def test_what_is_no_testimony(pgwitness: Command, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_text("06:45 INFO ran UPDATE orders SET status = 'void'\n")
    for content, why in (
        ("06:45 INFO ran UPDATE orders\n", "neither JSON nor CSV"),
        ("", "is empty"),
        ('{"a": 1', "is no JSON"),
        ('{"hello": "world"}', "nothing in it says what SQL was run"),
    ):
        log.write_text(content)
        code, out, err = pgwitness(SESSION, str(log))
        assert (code, out) == (2, ""), content
        assert why in err.splitlines()[0]
    assert pgwitness(SESSION, str(tmp_path / "none"))[0] == 2
    assert pgwitness(SESSION)[0] == 2
    assert pgwitness("--run", "run-81", SESSION, str(log))[0] == 2


def test_no_such_session_or_run(pgwitness: Command, honest: str) -> None:
    assert pgwitness("ffff", honest)[0] == 1
    code, _, err = pgwitness("--run", "nothing", honest)
    assert code == 1 and "no session of run 'nothing'" in err


def test_an_open_session_matches_nothing(pgwitness: Command, tmp_path: Path) -> None:
    path = tmp_path / "honest.jsonl"
    path.write_bytes(plain(STORY[:2], in_place))
    code, out, _ = pgwitness("--run", "run-82", str(path))
    assert code == 1
    assert "INCOMPLETE" in out and "still open" in out


def test_who_asked_is_on_record(pgwitness: Command, honest: str, capsys: pytest.CaptureFixture[str]) -> None:
    pgwitness(SESSION, honest)
    assert run(["audit", "--action", "read", "--format", "jsonl"]) == 0
    lines = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert any(each["action"] == "read.claims" and each["subject"] == SESSION for each in lines)
