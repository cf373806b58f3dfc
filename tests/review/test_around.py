"""What stood around a statement: its neighbours in its session, and on its connection."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgwitness.index.filters import Filters, Scope
from pgwitness.index.store import IndexReader
from pgwitness.review.around import Around, in_session, on_connection
from support import tapes

ONE = str(tapes.session_id(1))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[IndexReader]:
    """Two sessions of one connection by turns, and one of another connection between them."""
    talks = [
        tapes.dialogue(1),
        tapes.dialogue(2, identity="ann"),
        tapes.dialogue(3, connection="billing"),
    ]
    for number, talk in enumerate(talks, 1):
        for n in range(1, 6):
            talk.run(f"SELECT {number}.{n}", "SELECT 1")
    with tapes.Recording(tmp_path, talks) as recording:
        recording.put_all([0, 1, 2] + [n for n in (0, 1, 2) for _ in (0, 1)] * 5)
    reader = tapes.index(tmp_path)
    yield reader
    reader.close()


def _told(around: Around) -> tuple[list[str], list[str]]:
    before, after = (
        [each.sql.removeprefix("SELECT ") for each in part] for part in (around.before, around.after)
    )
    return before, after


def test_in_its_session(reader: IndexReader) -> None:
    assert _told(in_session(reader, reader.statement(ONE, 3), 2)) == (["1.1", "1.2"], ["1.4", "1.5"])
    assert _told(in_session(reader, reader.statement(ONE, 1), 2)) == ([], ["1.2", "1.3"])
    assert _told(in_session(reader, reader.statement(ONE, 5), 9)) == (["1.1", "1.2", "1.3", "1.4"], [])


def test_on_its_connection_in_the_order_of_the_server(reader: IndexReader) -> None:
    around = on_connection(reader, reader.statement(ONE, 3), 3)
    assert _told(around) == (["2.1", "1.2", "2.2"], ["2.3", "1.4", "2.4"])


def test_only_what_the_reader_may_see(reader: IndexReader) -> None:
    own = Filters(identity="billing-agent", scope=Scope("billing-agent", None))
    assert _told(on_connection(reader, reader.statement(ONE, 3), 2, own)) == (["1.1", "1.2"], ["1.4", "1.5"])
