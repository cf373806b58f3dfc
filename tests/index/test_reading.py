"""Listings: every filter alone and together, pages that join without a seam, sessions found by either end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgwitness.errors import ConflictError, InvalidError, NotFoundError
from pgwitness.index.filters import Filters
from pgwitness.index.filters import parse as parse_filters
from pgwitness.index.store import IndexReader
from pgwitness.statements.assembler import rfc3339
from pgwitness.statements.model import Statement
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import answers, bound, complete, error, execute, extended, parse, parsed, ready, sync


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[IndexReader]:
    """Two sessions of one agent in two runs, one of a person."""
    one = tapes.dialogue(1, claims={"run": "run-1"})
    one.run("SELECT * FROM orders", "SELECT 3")
    one.run("BEGIN", "BEGIN", b"T").run("UPDATE public.orders SET a = '100%'", "UPDATE 40", b"T").run(
        "ROLLBACK", "ROLLBACK"
    )
    one.client(query("SELECT 1/0")).server(error("22012"), ready())
    two = tapes.dialogue(2, claims={"run": "run-2"}, connection="billing")
    two.client(extended("DELETE FROM archive.orders WHERE id = $1", (b"7",), (23,)), sync()).server(
        answers("DELETE 1")
    )
    two.ended()
    three = tapes.dialogue(3, identity="ann", kind="human", claims={})
    three.run("DELETE FROM people", "DELETE 1000")
    with tapes.Recording(tmp_path, [one, two, three]) as recording:
        recording.put_all([0, 1, 2] * 8)
    reader = tapes.index(tmp_path)
    yield reader
    reader.close()


def _sql(statements: list[Statement]) -> list[str]:
    return [statement.sql for statement in statements]


def test_statements_come_in_the_order_in_which_they_reached_the_server(reader: IndexReader) -> None:
    found = tapes.all_statements(reader)
    assert len(found) == 7
    assert found == sorted(found, key=lambda each: (each.position, each.seq))
    assert {each.session for each in found[:3]} == {str(tapes.session_id(n)) for n in (1, 2, 3)}


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"identity": "ann"}, ["DELETE FROM people"]),
        ({"run": "run-2"}, ["DELETE FROM archive.orders WHERE id = $1"]),
        ({"connection": "billing"}, ["DELETE FROM archive.orders WHERE id = $1"]),
        ({"command": "delete", "identity": "billing-agent"}, ["DELETE FROM archive.orders WHERE id = $1"]),
        ({"table": "archive.orders"}, ["DELETE FROM archive.orders WHERE id = $1"]),
        ({"table": "public.orders", "command": "UPDATE"}, ["UPDATE public.orders SET a = '100%'"]),
        ({"table": "orders", "command": "DELETE"}, ["DELETE FROM archive.orders WHERE id = $1"]),
        ({"table": "nothing"}, []),
        ({"match": "FROM PEOPLE"}, ["DELETE FROM people"]),
        ({"match": "100%"}, ["UPDATE public.orders SET a = '100%'"]),
        ({"match": "_"}, []),
        ({"match": "int4"}, []),
        ({"match": "7"}, ["DELETE FROM archive.orders WHERE id = $1"]),
        ({"status": "error"}, ["SELECT 1/0"]),
        ({"outcome": "rolled-back", "min_rows": "1"}, ["UPDATE public.orders SET a = '100%'"]),
        ({"min_rows": "1000"}, ["DELETE FROM people"]),
        ({"session": "ffff"}, None),
    ],
)
def test_filters(reader: IndexReader, filters: dict[str, str], wanted: list[str] | None) -> None:
    asked = parse_filters(filters)
    if wanted is None:
        with pytest.raises(NotFoundError):
            list(reader.iterate(asked))
    else:
        assert _sql(list(reader.iterate(asked))) == wanted


VALUES = [
    "void",
    'say "no"',
    "C:\\temp",
    "two\nlines",
    "tab\there",
    "\x01\x7f",
    "Ünïcödé €",
    "50%_off",
    "",
    "null",
]


def test_bound_values_are_searched_as_they_are(tmp_path: Path) -> None:
    """However JSON writes them: quotes, backslashes and control characters are escaped there."""
    one = tapes.dialogue(1)
    for value in VALUES:
        one.client(extended("SELECT $1, $2", (value.encode(), None), (25, 25)), sync()).server(
            answers("SELECT 1")
        )
    tapes.record(tmp_path, one)
    reader = tapes.index(tmp_path)
    try:
        for value in filter(None, VALUES):
            for piece in (value, value[1:], value[:-1].upper() if value.isascii() else value):
                wanted = [each for each in VALUES if piece.lower() in each.lower()]
                found = reader.iterate(parse_filters({"match": piece}))
                assert [each.parameters[0].value for each in found] == wanted, piece
        assert [each.items for each in [reader.sessions(parse_filters({"match": "nowhere"}))]] == [[]]
    finally:
        reader.close()


def test_filters_on_statements_choose_sessions_that_have_one(reader: IndexReader) -> None:
    def runs(**filters: str) -> list[str | None]:
        return [one.run for one in reader.sessions(parse_filters(filters)).items]

    assert runs() == [None, "run-2", "run-1"]
    assert runs(command="DELETE") == [None, "run-2"]
    assert runs(command="DELETE", table="people") == [None]
    assert runs(status="error", identity="ann") == []


def test_times_are_exact_at_both_ends(reader: IndexReader) -> None:
    everything = tapes.all_statements(reader)
    for statement in everything:
        moment = datetime.fromisoformat(statement.started_at)
        wanted = [each for each in everything if each.started_at >= statement.started_at]
        assert tapes.all_statements(reader, since=moment) == wanted
        wanted = [each for each in everything if each.started_at <= statement.started_at]
        assert tapes.all_statements(reader, until=moment) == wanted
        assert [each.seq for each in tapes.all_statements(reader, since=moment, until=moment)] == [
            statement.seq
        ]
    never = datetime(2030, 1, 1, tzinfo=UTC)
    assert tapes.all_statements(reader, since=never) == []
    assert tapes.all_statements(reader, until=never - timedelta(days=9999)) == []


def test_a_statement_that_begins_long_after_its_message_has_a_time_of_its_own(tmp_path: Path) -> None:
    """As in ``SELECT pg_sleep(60); UPDATE …``: it has its place in the order from its message."""
    talk = tapes.dialogue(1)
    talk.client(query("SELECT pg_sleep(60); UPDATE a SET b = 1"))
    with tapes.Recording(tmp_path, [talk]) as recording:
        recording.put_all()
        recording._time += 60_000_000_000
        talk.server(complete("SELECT 1"))
        recording.put(0)
        late = rfc3339(recording._time)
        talk.server(complete("UPDATE 1"), ready())
        recording.put(0)
    reader = tapes.index(tmp_path)
    (found,) = tapes.all_statements(reader, since=datetime.fromisoformat(late))
    reader.close()
    assert found.sql.strip() == "UPDATE a SET b = 1"


@pytest.mark.parametrize("session", [None, "1"])
@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_pages_join_without_a_seam(reader: IndexReader, size: int, newest: bool, session: str | None) -> None:
    filters = Filters(session=str(tapes.session_id(1)) if session else None)
    wanted = list(reader.iterate(filters))
    pages, cursor = [], None
    while True:
        page = reader.statements(filters, limit=size, cursor=cursor, newest=newest)
        pages.append(page.items)
        cursor = page.next
        if cursor is None:
            break
    ordered = reversed(pages) if newest else pages
    assert [each for page in ordered for each in page] == wanted
    assert all(len(page) == size for page in pages[:-1])


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_pages_of_sessions_join_without_a_seam(reader: IndexReader, size: int) -> None:
    found, cursor = [], None
    while True:
        page = reader.sessions(Filters(), limit=size, cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    assert [one.session for one in found] == [str(tapes.session_id(n)) for n in (3, 2, 1)]


def test_the_last_and_the_first_of_them(reader: IndexReader) -> None:
    everything = tapes.all_statements(reader)
    for limit in range(1, 9):
        assert list(reader.iterate(Filters(), limit=limit)) == everything[:limit]
        assert list(reader.iterate(Filters(), limit=limit, newest=True)) == everything[-limit:]


def test_a_page_of_long_texts_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgwitness.index.store.PAGE_CHARACTERS", 5000)
    talk = tapes.dialogue(1)
    for n in range(10):
        talk.run(f"SELECT '{n}{'x' * 2000}'", "SELECT 1")
    tapes.record(tmp_path, talk)
    reader = tapes.index(tmp_path)
    for newest in (False, True):
        page = reader.statements(Filters(), limit=10, newest=newest)
        assert len(page.items) == 3
        assert page.next is not None
    assert len(list(reader.iterate(Filters()))) == 10
    assert len(list(reader.iterate(Filters(), limit=7, newest=True))) == 7
    reader.close()


def test_a_session_is_found_by_either_end_of_its_id(reader: IndexReader) -> None:
    full = str(tapes.session_id(2))
    for text in (
        full,
        full.upper(),
        full.replace("-", ""),
        full[-4:],
        f"…{full[-6:]}",
        full[:-2],
        full[-14:],
    ):
        assert reader.resolve(text) == full
    with pytest.raises(ConflictError, match="several"):
        reader.resolve(full[:8])
    for text in ("ffffffff", "", "not an id", full + "0"):
        with pytest.raises(NotFoundError):
            reader.resolve(text)


def test_a_session_tells_what_it_wrote(tmp_path: Path) -> None:
    """Only what was committed, also when the commit comes later, also by EXECUTE and by a pipeline."""
    talk = tapes.dialogue(1)
    talk.run("BEGIN", "BEGIN", b"T").run("UPDATE a SET b = 1", "UPDATE 10", b"T")
    talk.run("SAVEPOINT s", "SAVEPOINT", b"T").run("UPDATE a SET b = 2", "UPDATE 100", b"T")
    talk.run("ROLLBACK TO s", "ROLLBACK", b"T").run("DELETE FROM a", "DELETE 1000", b"T").run(
        "COMMIT", "COMMIT"
    )
    talk.run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 7", b"T").run("ROLLBACK", "ROLLBACK")
    talk.client(parse("INSERT INTO a VALUES (1)"), execute(), execute(), sync())
    talk.server(parsed() + bound() + complete("INSERT 0 3"), complete("INSERT 0 4"), ready())
    talk.run("SELECT 1", "SELECT 1")
    tapes.record(tmp_path, talk)
    reader = tapes.index(tmp_path)
    (session,) = reader.sessions(Filters()).items
    reader.close()
    assert session.rows_written in (1010, 1017)
    assert session.statements == len(talk.statements())
    assert session.end_reason is None


def test_a_session_with_all_that_is_known(reader: IndexReader) -> None:
    found = reader.session(str(tapes.session_id(2))[-6:])
    assert found.header["connection"] == "billing"
    assert (found.session.end_reason, found.session.ended_at is not None) == ("terminated", True)


def test_one_statement(reader: IndexReader) -> None:
    assert reader.statement(str(tapes.session_id(3)), 1).sql == "DELETE FROM people"
    with pytest.raises(NotFoundError, match="no statement 2"):
        reader.statement(str(tapes.session_id(3)), 2)


def test_what_is_stored_is_the_whole_document(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.client(extended("SELECT $1::text", ("\N{SNOWMAN}".encode(),), (25,)), sync()).server(
        answers("SELECT 1")
    )
    talk.client(query("SELECT 1/0")).server(error(), ready())
    with tapes.Recording(tmp_path, [talk]) as recording:
        recording.put_all()
    reader = tapes.index(tmp_path)
    found = tapes.all_statements(reader)
    reader.close()
    for stored, told in zip(found, talk.statements(), strict=True):
        told.session, told.position, told.started_at = stored.session, stored.position, stored.started_at
        assert stored == told


def test_nothing_is_there_before_there_is_an_index(tmp_path: Path) -> None:
    reader = IndexReader(tmp_path)
    assert reader.sessions(Filters()).items == []
    assert list(reader.iterate(Filters())) == []
    with pytest.raises(NotFoundError):
        reader.session("0199")


def test_a_cursor_that_no_listing_gave(reader: IndexReader) -> None:
    with pytest.raises(InvalidError):
        reader.statements(Filters(), cursor="nonsense")
    with pytest.raises(InvalidError):
        reader.sessions(Filters(), cursor="1.2")


def test_an_interrupted_session_lasted_until_it_was_last_heard(tmp_path: Path) -> None:
    """Its end is added at the next start, which may be a day later."""
    ended = {
        number: tapes.dialogue(number).run("SELECT 1", "SELECT 1").ended(reason)
        for number, reason in ((1, "interrupted"), (2, "terminated"))
    }
    tapes.record(tmp_path, *ended.values())
    reader = tapes.index(tmp_path)
    two, one = reader.sessions(Filters()).items
    reader.close()
    assert (one.end_reason, two.end_reason) == ("interrupted", "terminated")
    assert one.ended_at and one.last_activity < one.ended_at
    assert two.last_activity == two.ended_at
