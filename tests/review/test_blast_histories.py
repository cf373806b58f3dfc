"""The blast radius of generated histories against a model of what a server keeps of them."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness.index.filters import Filters
from pgwitness.review.blast import blast_radius
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import error, ready

ONE = str(tapes.session_id(1))
_TABLES = ("a", "b")
_WORDS = {
    "INSERT": ("INSERT INTO {} VALUES (1)", "INSERT 0 {}"),
    "UPDATE": ("UPDATE {} SET x = 1", "UPDATE {}"),
    "DELETE": ("DELETE FROM {}", "DELETE {}"),
}
_STEPS = st.one_of(
    st.tuples(st.sampled_from([*_WORDS]), st.sampled_from(_TABLES), st.integers(0, 9)),
    st.tuples(st.sampled_from(["begin", "commit", "rollback", "savepoint", "back", "error", "read"])),
)


class Model:
    """What a server would keep of it."""

    def __init__(self) -> None:
        self.talk = tapes.dialogue(1)
        self.kept: Counter[tuple[str, str]] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()
        self.block: list[tuple[tuple[str, str], int]] | None = None
        self.saved: int | None = None
        self.broken = False

    @property
    def status(self) -> bytes:
        return b"I" if self.block is None else b"E" if self.broken else b"T"

    def take(self, step: tuple[Any, ...]) -> None:
        name = step[0]
        if name in _WORDS:
            self.write(*step)
        else:
            getattr(self, name)()

    def write(self, verb: str, table: str, rows: int) -> None:
        if self.broken:
            return self.error()
        sql, tag = _WORDS[verb]
        key = (f"public.{table}", verb)
        if self.block is None:
            self.kept[key] += rows
        else:
            self.block.append((key, rows))
        self.talk.run(sql.format(table), tag.format(rows), self.status)
        return None

    def begin(self) -> None:
        if self.block is None:
            self.block, self.saved = [], None
            self.talk.run("BEGIN", "BEGIN", b"T")

    def commit(self) -> None:
        if self.block is None:
            return
        (self.lost if self.broken else self.kept).update(self._sums(self.block))
        tag = "ROLLBACK" if self.broken else "COMMIT"
        self.block, self.broken = None, False
        self.talk.run("COMMIT", tag)

    def rollback(self) -> None:
        if self.block is None:
            return
        self.lost.update(self._sums(self.block))
        self.block, self.broken = None, False
        self.talk.run("ROLLBACK", "ROLLBACK")

    def savepoint(self) -> None:
        if self.block is not None and not self.broken:
            self.saved = len(self.block)
            self.talk.run("SAVEPOINT s", "SAVEPOINT", b"T")

    def back(self) -> None:
        if self.block is not None and self.saved is not None:
            self.lost.update(self._sums(self.block[self.saved :]))
            del self.block[self.saved :]
            self.broken = False
            self.talk.run("ROLLBACK TO s", "ROLLBACK", b"T")

    def error(self) -> None:
        self.broken = self.block is not None
        self.talk.client(query("UPDATE a SET x = 1/0")).server(error(), ready(self.status))

    def read(self) -> None:
        if not self.broken:
            self.talk.run("SELECT x FROM a", "SELECT 3", self.status)

    def end(self, doubt: bool) -> None:
        """In mid-transaction, or ``doubt``: between COMMIT and its answer."""
        if self.block is not None:
            self.lost.update(self._sums(self.block))
            if doubt:
                self.talk.client(query("COMMIT"))
        self.talk.ended("connection_lost")

    @staticmethod
    def _sums(block: list[tuple[tuple[str, str], int]]) -> Counter[tuple[str, str]]:
        sums: Counter[tuple[str, str]] = Counter()
        for key, rows in block:
            sums[key] += rows
        return sums


@settings(max_examples=25, deadline=None)
@given(st.lists(_STEPS, max_size=40), st.booleans())
def test_generated_histories_add_up(steps: list[tuple[Any, ...]], doubt: bool) -> None:
    model = Model()
    for step in steps:
        model.take(step)
    in_doubt = doubt and not model.broken and model.block is not None
    model.end(doubt)
    with tempfile.TemporaryDirectory() as directory:
        tapes.record(Path(directory), model.talk)
        reader = tapes.index(Path(directory))
        found = blast_radius(reader, Filters(session=ONE))
        reader.close()

    def sums(of: str) -> dict[tuple[str, str], int]:
        counted: Counter[tuple[str, str]] = Counter()
        for each in found[of]:
            counted[each["table"], each["command"]] += each["rows"]
        return {key: rows for key, rows in counted.items() if rows}

    assert sums("writes") == {key: rows for key, rows in model.kept.items() if rows}
    assert sums("not_committed") == {key: rows for key, rows in model.lost.items() if rows}
    assert not any(each["uncounted"] for each in found["writes"] + found["not_committed"])
    outcomes = {each["outcome"] for each in found["not_committed"]}
    assert outcomes <= ({"rolled_back", "in_doubt"} if in_doubt else {"rolled_back"})
