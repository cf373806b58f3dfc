"""Searches find what a plain look at every statement finds, whatever filters are put together."""

import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, text

from pgwitness.index import overview, queries, tables
from pgwitness.index.blocks import place
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.search import Hits, Search
from pgwitness.index.store import IndexReader, Session
from pgwitness.statements.model import Statement
from support import marks, tapes
from support.population import BEGAN, CONNECTIONS, DAYS, PEOPLE, RARE, RARE_TABLE, TABLES, populate

STATEMENTS, SESSIONS = 3000, 120
START = datetime.fromtimestamp(BEGAN / 1e9, UTC)


@pytest.fixture(scope="module")
def reader() -> Iterator[IndexReader]:
    """Many small blocks, written in batches that cut them anywhere."""
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgwitness.index.marking.BLOCK_STATEMENTS", 48)
        state = Path(directory)
        populate(state, STATEMENTS, SESSIONS)
        assert marks.wrong(state) == []
        reader = IndexReader(state)
        yield reader
        reader.close()


@pytest.fixture(scope="module")
def everything(reader: IndexReader) -> list[tuple[Statement, Session]]:
    """Each statement with its session, in order, found without any marks."""
    sessions = []
    cursor = None
    while True:
        page = reader.sessions(Filters(), cursor=cursor)
        sessions += page.items
        if (cursor := page.next) is None:
            break
    found = [(each, one) for one in sessions for each in reader.of_session(one.session)]
    assert len(found) >= STATEMENTS
    return _All(sorted(found, key=lambda each: (each[0].position, each[0].seq)))


class _All(list[tuple[Statement, Session]]):
    def __repr__(self) -> str:
        return f"<{len(self)} statements>"


def _times() -> st.SearchStrategy[datetime]:
    return st.floats(-1, DAYS + 1).map(lambda days: START + timedelta(days=days))


NEEDLES = st.one_of(
    st.sampled_from(["WHERE id = ", "void", "'void'", "d = 4", "/* 1", "value ", "42", "e", "7", "ORDER by",
                     "nothing has this", "INTO shop", " */", "'value 3", "%", "_", "é"]),
    st.text("0123456789", min_size=1, max_size=7),
    st.text("select idfrom'=*/, ", min_size=1, max_size=6).filter(str.strip),
)  # fmt: skip
WORDS = st.lists(
    st.sampled_from(["select", "UPDATE", "orders", "lines3", "void", "id", "status", "value", "3", "stat"]),
    min_size=1,
    max_size=3,
).map(" ".join)

GIVEN: dict[str, st.SearchStrategy[Any]] = {
    "identity": st.sampled_from(["billing-agent", "report-agent", "ann", RARE[0], "nobody"]),
    "kind": st.sampled_from(["human", "service"]),
    "on_behalf_of": st.sampled_from(PEOPLE[:6]),
    "run": st.integers(0, SESSIONS // 2).map(lambda number: f"run-{number}"),
    "connection": st.sampled_from([*CONNECTIONS, "elsewhere"]),
    "since": _times(),
    "until": _times(),
    "command": st.sampled_from(["SELECT", "INSERT", "UPDATE", "DELETE", "COMMIT", "VACUUM"]),
    "table": st.sampled_from([*TABLES[:9], "orders", "orders3", "rders", RARE_TABLE, "public.nowhere"]),
    "match": NEEDLES,
    "words": WORDS,
    "status": st.sampled_from(["ok", "error", "skipped"]),
    "outcome": st.sampled_from(["committed", "rolled_back", "open"]),
    "min_rows": st.sampled_from([0, 1, 2, 3, 7, 10, 100, 150, 1000, 10**12]),
    "sqlstate": st.sampled_from(["42P01", "42", "23505", "23", "00"]),
    "min_duration": st.sampled_from([0, 1, 500, 777, 1000, 5000, 12_345, 10**9]),
    "scope": st.builds(
        Scope,
        identity=st.sampled_from([None, "billing-agent"]),
        connections=st.sampled_from([None, ("orders",), ("orders", "people"), ()]),
    ),
}


@st.composite
def asked(draw: st.DrawFn) -> Filters:
    names = draw(st.lists(st.sampled_from(sorted(GIVEN)), unique=True, max_size=3))
    return Filters(**{name: draw(GIVEN[name]) for name in names})


def holds(filters: Filters, statement: Statement, session: Session) -> bool:
    """By the documents alone."""
    return all(
        HOLDS[name](wanted, statement, session)
        for name in GIVEN
        if (wanted := getattr(filters, name)) is not None
    )


def _texts(statement: Statement) -> list[str]:
    return [statement.sql, *(each.value for each in statement.parameters if each.value)]


def _lower(text: str) -> str:
    """A to Z only."""
    return text.encode().lower().decode()


def _words(wanted: str, statement: Statement, _session: Session) -> bool:
    there = {
        word for text in _texts(statement) for word in re.findall(r"[0-9a-z_\x80-\U0010ffff]+", _lower(text))
    }
    return there.issuperset(_lower(wanted).split())


HOLDS: dict[str, Callable[[Any, Statement, Session], bool]] = {
    "identity": lambda wanted, _, session: session.identity == wanted,
    "kind": lambda wanted, _, session: session.kind == wanted,
    "on_behalf_of": lambda wanted, _, session: session.on_behalf_of == wanted,
    "run": lambda wanted, _, session: session.run == wanted,
    "connection": lambda wanted, _, session: session.connection == wanted,
    "since": lambda wanted, each, _: datetime.fromisoformat(each.started_at) >= wanted,
    "until": lambda wanted, each, _: datetime.fromisoformat(each.started_at) <= wanted,
    "command": lambda wanted, each, _: each.command == wanted,
    "table": lambda wanted, each, _: any(
        name == wanted or ("." not in wanted and name.endswith(f".{wanted}")) for name in each.tables
    ),
    "match": lambda wanted, each, _: any(_lower(wanted) in _lower(text) for text in _texts(each)),
    "words": _words,
    "status": lambda wanted, each, _: each.status == wanted,
    "outcome": lambda wanted, each, _: each.transaction.outcome == wanted,
    "min_rows": lambda wanted, each, _: each.rows is not None and each.rows >= wanted,
    "sqlstate": lambda wanted, each, _: (each.sqlstate or "").startswith(wanted),
    "min_duration": lambda wanted, each, _: each.duration_us is not None and each.duration_us >= wanted,
    "scope": lambda wanted, _, session: (
        wanted.identity in (None, session.identity)
        and (wanted.connections is None or session.connection in wanted.connections)
    ),
}


ALONE: dict[str, list[Any]] = {
    "identity": ["billing-agent", "ann", RARE[0], "nobody"],
    "kind": ["human", "service"],
    "on_behalf_of": PEOPLE[:3],
    "run": ["run-0", "run-7", f"run-{SESSIONS}"],
    "connection": [*CONNECTIONS, "elsewhere"],
    "since": [START + timedelta(days=days) for days in (-1, 0.1, 7.7, 29.9, 31)],
    "until": [START + timedelta(days=days) for days in (-1, 0.1, 7.7, 29.9, 31)],
    "command": ["SELECT", "COMMIT", "VACUUM"],
    "table": [TABLES[0], "orders", "rders", "public.nowhere"],
    "match": ["WHERE id = ", "'void'", "d = 4", "/* 1", "42", "e", "nothing has this", "'value 3", "\0", "%"],
    "words": ["select", "UPDATE void", "stat", "3", "value 3"],
    "status": ["ok", "error", "skipped"],
    "outcome": ["committed", "rolled_back", "open"],
    "min_rows": [0, 1, 3, 7, 150, 10**12],
    "sqlstate": ["42P01", "42", "00"],
    "min_duration": [0, 777, 1000, 12_345, 10**9],
    "scope": [
        Scope("ann"),
        Scope(None, ("people",)),
        Scope("billing-agent", ("orders", "people")),
        Scope(None, ()),
    ],
}


@pytest.mark.parametrize("name", ALONE)
def test_each_filter_alone(
    reader: IndexReader, everything: list[tuple[Statement, Session]], name: str
) -> None:
    assert ALONE.keys() == HOLDS.keys() == GIVEN.keys()
    for value in ALONE[name]:
        filters = Filters(**{name: value})
        wanted = [statement for statement, session in everything if holds(filters, statement, session)]
        assert list(reader.iterate(filters)) == wanted, value
        assert reader.statements(filters, limit=10, newest=True).items == wanted[-10:], value


@settings(max_examples=80, deadline=None)
@given(filters=asked(), size=st.integers(1, 200), newest=st.booleans())
def test_what_is_found_is_what_there_is(
    reader: IndexReader,
    everything: list[tuple[Statement, Session]],
    filters: Filters,
    size: int,
    newest: bool,
) -> None:
    wanted = [statement for statement, session in everything if holds(filters, statement, session)]
    page = reader.statements(filters, limit=size, newest=newest)
    assert page.items == (wanted[-size:] if newest else wanted[:size])
    assert (page.next is not None) == (len(wanted) > size)
    if page.next is not None:
        following = reader.statements(filters, limit=size, cursor=page.next, newest=newest)
        assert following.items == (wanted[-2 * size : -size] if newest else wanted[size : 2 * size])
    assert list(reader.iterate(filters, limit=size, newest=True)) == wanted[-size:]
    ids = {statement.session for statement in wanted}
    if filters.on_statements:
        expected = sorted(
            ({session.session: session for each, session in everything if each.session in ids}).values(),
            key=lambda session: session.session,
            reverse=True,
        )
        listed = reader.sessions(filters, limit=7)
        assert listed.items == expected[:7]
        if listed.next is not None:
            assert reader.sessions(filters, limit=7, cursor=listed.next).items == expected[7:14]
        assert (listed.next is not None) == (len(expected) > 7)


@settings(max_examples=40, deadline=None)
@given(filters=asked())
def test_the_largest_writes_and_the_errors(
    reader: IndexReader, everything: list[tuple[Statement, Session]], filters: Filters
) -> None:
    found = [statement for statement, session in everything if holds(filters, statement, session)]
    writes = ("INSERT", "UPDATE", "DELETE")
    rows = [each.rows for each in found if each.command in writes and each.rows]
    assert [each.rows for each in reader.largest_writes(filters, 5)] == sorted(rows, reverse=True)[:5]
    counted: dict[str, int] = {}
    for each in found:
        if each.sqlstate:
            counted[each.sqlstate] = counted.get(each.sqlstate, 0) + 1
    assert {each.sqlstate: each.statements for each in reader.errors(filters)} == counted


@settings(max_examples=20, deadline=None)
@given(span=st.tuples(_times(), _times()).map(sorted), buckets=st.integers(1, 120), scope=GIVEN["scope"])
def test_activity_counts_every_statement_once(
    reader: IndexReader,
    everything: list[tuple[Statement, Session]],
    span: list[datetime],
    buckets: int,
    scope: Scope,
) -> None:
    since, until = span
    told = reader.activity(since, until, buckets, scope)
    minutes = [each.replace(second=0, microsecond=0) for each in span]
    found = [
        (statement, session)
        for statement, session in everything
        if minutes[0] <= datetime.fromisoformat(statement.started_at) < minutes[1] + timedelta(minutes=1)
        and holds(Filters(scope=scope), statement, session)
    ]
    assert sum(each["statements"] for each in told) == len(found)
    assert sum(each["errors"] for each in told) == sum(each.status == "error" for each, _ in found)
    assert len({each["at"] for each in told}) <= buckets
    assert {each["identity"] for each in told} == {session.identity for _, session in found}
    assert all(minutes[0] <= datetime.fromisoformat(each["at"]) <= until for each in told)


@settings(max_examples=40, deadline=None)
@given(filters=asked())
def test_conditions_on_rows_say_the_same(
    reader: IndexReader, everything: list[tuple[Statement, Session]], filters: Filters
) -> None:
    """Those that live listings and investigations use on few rows."""
    wanted = {(each.session, each.seq) for each, session in everything if holds(filters, each, session)}
    with reader.connection() as connection:
        assert connection is not None
        rows = connection.execute(queries.select_statements(connection, filters)).all()
        assert {(row.id, row.seq) for row in rows} == wanted
        statement = tables.statements.c
        pieces = [
            row
            for piece in Search(connection, filters).pieces()
            for row in connection.execute(select(statement.session, statement.seq).where(piece))
        ]
    assert len(pieces) == len(set(pieces)) == len(wanted)


def test_a_block_that_late_statements_swell(reader: IndexReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many it has, no question names more statements than SQLite takes."""
    swollen = Hits(1, (0, 0), (1 << 300_000) - 1, [], False)
    statement = tables.statements.c
    with reader.connection() as connection:
        assert connection is not None
        of_block = select(statement.place, statement.written).where(statement.place < place(2, 0))
        places = {row.place: row.written or 0 for row in connection.execute(of_block)}
        search = Search(connection, Filters())
        monkeypatch.setattr(search, "hits", lambda: iter([swollen]))
        found = [
            row.place
            for piece in search.pieces()
            for row in connection.execute(select(statement.place).where(piece))
        ]
        assert sorted(found) == sorted(places)
        largest = sorted(places.values(), reverse=True)[:3]
        assert [each for each, _ in overview._written(connection, swollen, swollen.bits, 3)] == largest


ODD = ["''", "''''", "E''", "e'\\''", "$$it's$$", "$q$'$q$", "/* it's */", "-- don't\n", "'", '"', "$1",
       "E", "7", " ", ", ", "(", "=", "'topsecret@x'", "'it''s'", "'a b'", "'7'", "name", "name7", "Ünder",
       "x'1F'", "'\n'"]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_any_quotes_against_a_plain_look(tmp_path: Path, seed: int) -> None:
    """Every piece of every text is found, and what is found has it; so for words."""
    r = random.Random(seed)
    texts = ["".join(r.choices(ODD, k=r.randint(1, 9))) for _ in range(400)]
    talk = tapes.dialogue(1)
    for sql in texts:
        talk.run(sql, "SELECT 1")
    tapes.record(tmp_path, talk.ended())
    reader = tapes.index(tmp_path)
    found = list(reader.iterate(Filters()))
    assert [each.sql for each in found] == texts
    assert marks.wrong(tmp_path) == []
    for _ in range(150):
        one = r.choice(texts)
        start = r.randrange(len(one))
        piece = one[start : start + r.randint(1, 12)].strip()
        if not piece:
            continue
        wanted = [each for each in found if any(_lower(piece) in _lower(has) for has in _texts(each))]
        assert list(reader.iterate(Filters(match=piece))) == wanted, piece
        words = " ".join(re.findall(r"[0-9a-z_\x80-\U0010ffff]+", _lower(piece))[:2])
        if words:
            wanted = [each for each in found if _words(words, each, None)]
            assert list(reader.iterate(Filters(words=words))) == wanted, words
    reader.close()


def test_no_question_reads_all_statements(reader: IndexReader) -> None:
    """Whatever is asked, SQLite goes to statements, marks and passages by their keys."""
    from bench.search import asked as questions

    plans: dict[str, list[str]] = {}
    with reader.connection() as connection:
        assert connection is not None
        engine = connection.engine

    @event.listens_for(engine, "before_cursor_execute")
    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            plan = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            plans[statement] = [row[3] for row in plan]

    try:
        for _, ask in questions(reader):
            ask()
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    assert len(plans) > 20
    large = re.compile(r"SCAN (statements|marks|passages|texts|activity)\b")
    read = {step: statement for statement, plan in plans.items() for step in plan if large.match(step)}
    assert read == {}


def test_what_is_explained_would_show_a_scan(reader: IndexReader) -> None:
    with reader.connection() as connection:
        assert connection is not None
        plan = connection.execute(text("EXPLAIN QUERY PLAN SELECT 1 FROM statements WHERE rows > 5")).all()
    assert plan[0][3].startswith("SCAN statements")
