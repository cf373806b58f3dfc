"""Broken off at any of its file-system calls, the sealer goes on as if nothing had been: what it signed for
is there, nothing is lost, nothing is there twice.
"""

import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.record.chunks import Frame
from pgwitness.record.heads import judge
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from support import faulty_files
from support.faulty_files import CountingFiles, Instead, PowerCut, VolatileFiles, copy_of
from support.sealing_faults import check, make_state, work

Base = tuple[Path, list[Frame]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    state = tmp_path_factory.mktemp("base")
    return state, make_state(state)


@pytest.fixture(scope="module")
def calls(base: Base, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the work does when nothing fails."""
    state = copy_of(base[0], tmp_path_factory.mktemp("calls") / "state")
    files = CountingFiles()
    work(state, files)
    check(state, base[1])
    return files.log


def test_every_kind_of_call_is_in_it(calls: list[str]) -> None:
    of_others = {"truncate", "punch"}  # of starting again, and of erasure
    assert set(faulty_files.CALLS) - set(calls) <= of_others
    assert len(calls) > 150, len(calls)


EVERY = [pytest.param(1, marks=pytest.mark.slow), 7]
"""All calls in the slow tier, some of them always."""


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.timeout(1200)
class TestAtEachCall:
    def test_killed(self, every: int, calls: list[str], base: Base, tmp_path: Path) -> None:
        for number, state in _copies(range(1, len(calls) + 1, every), tmp_path, base):
            child = os.fork()
            if child == 0:
                try:
                    work(state, CountingFiles(number, faulty_files.kill))
                finally:
                    os._exit(1)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (number, status)
            _assert_goes_on(state, base)

    def test_no_space(self, every: int, calls: list[str], base: Base, tmp_path: Path) -> None:
        _fail_at(range(2, len(calls) + 1, every), faulty_files.ENOSPC, errno.ENOSPC, base, tmp_path)

    def test_input_output_error(self, every: int, calls: list[str], base: Base, tmp_path: Path) -> None:
        _fail_at(range(3, len(calls) + 1, every), faulty_files.EIO, errno.EIO, base, tmp_path)

    def test_power_cut(self, every: int, calls: list[str], base: Base, tmp_path: Path) -> None:
        """On a disk that keeps nothing unless it was synced: the order of the writes saves the record."""
        for number, state in _copies(range(4, len(calls) + 1, every), tmp_path, base):
            disk = VolatileFiles(state, number)
            with pytest.raises(PowerCut):
                work(state, disk)
            after = tmp_path / f"{number}-after"
            disk.power_cut(after)
            _assert_goes_on(after, base)
            shutil.rmtree(after)


def _fail_at(numbers: range, instead: Instead, code: int, base: Base, tmp_path: Path) -> None:
    for number, state in _copies(numbers, tmp_path, base):
        files = CountingFiles(number, instead)
        # Or not raised: while a writer that is done with is closed, nobody is told.
        with contextlib.suppress(OSError):
            work(state, files)
        assert files.failed == code, number
        _assert_goes_on(state, base)


def _copies(numbers: range, tmp_path: Path, base: Base) -> Iterator[tuple[int, Path]]:
    for number in numbers:
        state = copy_of(base[0], tmp_path / str(number))
        yield number, state
        shutil.rmtree(state)


def _assert_goes_on(state: Path, base: Base) -> None:
    """A new sealer finishes the work, and whoever saw the last head sees a log that goes on from there."""
    layout = Layout(state / "record")
    before, _ = parse_checkpoint(layout.checkpoint.read_bytes())
    work(state, CountingFiles())
    log = LogReader(layout)
    assert judge(before, log.checkpoint, log.consistency_proof(before.size)).verdict.sound
    check(state, base[1])
