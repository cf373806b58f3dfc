"""COPY both ways, in both protocols: bytes, rows, completeness, and the Sync that the server swallows."""

from msgspec import UNSET

from pgwitness.wire.codec import query
from support.dialogue import (
    Dialogue,
    bind,
    bound,
    complete,
    copy_both,
    copy_data,
    copy_done,
    copy_fail,
    copy_in,
    copy_out,
    error,
    execute,
    parse,
    parsed,
    ready,
    sync,
)

IN, OUT = "COPY a FROM STDIN", "COPY a TO STDOUT"


def copy_of(statement):
    return (statement.copy.direction, statement.copy.bytes, statement.copy.rows, statement.copy.complete)


def test_copy_in():
    talk = Dialogue().client(query(IN)).server(copy_in())
    talk.client(copy_data(b"1\n2\n"), copy_data(b"3\n")).client(copy_done()).server(
        complete("COPY 3"), ready()
    )
    (statement,) = talk.statements()
    assert copy_of(statement) == ("in", 6, 3, True)
    assert (statement.rows, statement.tables, statement.command) == (3, ["public.a"], "COPY")


def test_copy_in_that_the_client_gives_up():
    talk = Dialogue().client(query(IN)).server(copy_in()).client(copy_data(b"1\n"), copy_fail())
    talk.server(error("57014"), ready())
    (statement,) = talk.statements()
    assert copy_of(statement) == ("in", 2, 1, False)
    assert (statement.status, statement.transaction.outcome) == ("error", "rolled_back")


def test_copy_in_sent_before_the_server_asked_for_it():
    talk = Dialogue().client(query(IN), copy_data(b"1\n"), copy_done(), query("DELETE FROM b"))
    talk.server(copy_in(), complete("COPY 1"), ready(), complete("DELETE 1"), ready())
    assert [each[2] for each in talk.summary()] == ["COPY 1", "DELETE 1"]
    assert copy_of(talk.statements()[0]) == ("in", 2, 1, True)


def test_two_copies_in_one_message():
    talk = Dialogue().client(query(f"{IN}; COPY b FROM STDIN")).server(copy_in())
    talk.client(copy_data(b"1\n"), copy_done()).server(complete("COPY 1"), copy_in())
    talk.client(copy_data(b"22\n"), copy_done()).server(complete("COPY 1"), ready())
    assert [copy_of(each) for each in talk.statements()] == [("in", 2, 1, True), ("in", 3, 1, True)]


def test_extended_copy_in_swallows_the_sync_before_its_data():
    talk = Dialogue().client(parse(IN), bind(), execute(), sync()).server(parsed(), bound(), copy_in())
    talk.client(copy_data(b"1\n")).client(copy_done(), sync()).server(complete("COPY 1"), ready())
    talk.client(parse("DELETE FROM b"), bind(), execute(), sync())
    talk.server(parsed(), bound(), complete("DELETE 4"), ready())
    assert talk.summary() == [
        (IN, "ok", "COPY 1", "committed"),
        ("DELETE FROM b", "ok", "DELETE 4", "committed"),
    ]
    assert copy_of(talk.statements()[0]) == ("in", 2, 1, True)


def test_extended_copy_in_that_fails_on_its_data():
    talk = Dialogue().client(parse(IN), bind(), execute(), sync()).server(parsed(), bound(), copy_in())
    talk.client(copy_data(b"bad")).server(error("22P02")).client(copy_done(), sync()).server(ready())
    talk.run("SELECT 1", "SELECT 1")
    assert talk.summary() == [(IN, "error", None, "rolled_back"), ("SELECT 1", "ok", "SELECT 1", "committed")]


def test_extended_copy_in_that_never_began_keeps_every_sync():
    talk = Dialogue().client(parse(IN), bind(), execute(), sync(), copy_data(b"1"), copy_done(), sync())
    talk.server(parsed(), bound(), error("42501"), ready(), ready()).run("SELECT 1", "SELECT 1")
    assert [each[1] for each in talk.summary()] == ["error", "ok"]
    assert [each.transaction.number for each in talk.statements()] == [1, 2]


def test_copy_out():
    talk = Dialogue().client(query(OUT)).server(copy_out(), copy_data(b"1\n"), copy_data(b"22\n"))
    talk.server(copy_done(), complete("COPY 2"), ready())
    (statement,) = talk.statements()
    assert copy_of(statement) == ("out", 5, 2, True)


def test_copy_out_beyond_the_cap_is_counted_and_not_complete():
    talk = Dialogue().client(query(OUT)).server(copy_out(), copy_data(b"1\n")).elided(1000, 1000 * 15)
    talk.server(copy_done(), complete("COPY 1001"), ready())
    (statement,) = talk.statements()
    assert copy_of(statement) == ("out", 2 + 10_000, 1001, False)


def test_copy_both_of_a_replication_connection():
    talk = Dialogue().client(query("START_REPLICATION 0/0")).server(copy_both(), copy_data(b"wal"))
    talk.client(copy_data(b"status")).server(copy_data(b"more")).ended("client_closed")
    (statement,) = talk.statements()
    assert copy_of(statement) == ("both", 13, 3, False)
    assert statement.status == "unfinished"


def test_copy_both_that_ends_in_order_is_one_statement():
    talk = Dialogue().client(query("START_REPLICATION 0/0 TIMELINE 1")).server(copy_both(), copy_data(b"wal"))
    talk.server(copy_done()).client(copy_done()).server(
        complete("SELECT"), complete("START_STREAMING"), ready()
    )
    (statement,) = talk.statements()
    assert (statement.tag, statement.status) == ("SELECT; START_STREAMING", "ok")
    assert copy_of(statement) == ("both", 3, 1, True)


def data_of(statement):
    return statement.copy.data, statement.copy.encoding


def test_data_in_and_out_for_who_asks():
    talk = Dialogue(keep_results=True).client(query(f"{IN}; COPY b FROM STDIN")).server(copy_in())
    talk.client(copy_data(b"1\t\xe2\x98"), copy_data(b"\x83\n"), copy_done()).server(
        complete("COPY 1"), copy_in()
    )
    talk.client(copy_data(b"22\n"), copy_done()).server(complete("COPY 1"), ready())
    talk.client(query(OUT)).server(copy_out(), copy_data(b"3\n"), copy_data(b"4\n"))
    talk.elided(1, 7).server(copy_done(), complete("COPY 3"), ready())
    one, two, out = talk.statements()
    assert [data_of(each)[0] for each in (one, two, out)] == ["1\t☃\n", "22\n", "3\n4\n"]
    assert not out.copy.complete and not out.truncated
    assert not one.truncated


def test_data_that_are_no_text_are_hex():
    talk = Dialogue(keep_results=True).client(query(IN)).server(copy_in())
    talk.client(copy_data(b"\xff\n"), copy_done()).server(complete("COPY 1"), ready())
    binary = copy_in()[:5] + b"\1" + copy_in()[6:]
    talk.client(query(f"{IN} (FORMAT binary)")).server(binary)
    talk.client(copy_data(b"PGCOPY"), copy_done()).server(complete("COPY 1"), ready())
    assert [data_of(each) for each in talk.statements()] == [("ff0a", "hex"), (b"PGCOPY".hex(), "hex")]


def test_more_data_than_are_held(monkeypatch):
    monkeypatch.setattr("pgwitness.statements.conversation._MAX_RESULT", 4)
    talk = Dialogue(keep_results=True).client(query(IN)).server(copy_in())
    talk.client(copy_data(b"1\n"), copy_data(b"2\n"), copy_data(b"3\n"), copy_data(b""), copy_done())
    talk.server(complete("COPY 3"), ready())
    (statement,) = talk.statements()
    assert (statement.copy.data, statement.truncated) == ("1\n2\n", True)
    assert copy_of(statement) == ("in", 6, 3, True)


def test_who_does_not_ask_holds_nothing():
    talk = Dialogue().client(query(IN)).server(copy_in())
    talk.client(copy_data(b"1\n"), copy_done()).server(complete("COPY 1"), ready())
    (statement,) = talk.statements()
    assert (statement.copy.data, statement.truncated) == (UNSET, False)
