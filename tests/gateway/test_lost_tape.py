"""A tape that is gone costs what was on it only, and not in silence."""

import shutil
from pathlib import Path

from pgwitness._core import Tape
from pgwitness.gateway.lost_tape import begin_above_what_is_known
from pgwitness.index.catchup import catch_up
from pgwitness.index.filters import Filters
from pgwitness.index.status import index_status
from pgwitness.index.store import IndexReader
from support import tapes
from support.gateway import Gateway
from support.servers import Server
from support.waiting import wait_until


def test_a_tape_that_is_there_is_left_alone(tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    assert begin_above_what_is_known(tmp_path, tape) is None and not tape.exists()
    tapes.record(tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1"))
    catch_up(tmp_path)
    assert begin_above_what_is_known(tmp_path, tape) is None
    assert [path.name for path in tape.glob("*.tape")] == ["0000000001.tape"]


def test_the_index_outlives_the_tape(tmp_path: Path) -> None:
    tapes.record(tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1").ended())
    catch_up(tmp_path)
    shutil.rmtree(tmp_path / "tape")
    assert "the tape is gone: segment 1" in index_status(tmp_path)["problems"][0]["problem"]
    assert begin_above_what_is_known(tmp_path, tmp_path / "tape") == 1
    tape = Tape(tmp_path / "tape", segment_bytes=1 << 22)
    assert (tape.recovery, tape.position >> 32) == (None, 3)
    tape.record(b'{"event":"started"}')
    tape.close()
    catch_up(tmp_path)
    assert begin_above_what_is_known(tmp_path, tmp_path / "tape") is None
    reader = IndexReader(tmp_path)
    assert [each.statements for each in reader.sessions(Filters()).items] == [1]
    reader.close()
    assert [each["problem"] for each in index_status(tmp_path)["problems"]] == ["segment 1 is missing"]


def test_a_gateway_goes_on_without_the_tape(gateway: Gateway, server15: Server, state: Path) -> None:
    gateway.add_connection("shop", server15)
    gateway.add_identity("agent", "shop")
    with gateway.connect("agent", "shop") as connection:
        connection.execute("SELECT 'before'")
    gateway.sessions(wait_for=lambda found: bool(found) and found[0]["ended_at"] is not None)
    gateway.terminate()
    shutil.rmtree(state / "tape")
    gateway.start()
    wait_until(lambda: "tape_lost" in gateway.log)
    with gateway.connect("agent", "shop") as connection:
        connection.execute("SELECT 'after'")
    found = gateway.statements("--match", "SELECT '", wait_for=lambda found: len(found) == 2)
    assert [each["sql"] for each in found] == ["SELECT 'before'", "SELECT 'after'"]
