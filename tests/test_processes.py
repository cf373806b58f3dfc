"""One of a kind works on a state directory; who asks for it is in nobody's way."""

import os
import threading
from pathlib import Path

import pytest

from pgwitness.errors import ConflictError
from pgwitness.processes import holder, only_one


def test_a_second_one_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert holder(lock) is None
    with only_one(lock, "works here"):
        assert holder(lock) == os.getpid()
        with (
            pytest.raises(ConflictError, match=f"process {os.getpid()} already works here"),
            only_one(lock, "works here"),
        ):
            pass
    assert holder(lock) is None


def test_asking_for_the_holder_keeps_nobody_out(tmp_path: Path) -> None:
    lock, done = tmp_path / "lock", threading.Event()

    def ask() -> None:
        while not done.is_set():
            holder(lock)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(200):
            with only_one(lock, "works here"):
                pass
    finally:
        done.set()
        for thread in asking:
            thread.join()
