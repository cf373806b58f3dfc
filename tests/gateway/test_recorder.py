"""What the gateway itself writes to the tape."""

import time
from pathlib import Path

import pytest

from pgwitness.gateway.recorder import Recorder, Throttle, new_session_id
from pgwitness.state_lock import StateLock


def test_session_ids_sort_by_time() -> None:
    ids = [new_session_id()]
    time.sleep(0.002)
    ids.append(new_session_id())
    assert ids == sorted(ids) and all(one.version == 7 and one.variant.startswith("spec") for one in ids)
    assert abs((ids[0].int >> 80) / 1000 - time.time()) < 5


def test_a_flood_is_counted_not_recorded() -> None:
    throttle = Throttle(rate=10, burst=3)
    assert [throttle.take(100.0) for _ in range(5)] == [0, 0, 0, None, None]
    assert throttle.take(100.05) is None
    assert throttle.take(100.2) == 3
    assert throttle.take(200.0) == 0


def test_events_that_cannot_be_recorded_do_not_fail_the_caller(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "tape", segment_bytes=4 << 20, durability="process")
    recorder.note({"event": "one"})
    recorder.close()
    recorder.note({"event": "two"})
    recorder.refused({"event": "three"})


def test_the_state_lock_is_given_back(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "state")
    lock.release()
    StateLock(tmp_path / "state").release()
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="cannot be used"):
        StateLock(tmp_path / "file")
