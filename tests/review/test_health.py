"""Whether the recorder is well, in figures and in words."""

from pathlib import Path

import pytest

from pgwitness.index.catchup import catch_up
from pgwitness.review import health
from pgwitness.review.health import recorder_health
from support import tapes


@pytest.fixture
def recorded(state: Path) -> Path:
    """One session on the tape, in no index and no signed record yet."""
    tapes.record(state, tapes.dialogue(1).run("SELECT 1", "SELECT 1").ended())
    return state


def test_what_is_behind_is_counted(recorded: Path) -> None:
    found = recorder_health(recorded, sealing=True)
    assert found.index_lag_bytes > 0 and found.seal_lag_bytes > 0
    assert found.checkpoint_at is None and found.entries == 0
    assert found.tape_bytes == sum(each.stat().st_size for each in (recorded / "tape").iterdir())
    assert found.free_bytes > 0
    catch_up(recorded)
    assert recorder_health(recorded, sealing=True).index_lag_bytes == 0


def test_what_needs_somebody_is_said_in_words(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(health, "LITTLE_ROOM", 1 << 60)
    said = recorder_health(recorded, sealing=True).problems
    assert [each.split(" behind")[0].split(" is ")[0] for each in said[:2]] == [
        "the index",
        "the sealed record",
    ]
    assert "are free on the disk" in said[2]
    assert len(recorder_health(recorded, sealing=False).problems) == 2, "nobody is told to mind the sealer"


def test_a_state_directory_with_nothing_in_it_is_well(state: Path) -> None:
    found = recorder_health(state, sealing=True)
    assert found.problems == [] and found.tape_bytes == 0
