"""What a connector says to heads that it is shown."""

from pathlib import Path

import pytest

from pgwitness.connector.heads import PATIENCE, HeadWatch, heads_directory
from pgwitness.wire.tunnel import Disputed, Head, Prove
from support.trees import Log


def shown(log: Log, old: int = 0) -> Head:
    return Head(log.head(), log.verifier, old, log.proof(old) if old else [])


@pytest.fixture
def log() -> Log:
    return Log().grow(40)


@pytest.fixture
def watch(tmp_path: Path, log: Log) -> HeadWatch:
    """One that has seen the log."""
    watch = HeadWatch(tmp_path)
    assert watch.look(shown(log)) is None
    return watch


def test_heads_that_go_on_are_taken(watch: HeadWatch, log: Log) -> None:
    assert watch.look(shown(log.grow(3), 40)) is None
    assert watch.look(shown(log, 43)) is None
    assert watch.look(shown(log.grow(500), 43)) is None


def test_it_asks_for_a_proof_from_where_it_is(watch: HeadWatch, log: Log) -> None:
    log.grow(10)
    assert watch.look(shown(log, 7)) == Prove(40)
    assert watch.look(shown(log, 40)) is None


def test_it_asks_after_a_restart(watch: HeadWatch, log: Log, tmp_path: Path) -> None:
    anew = HeadWatch(tmp_path)
    assert anew.look(shown(log.grow(10))) == Prove(40)
    assert anew.look(shown(log, 40)) is None


def test_but_not_for_ever(watch: HeadWatch, log: Log) -> None:
    log.grow(10)
    for _ in range(PATIENCE):
        assert watch.look(shown(log, 7)) == Prove(40)
    said = watch.look(shown(log, 7))
    assert isinstance(said, Disputed) and said.verdict == "forked"


def test_a_log_that_was_cut_off_is_disputed_once(watch: HeadWatch, log: Log) -> None:
    kept = log.head()
    shorter = Log().grow(30)
    said = watch.look(shown(shorter))
    assert isinstance(said, Disputed)
    assert (said.verdict, said.kept, said.offered) == ("rolled_back", kept, shorter.head())
    assert watch.look(shown(shorter)) is None
    # Another offence is another dispute; and so is the same one after all was well.
    forged = Log(b"forged", *log.leaves[1:]).grow(5)
    assert watch.look(shown(forged, 40)).verdict == "forked"  # type: ignore[union-attr]
    assert watch.look(shown(log, 40)) is None
    assert isinstance(watch.look(shown(shorter)), Disputed)


def test_a_log_of_another_key_is_disputed(watch: HeadWatch, log: Log) -> None:
    said = watch.look(shown(Log(*log.leaves, seed=b"other"), 40))
    assert isinstance(said, Disputed) and said.verdict == "not_ours"


def test_what_cannot_be_kept_is_no_dispute(tmp_path: Path, log: Log) -> None:
    (tmp_path / "file").touch()
    assert HeadWatch(tmp_path / "file").look(shown(log)) is None


def test_each_gateway_has_a_place_of_its_own(tmp_path: Path) -> None:
    assert heads_directory(tmp_path, "one") != heads_directory(tmp_path, "other")
