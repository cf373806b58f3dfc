"""The process that delivers: killed at any moment, with receivers that are slow, away, or refuse."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pgwitness.config.sinks import AnySink, FileSink, WebhookSink
from pgwitness.errors import ConflictError
from pgwitness.sinks import courier
from pgwitness.sinks.process import SinksProcess
from pgwitness.sinks.status import NOBODY, sinks_status
from support import tapes
from support.receivers import HttpReceiver, Posted
from support.tapes import Recording, dialogue
from support.waiting import wait_until

STATEMENTS = 60


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    made = HttpReceiver().start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(courier, "LONGEST_PAUSE", 0.2)


def talks(sessions: int, statements: int) -> list[Any]:
    made = []
    for number in range(1, sessions + 1):
        talk = dialogue(number)
        for seq in range(statements):
            talk.run(f"UPDATE a SET b = {seq}", "UPDATE 1")
        made.append(talk.ended())
    return made


def expected(recording: Recording, statements: int) -> list[str]:
    ids = []
    for talk in recording.dialogues:
        session = json.loads(talk.frames[0][5])["session"]
        ids += [f"{session}/{name}" for name in ("start", *range(1, statements + 1), "end")]
    return ids


def catch_up(state: Path) -> None:
    tapes.index(state).close()


@contextmanager
def delivering(state: Path, **sinks: AnySink) -> Iterator[SinksProcess]:
    process = SinksProcess(state, sinks, 0)
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        yield process
    finally:
        process.stop()
        thread.join(20)
        assert not thread.is_alive()


def webhook(receiver: HttpReceiver, **more: Any) -> WebhookSink:
    return WebhookSink(kind="webhook", url=SecretStr(receiver.url), timeout_seconds=2, **more)


def spawn(state: Path, config: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pgwitness.sinks", "--state", str(state), "--nice", "0"]
    environment = {**os.environ, "PGWITNESS_CONFIG": str(config)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def in_order(ids: list[str], wanted: list[str]) -> None:
    """All that is wanted came, each for the first time in its session's order, and nothing else did."""
    assert set(ids) == set(wanted)
    first = list(dict.fromkeys(ids))
    for session in {id.split("/")[0] for id in wanted}:
        assert [id for id in first if id.startswith(session)] == [
            id for id in wanted if id.startswith(session)
        ]


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_any_moment(tmp_path: Path, receiver: HttpReceiver, rounds: int) -> None:
    """A slow webhook and a file, while the tape grows."""
    chance = random.Random(11)
    config = tmp_path / "config.toml"
    out = tmp_path / "out.jsonl"
    config.write_text(
        f'[sinks.web]\nkind = "webhook"\nurl = "{receiver.url}"\n'
        f'[sinks.file]\nkind = "file"\npath = "{out}"\nfsync = false\n'
    )

    killed = threading.Event()

    def slowly(_: Posted) -> Any:
        """The first batch is taken and never answered."""
        time.sleep(chance.random() * 0.05)
        killed.wait(20)
        return 200, {}, b""

    receiver.behaviour = slowly
    with Recording(tmp_path, talks(2 * rounds, STATEMENTS)) as recording:
        process = spawn(tmp_path, config)
        try:
            for round in range(rounds):
                for number in range(round * 2, round * 2 + 2):
                    recording.put(number)
                catch_up(tmp_path)
                seen = receiver.asked
                wait_until(lambda seen=seen: receiver.asked > seen)  # type: ignore[misc]
                time.sleep(chance.random() * 0.04)  # the moment of the kill is the point
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed.set()
                process = spawn(tmp_path, config)
            wanted = expected(recording, STATEMENTS)
            wait_until(lambda: set(receiver.ids) >= set(wanted))
            wait_until(lambda: len(_file_ids(out)) >= len(wanted) and set(_file_ids(out)) >= set(wanted))
        finally:
            process.kill()
            process.wait()
    in_order(receiver.ids, wanted)
    assert len(receiver.ids) > len(wanted), "no double: the test did not test"
    in_order(_file_ids(out), wanted)


def _file_ids(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [json.loads(line)["id"] for line in path.read_text().splitlines() if line.endswith("}")]


def test_a_receiver_that_is_away_gets_everything_later_and_delays_no_other(
    tmp_path: Path, receiver: HttpReceiver
) -> None:
    out = tmp_path / "out.jsonl"
    receiver.stop()
    with Recording(tmp_path, talks(3, 5)) as recording:
        with delivering(tmp_path, web=webhook(receiver), file=FileSink(kind="file", path=out)):
            recording.put_all()
            catch_up(tmp_path)
            wanted = expected(recording, 5)
            wait_until(lambda: len(_file_ids(out)) == len(wanted))
            sinks = {"web": webhook(receiver), "file": FileSink(kind="file", path=out)}
            wait_until(lambda: sinks_status(tmp_path, sinks)[0]["error"])
            web, file = sinks_status(tmp_path, sinks)
            assert "cannot be reached" in web["error"] and web["delivered"] == 0
            assert web["lag_seconds"] > 0 and web["failing_since"]
            wait_until(lambda: sinks_status(tmp_path, sinks)[1]["delivered"] == len(wanted))
            assert file["error"] is None
            receiver.start()
            wait_until(lambda: sinks_status(tmp_path, sinks)[0]["delivered"] == len(wanted))
            web = sinks_status(tmp_path, sinks)[0]
            assert web["error"] is None and web["lag_seconds"] == 0 and web["failing_since"] is None
        assert receiver.ids == wanted
    assert sinks_status(tmp_path, sinks)[0]["error"] == NOBODY


def test_a_batch_that_is_too_large_goes_in_parts(tmp_path: Path, receiver: HttpReceiver) -> None:
    receiver.behaviour = lambda posted: (413 if len(posted.lines) > 2 else 200, {}, b"")
    with Recording(tmp_path, talks(1, 9)) as recording, delivering(tmp_path, web=webhook(receiver)):
        recording.put_all()
        catch_up(tmp_path)
        wanted = expected(recording, 9)
        wait_until(lambda: receiver.ids == wanted)
        assert max(len(posted.lines) for posted in receiver.taken) == 2


def test_an_item_that_is_too_large_by_itself_goes_as_a_stub(tmp_path: Path, receiver: HttpReceiver) -> None:
    receiver.behaviour = lambda posted: (413 if len(posted.body) > 3000 else 200, {}, b"")
    talk = dialogue(1).run("SELECT 1", "SELECT 1").run(f"SELECT '{'x' * 5000}'", "SELECT 1")
    sinks = webhook(receiver, sql="whole")
    recording = Recording(tmp_path, [talk.run("SELECT 2", "SELECT 1").ended()])
    with recording, delivering(tmp_path, web=sinks):
        recording.put_all()
        catch_up(tmp_path)
        wait_until(lambda: receiver.ids == expected(recording, 3))
    documents = {each["id"]: each for posted in receiver.taken for each in posted.lines}
    large = next(each for id, each in documents.items() if id.endswith("/2"))
    assert (large["type"], large["seq"], large["sql"], large["truncated"]) == ("statement", 2, "", True)
    assert large["transaction"]["outcome"] == "committed"


def test_a_refusal_holds_up_and_nothing_is_skipped(tmp_path: Path, receiver: HttpReceiver) -> None:
    refused: list[int] = []

    def twice_refused(posted: Posted) -> Any:
        refused.append(len(posted.lines))
        return 400 if len(refused) < 3 else 200, {}, b""

    receiver.behaviour = twice_refused
    with Recording(tmp_path, talks(1, 3)) as recording, delivering(tmp_path, web=webhook(receiver)):
        recording.put_all()
        catch_up(tmp_path)
        wait_until(lambda: receiver.ids == expected(recording, 3))
    assert len(refused) == 3


def test_told_to_stop_the_process_ends_in_order(tmp_path: Path, receiver: HttpReceiver) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[sinks.web]\nkind = "webhook"\nurl = "{receiver.url}"\n')
    process = spawn(tmp_path, config)
    wait_until(lambda: (tmp_path / "sinks" / "report.json").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_stopped_it_delivers_what_there_is(tmp_path: Path, receiver: HttpReceiver) -> None:
    with Recording(tmp_path, talks(2, 3)) as recording:
        recording.put_all()
        catch_up(tmp_path)
        with delivering(tmp_path, web=webhook(receiver)):
            pass
        assert receiver.ids == expected(recording, 3)


def test_one_process_at_a_time(tmp_path: Path, receiver: HttpReceiver) -> None:
    with delivering(tmp_path, web=webhook(receiver)) as _:
        wait_until(lambda: sinks_status(tmp_path, {"web": webhook(receiver)})[0]["error"] is None)
        with pytest.raises(ConflictError, match="already delivers"):
            SinksProcess(tmp_path, {}, 0).run()


def test_a_damaged_position_stops_that_sink_alone(tmp_path: Path, receiver: HttpReceiver) -> None:
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / "file.sqlite").write_text("nonsense" * 1000)
    sinks: dict[str, AnySink] = {
        "file": FileSink(kind="file", path=tmp_path / "out"),
        "web": webhook(receiver),
    }
    with Recording(tmp_path, talks(1, 3)) as recording, delivering(tmp_path, **sinks):
        recording.put_all()
        catch_up(tmp_path)
        wait_until(lambda: receiver.ids == expected(recording, 3))
        assert "if it is damaged, remove it" in sinks_status(tmp_path, sinks)[0]["error"]


def test_an_index_that_cannot_be_read_is_said_and_waited_for(tmp_path: Path, receiver: HttpReceiver) -> None:
    (tmp_path / "index-1.sqlite").write_text("nonsense" * 1000)
    (tmp_path / "index.sqlite").symlink_to("index-1.sqlite")
    sinks = {"web": webhook(receiver)}
    with Recording(tmp_path, talks(1, 3)) as recording, delivering(tmp_path, **sinks):
        wait_until(lambda: sinks_status(tmp_path, sinks)[0]["error"] not in (None, NOBODY))
        (tmp_path / "index.sqlite").unlink()
        recording.put_all()
        catch_up(tmp_path)
        wait_until(lambda: receiver.ids == expected(recording, 3))
