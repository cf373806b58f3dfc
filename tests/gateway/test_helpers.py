"""A process beside the gateway is kept running, and nothing else depends on it."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from pgwitness.gateway.helpers import Helper


async def test_restarted_when_it_dies(tmp_path: Path) -> None:
    mark = tmp_path / "marks"
    code = f"open({str(mark)!r}, 'a').write('x')"
    keeper = Helper("one", [sys.executable, "-c", code])
    keeper.start()
    for _ in range(200):
        if mark.exists() and len(mark.read_text()) >= 2:
            break
        await asyncio.sleep(0.05)
    assert len(mark.read_text()) >= 2 and keeper.restarts >= 1
    await keeper.stop()
    assert not keeper.running


async def test_stopped_in_order() -> None:
    obeys = Helper("one", [sys.executable, "-c", "import time; time.sleep(60)"])
    obeys.start()
    await asyncio.sleep(0.3)
    assert obeys.running
    await obeys.stop()
    assert not obeys.running


@pytest.mark.parametrize(("code", "level"), [("0", "info"), ("1", "error")])
async def test_an_end_in_order_is_no_error(code: str, level: str) -> None:
    with structlog.testing.capture_logs() as logs:
        helper = Helper("one", [sys.executable, "-c", f"raise SystemExit({code})"])
        helper.start()
        await _until(lambda: helper.restarts > 0)
        await helper.stop()
    assert (logs[0]["event"], logs[0]["log_level"]) == ("helper_stopped", level)


async def test_a_program_that_is_not_there() -> None:
    keeper = Helper("one", ["/no/such/program"])
    keeper.start()
    await asyncio.sleep(0.1)
    assert not keeper.running and keeper.restarts == 1
    await keeper.stop()


async def test_killed_when_it_does_not_stop() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(60)"
    deaf = Helper("one", [sys.executable, "-c", code], stop_seconds=0.2)
    deaf.start()
    await asyncio.sleep(0.3)
    await deaf.stop()
    assert not deaf.running


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def test_one_that_finishes_does_so_whatever_the_moment(tmp_path: Path) -> None:
    mark = tmp_path / "finished"
    code = f"""
import signal, time
def finish(*_):
    open({str(mark)!r}, "a").write("x")
    raise SystemExit
time.sleep(0.2)
signal.signal(signal.SIGTERM, finish)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
time.sleep(60)
"""
    just_started = Helper("one", [sys.executable, "-c", code], finishes=True)
    just_started.start()
    await _until(lambda: just_started.running)
    await just_started.stop()
    assert mark.read_text() == "x"
    fails_at_first = f"open({str(tmp_path / 'go')!r})\n{code}"
    crashed = Helper("one", [sys.executable, "-c", fails_at_first], finishes=True)
    crashed.start()
    await _until(lambda: crashed.restarts > 0)
    (tmp_path / "go").touch()
    await crashed.stop()
    assert mark.read_text() == "xx"


async def test_none_is_started_with_the_signals_that_another_holds_back(tmp_path: Path) -> None:
    ours = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    code = """
import pathlib, sys, time
status = pathlib.Path("/proc/self/status").read_text()
pathlib.Path(sys.argv[1]).write_text(next(line for line in status.splitlines() if line.startswith("SigBlk")))
time.sleep(60)
"""
    marks = [tmp_path / str(number) for number in range(4)]
    helpers = [
        Helper("one", [sys.executable, "-c", code, str(mark)], stop_seconds=0.2, finishes=bool(number % 2))
        for number, mark in enumerate(marks)
    ]
    for helper in helpers:
        helper.start()
    await _until(lambda: all(mark.exists() and mark.read_text() for mark in marks))
    blocked = [bool(int(mark.read_text().split()[1], 16) >> (signal.SIGTERM - 1) & 1) for mark in marks]
    assert blocked == [False, True, False, True]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == ours
    for helper in helpers:
        await helper.stop()
