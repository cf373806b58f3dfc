"""Results: columns, counts, what the cap kept, and rows for readers who ask."""

import msgspec

from pgwitness.wire.codec import query
from support.dialogue import (
    Dialogue,
    bind,
    bound,
    complete,
    data_row,
    describe,
    execute,
    parse,
    parsed,
    ready,
    row_description,
    sync,
)

ROWS = row_description(("id", 23), ("name", 25))


def test_a_result_beyond_its_cap_is_counted_and_not_complete():
    talk = (
        Dialogue().client(query("SELECT id, name FROM a")).server(ROWS, data_row(b"1", b"x")).elided(99, 9900)
    )
    talk.server(complete("SELECT 100"), ready())
    (statement,) = talk.statements()
    result = statement.result
    assert (statement.rows, result.rows_recorded, result.complete) == (100, 1, False)
    assert result.bytes == 9900 + len(data_row(b"1", b"x"))


def test_elided_rows_belong_to_the_statement_that_the_server_works_on():
    talk = Dialogue().client(query("SELECT 1"), query("SELECT 2"))
    talk.server(ROWS).elided(5, 50).server(complete("SELECT 5"), ready(), ROWS).elided(7, 70)
    talk.server(complete("SELECT 7"), ready())
    assert [each.result.bytes for each in talk.statements()] == [50, 70]


def test_rows_are_given_only_to_readers_who_ask():
    for keep in (False, True):
        talk = Dialogue(keep_results=keep).client(query("SELECT id, name FROM a"))
        talk.server(ROWS, data_row(b"1", None), data_row(b"2", b""), complete("SELECT 2"), ready())
        (statement,) = talk.statements()
        document = msgspec.to_builtins(statement)["result"]
        assert document.get("data") == ([["1", None], ["2", ""]] if keep else None)


def test_binary_rows_are_decoded_by_the_formats_of_the_bind():
    talk = Dialogue(keep_results=True).client(parse("SELECT 1", "s"), describe("s", b"S"), sync())
    talk.server(parsed(), b"t\0\0\0\6\0\0", row_description(("n", 23), ("e", 16400)), ready())
    talk.client(bind((), "s", results=(1,)), execute(), sync())
    talk.server(bound(), data_row(b"\0\0\0\5", b"ok"), complete("SELECT 1"), ready())
    (statement,) = talk.statements()
    assert msgspec.to_builtins(statement)["result"] == {
        "columns": [{"name": "n", "type": "int4"}, {"name": "e", "type": "16400", "encoding": "hex"}],
        "rows_recorded": 1,
        "bytes": 21,
        "complete": True,
        "data": [["5", "6f6b"]],
    }


def test_binary_rows_of_a_described_portal():
    talk = Dialogue(keep_results=True).client(
        parse("SELECT 1"), bind(results=(1,)), describe(), execute(), sync()
    )
    talk.server(parsed(), bound(), row_description(("n", 21), format=1), data_row(b"\0\5"))
    talk.server(complete("SELECT 1"), ready())
    assert talk.statements()[0].result.data == [["5"]]


def test_rows_that_nobody_described_are_still_counted():
    talk = Dialogue().client(parse("SELECT 1"), bind(), execute(), sync())
    talk.server(parsed(), bound(), data_row(b"1"), complete("SELECT 1"), ready())
    (statement,) = talk.statements()
    assert (statement.result.columns, statement.result.rows_recorded) == ([], 1)


def test_the_rows_of_returning():
    talk = Dialogue().client(query("DELETE FROM a RETURNING id"))
    talk.server(row_description(("id", 23)), data_row(b"1"), data_row(b"2"), complete("DELETE 2"), ready())
    (statement,) = talk.statements()
    assert (statement.rows, statement.result.rows_recorded) == (2, 2)
