"""A head in other hands gives away a log that was cut off or written anew."""

from pathlib import Path

import pytest

from pgwitness.errors import RecordBroken
from pgwitness.record.heads import HeadKeeper, Verdict
from support.trees import Log


@pytest.fixture
def log() -> Log:
    return Log().grow(300)


def test_heads_that_extend_each_other_are_kept_one_after_the_other(tmp_path: Path, log: Log) -> None:
    keeper = HeadKeeper(tmp_path, log.verifier)
    assert keeper.size == 0 and keeper.head is None
    for size in (1, 2, 7, 8, 255, 256, 257, 300):
        judgement = keeper.check(log.head(size), log.proof(keeper.size, size))
        assert judgement.verdict is Verdict.extends and judgement.text == ""
        assert (keeper.size, keeper.head) == (size, log.head(size))
    assert keeper.check(log.head()).verdict is Verdict.same


def test_it_remembers_over_a_restart(tmp_path: Path, log: Log) -> None:
    HeadKeeper(tmp_path, log.verifier).check(log.head(100))
    keeper = HeadKeeper(tmp_path)
    assert keeper.knows_key and keeper.size == 100
    assert keeper.check(log.head(99)).verdict is Verdict.rolled_back
    assert keeper.check(log.head(), log.proof(100)).verdict is Verdict.extends


def test_a_log_that_was_cut_off(tmp_path: Path, log: Log) -> None:
    keeper = HeadKeeper(tmp_path, log.verifier)
    keeper.check(log.head())
    judgement = keeper.check(log.head(200))
    assert judgement.verdict is Verdict.rolled_back and not judgement.verdict.sound
    assert "had 300 entries and now has 200" in judgement.text
    assert keeper.head == log.head()
    assert (tmp_path / "unsound").read_bytes() == log.head(200)


@pytest.mark.parametrize("changed", [0, 150, 299])
@pytest.mark.parametrize("size", [300, 301, 600])
def test_a_log_that_was_written_anew(tmp_path: Path, log: Log, changed: int, size: int) -> None:
    keeper = HeadKeeper(tmp_path, log.verifier)
    keeper.check(log.head())
    forged = Log().grow(size)
    forged.leaves[changed] = b"forged"
    judgement = keeper.check(forged.head(), forged.proof(300))
    assert judgement.verdict is Verdict.forked and judgement.text
    assert keeper.size == 300


def test_a_proof_is_needed_and_must_fit(tmp_path: Path, log: Log) -> None:
    keeper = HeadKeeper(tmp_path, log.verifier)
    keeper.check(log.head(100))
    assert keeper.check(log.head(200)).verdict is Verdict.forked
    assert keeper.check(log.head(200), log.proof(100, 201)).verdict is Verdict.forked
    assert keeper.check(log.head(200), [*log.proof(100, 200), bytes(32)]).verdict is Verdict.forked
    assert keeper.check(log.head(200), log.proof(100, 200)).verdict is Verdict.extends


def test_signed_by_another_key_or_by_none(tmp_path: Path, log: Log) -> None:
    keeper = HeadKeeper(tmp_path, log.verifier)
    other = Log(*log.leaves, seed=b"other")
    assert keeper.check(other.head()).verdict is Verdict.not_ours
    assert keeper.check(Log(*log.leaves, name="pgwitness/other").head()).verdict is Verdict.not_ours
    assert keeper.check(b"no note").verdict is Verdict.not_ours
    flipped = bytearray(log.head())
    flipped[20] ^= 1
    assert keeper.check(bytes(flipped)).verdict is Verdict.not_ours
    assert keeper.size == 0 and not (tmp_path / "unsound").exists()


def test_nothing_is_believed_without_a_key(tmp_path: Path, log: Log) -> None:
    keeper = HeadKeeper(tmp_path)
    assert not keeper.knows_key
    assert keeper.check(log.head()).verdict is Verdict.not_ours


def test_the_first_key_stays(tmp_path: Path, log: Log) -> None:
    HeadKeeper(tmp_path, log.verifier)
    other = Log(*log.leaves, seed=b"other")
    assert HeadKeeper(tmp_path, other.verifier).check(other.head()).verdict is Verdict.not_ours
    with pytest.raises(RecordBroken):
        HeadKeeper(tmp_path / "new", "no key")
