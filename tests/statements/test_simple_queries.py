"""Query messages: one statement, several, none, wrong ones."""

from pgwitness.wire.codec import notice_response, parameter_status, query
from support.dialogue import (
    Dialogue,
    complete,
    data_row,
    empty,
    error,
    ready,
    row_description,
)


def test_a_statement_with_everything_the_contract_names():
    talk = Dialogue().client(query("SELECT id FROM orders"))
    talk.server(row_description(("id", 23)), data_row(b"7"), data_row(b"8"), complete("SELECT 2"), ready())
    (statement,) = talk.statements()
    assert statement.session == "0199aaaa-0000-7000-8000-000000000001"
    assert (statement.seq, statement.message, statement.protocol) == (1, 1, "simple")
    assert (statement.identity, statement.run) == ("billing-agent", "run-81")
    assert (statement.connection, statement.database) == ("orders", "shop")
    assert (statement.sql, statement.command, statement.tag) == (
        "SELECT id FROM orders",
        "SELECT",
        "SELECT 2",
    )
    assert (statement.rows, statement.tables, statement.status) == (2, ["public.orders"], "ok")
    assert (statement.transaction.number, statement.transaction.outcome) == (1, "committed")
    assert (statement.started_at, statement.duration_us) == ("2026-11-18T11:06:40.001000Z", 1000)
    assert [(column.name, column.type) for column in statement.result.columns] == [("id", "int4")]
    assert (statement.result.rows_recorded, statement.result.complete) == (2, True)
    assert statement.result.bytes == 2 * 12
    assert statement.copy is None
    assert statement.position == talk.frames[1][4]


def test_several_statements_in_one_message_are_several_statements():
    talk = Dialogue().client(query("INSERT INTO a VALUES (1); UPDATE b SET x = 1 ;\n SELECT 1"))
    talk.server(complete("INSERT 0 1"), complete("UPDATE 40"))
    talk.server(row_description(("x", 23)), data_row(b"1"), complete("SELECT 1"), ready())
    assert talk.summary() == [
        ("INSERT INTO a VALUES (1)", "ok", "INSERT 0 1", "committed"),
        ("UPDATE b SET x = 1", "ok", "UPDATE 40", "committed"),
        ("SELECT 1", "ok", "SELECT 1", "committed"),
    ]
    statements = talk.statements()
    assert [each.message for each in statements] == [1, 1, 1]
    assert [each.rows for each in statements] == [1, 40, 1]
    assert [each.tables for each in statements] == [["public.a"], ["public.b"], []]
    assert {each.transaction.number for each in statements} == {1}
    assert [each.result is not None for each in statements] == [False, False, True]


def test_a_semicolon_in_a_literal_splits_nothing():
    talk = Dialogue().run("INSERT INTO a VALUES ('x; DROP TABLE b')", "INSERT 0 1")
    assert talk.summary() == [("INSERT INTO a VALUES ('x; DROP TABLE b')", "ok", "INSERT 0 1", "committed")]


def test_what_follows_a_failing_statement_is_skipped_and_what_precedes_it_is_rolled_back():
    talk = Dialogue().client(query("INSERT INTO a VALUES (1); SELECT 1/0; DELETE FROM a"))
    talk.server(complete("INSERT 0 1"), error("22012"), ready())
    assert talk.summary() == [
        ("INSERT INTO a VALUES (1)", "ok", "INSERT 0 1", "rolled_back"),
        ("SELECT 1/0", "error", None, "rolled_back"),
        ("DELETE FROM a", "skipped", None, "rolled_back"),
    ]
    first, second, third = talk.statements()
    assert first.transaction.reason == "statement 2 failed (22012)"
    assert (second.sqlstate, second.error, second.transaction.reason) == ("22012", "error 22012", None)
    assert (third.duration_us, third.rows) == (None, None)


def test_the_outcome_of_statements_given_out_early_is_settled_later():
    talk = Dialogue().client(query("INSERT INTO a VALUES (1); SELECT 1/0"))
    talk.server(complete("INSERT 0 1")).server(error("22012"), ready())
    assert [(each[1], each[3]) for each in talk.summary()] == [
        ("ok", "rolled_back"),
        ("error", "rolled_back"),
    ]


def test_a_syntax_error_anywhere_means_that_nothing_of_the_message_ran():
    talk = Dialogue().client(query("INSERT INTO a VALUES (1); SELEC 1")).server(error("42601"), ready())
    assert talk.summary() == [("INSERT INTO a VALUES (1); SELEC 1", "error", None, "rolled_back")]


def test_a_syntax_error_that_only_the_server_sees_covers_the_whole_message():
    sql = "INSERT INTO a VALUES (1); SELECT 2"
    talk = Dialogue().client(query(sql)).server(error("42601", position=30), ready())
    assert talk.summary() == [(sql, "error", None, "rolled_back")]


def test_sql_that_the_parser_does_not_know_is_one_statement_with_all_its_tags():
    talk = Dialogue().client(query("FROBNICATE a; UPDATE b SET c = 1"))
    talk.server(complete("FROBNICATE 3"), complete("UPDATE 4"), ready())
    (statement,) = talk.statements()
    assert (statement.sql, statement.tag) == ("FROBNICATE a; UPDATE b SET c = 1", "FROBNICATE 3; UPDATE 4")
    assert (statement.rows, statement.status, statement.transaction.outcome) == (7, "ok", "committed")


def test_an_empty_query_is_a_statement_without_a_command():
    talk = Dialogue().client(query(" ; ")).server(empty(), ready())
    (statement,) = talk.statements()
    assert (statement.sql, statement.command, statement.tag, statement.status) == (" ; ", None, None, "ok")


def test_messages_that_come_at_any_time_never_shift_the_matching():
    notice = notice_response("NOTICE", "00000", "hello")
    status = parameter_status("application_name", "x")
    notify = b"A\0\0\0\x0e\0\0\0\7chan\0\0"
    talk = Dialogue().client(query("SELECT 1"), query("SELECT 2"))
    talk.server(notice, row_description(("a", 23)), status, data_row(b"1"), notify, complete("SELECT 1"))
    talk.server(notice, ready(), status, row_description(("b", 25)), notice, complete("SELECT 0"), ready())
    first, second = talk.statements()
    assert (first.tag, first.result.columns[0].name) == ("SELECT 1", "a")
    assert (second.tag, second.result.columns[0].name) == ("SELECT 0", "b")
    assert {"event": "parameter", "name": "application_name", "value": "x"} in talk.told()


def test_pipelined_simple_queries_get_their_own_answers():
    talk = Dialogue().client(query("SELECT 1/0"), query("DELETE FROM a"))
    talk.server(error(), ready(), complete("DELETE 3"), ready())
    assert talk.summary() == [
        ("SELECT 1/0", "error", None, "rolled_back"),
        ("DELETE FROM a", "ok", "DELETE 3", "committed"),
    ]
