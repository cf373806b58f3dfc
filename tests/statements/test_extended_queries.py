"""Parse, Bind, Describe, Execute, Close: names, portals, pages, pipelines, errors."""

from pgwitness.statements.model import Parameter
from pgwitness.wire.codec import message, query
from support.dialogue import (
    Dialogue,
    answers,
    bind,
    bound,
    close,
    closed,
    complete,
    data_row,
    describe,
    empty,
    error,
    execute,
    extended,
    flush,
    no_data,
    parameter_description,
    parse,
    parsed,
    ready,
    row_description,
    suspended,
    sync,
)

INT4, TEXT = 23, 25


def values(statement):
    return [parameter.value for parameter in statement.parameters]


# --- parameters ---


def test_text_and_binary_parameters_with_their_types():
    talk = Dialogue().client(
        parse("UPDATE orders SET status = $1 WHERE region = $2", "u", (TEXT, INT4)),
        bind((b"void", b"\0\0\0\7"), "u", formats=(0, 1)),
        execute(),
        sync(),
    )
    talk.server(parsed(), bound(), complete("UPDATE 40000"), ready())
    (statement,) = talk.statements()
    assert statement.parameters == [Parameter("text", "void", "text"), Parameter("int4", "7", "binary")]
    assert (statement.protocol, statement.prepared, statement.portal) == ("extended", "u", "")
    assert (statement.command, statement.rows, statement.message) == ("UPDATE", 40000, 3)
    assert statement.tables == ["public.orders"]


def test_null_is_null_and_an_empty_string_is_an_empty_string():
    talk = Dialogue().client(
        extended("SELECT $1, $2, $3", (None, b"", b""), (TEXT, TEXT, 17), formats=(0, 0, 1))
    )
    talk.client(sync()).server(answers("SELECT 1"))
    (statement,) = talk.statements()
    assert values(statement) == [None, "", "\\x"]
    assert [parameter.format for parameter in statement.parameters] == ["text", "text", "binary"]


def test_one_format_code_is_for_all_parameters():
    talk = Dialogue().client(
        extended("SELECT $1, $2", (b"\0\0\0\1", b"\0\0\0\2"), (INT4, INT4), formats=(1,))
    )
    talk.client(sync()).server(answers("SELECT 1"))
    assert values(talk.statements()[0]) == ["1", "2"]


def test_types_left_to_the_server_come_from_its_description():
    talk = Dialogue().client(parse("SELECT $1", "s"), describe("s", b"S"), flush())
    talk.server(parsed(), parameter_description(INT4), row_description(("x", INT4)))
    talk.client(bind((b"\0\0\1\0",), "s", formats=(1,)), execute(), sync())
    talk.server(bound(), data_row(b"256"), complete("SELECT 1"), ready())
    (statement,) = talk.statements()
    assert statement.parameters == [Parameter("int4", "256", "binary")]
    assert statement.result.columns[0].name == "x"


def test_a_binary_parameter_of_an_unknown_type_is_hex():
    talk = Dialogue().client(extended("SELECT $1, $2", (b"\1\2", b"ok"), (0, 16400), formats=(1,)))
    talk.client(sync()).server(answers("SELECT 1"))
    first, second = talk.statements()[0].parameters
    assert (first.type, first.value, first.encoding) == (None, "0102", "hex")
    assert (second.type, second.value, second.encoding) == ("16400", "6f6b", "hex")


# --- names ---


def test_a_second_execution_of_a_prepared_statement_is_a_statement():
    talk = Dialogue().client(parse("DELETE FROM a WHERE id = $1", "d"), sync()).server(parsed(), ready())
    for number in (b"1", b"2", b"3"):
        talk.client(bind((number,), "d"), execute(), sync()).server(bound(), complete("DELETE 1"), ready())
    assert [(each.sql, values(each)) for each in talk.statements()] == [
        ("DELETE FROM a WHERE id = $1", [number]) for number in ("1", "2", "3")
    ]


def test_portal_and_statement_names_are_not_swapped():
    talk = Dialogue().client(parse("SELECT 1", "stmt"), bind((), "stmt", "port"), execute("port"), sync())
    talk.server(parsed(), bound(), complete("SELECT 1"), ready())
    (statement,) = talk.statements()
    assert (statement.prepared, statement.portal) == ("stmt", "port")


def test_interleaved_named_statements_keep_their_text():
    talk = Dialogue().client(
        parse("INSERT INTO a VALUES ($1)", "one"), parse("INSERT INTO b VALUES ($1)", "two")
    )
    talk.client(bind((b"1",), "two", "p2"), bind((b"2",), "one", "p1"), execute("p1"), execute("p2"), sync())
    talk.server(parsed(), parsed(), bound(), bound(), complete("INSERT 0 5"), complete("INSERT 0 6"), ready())
    assert [(each.sql, values(each), each.rows) for each in talk.statements()] == [
        ("INSERT INTO a VALUES ($1)", ["2"], 5),
        ("INSERT INTO b VALUES ($1)", ["1"], 6),
    ]


def test_a_closed_name_is_used_again():
    talk = Dialogue().client(parse("DELETE FROM a", "s"), sync()).server(parsed(), ready())
    talk.client(close("s"), parse("DELETE FROM b", "s"), bind((), "s"), execute(), sync())
    talk.server(closed(), parsed(), bound(), complete("DELETE 1"), ready())
    assert [each.sql for each in talk.statements()] == ["DELETE FROM b"]


def test_unnamed_statement_and_portal_are_replaced():
    talk = Dialogue()
    for name in ("a", "b"):
        talk.client(extended(f"DELETE FROM {name}"), sync()).server(answers("DELETE 1"))
    talk.client(bind(), execute(), sync()).server(bound(), complete("DELETE 0"), ready())
    assert [each.sql for each in talk.statements()] == ["DELETE FROM a", "DELETE FROM b", "DELETE FROM b"]


def test_a_parse_that_fails_does_not_replace_the_statement_of_that_name():
    talk = Dialogue().client(parse("DELETE FROM a", "s"), sync()).server(parsed(), ready())
    talk.client(parse("DELETE FROM b", "s"), sync()).server(error("42P05"), ready())
    talk.client(bind((), "s"), execute(), sync()).server(bound(), complete("DELETE 1"), ready())
    assert [(each.sql, each.status) for each in talk.statements()] == [
        ("DELETE FROM b", "error"),
        ("DELETE FROM a", "ok"),
    ]


def test_sql_prepare_execute_and_deallocate_share_the_names():
    talk = (
        Dialogue().run("PREPARE p AS DELETE FROM a WHERE id = $1", "PREPARE").run("EXECUTE p(1)", "DELETE 1")
    )
    talk.client(bind((b"2",), "p"), execute(), sync()).server(bound(), complete("DELETE 1"), ready())
    talk.run("DEALLOCATE p", "DEALLOCATE")
    statements = talk.statements()
    assert [each.command for each in statements] == ["PREPARE", "EXECUTE", "PREPARE", "DEALLOCATE"]
    assert statements[1].tables == statements[2].tables == ["public.a"]
    assert (statements[2].sql, values(statements[2])) == ("PREPARE p AS DELETE FROM a WHERE id = $1", ["2"])


# --- portals in pages ---


def test_a_portal_fetched_in_pages_is_one_statement():
    talk = Dialogue().client(parse("SELECT x FROM t"), bind(), describe(), execute(limit=2), flush())
    talk.server(parsed(), bound(), row_description(("x", INT4)), data_row(b"1"), data_row(b"2"), suspended())
    talk.client(execute(limit=2), flush()).server(data_row(b"3"), data_row(b"4"), suspended())
    talk.client(execute(limit=2), sync()).server(data_row(b"5"), complete("SELECT 1"), ready())
    (statement,) = talk.statements()
    assert (statement.rows, statement.tag, statement.fetches) == (5, "SELECT 1", 3)
    assert (statement.result.rows_recorded, statement.message) == (5, 4)
    assert statement.duration_us == 5000


def test_two_portals_fetched_in_turn_keep_their_rows():
    talk = Dialogue().client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    talk.client(parse("SELECT a", "a"), parse("SELECT b", "b"), bind((), "a", "pa"), bind((), "b", "pb"))
    talk.client(execute("pa", 1), execute("pb", 1), execute("pa", 1), execute("pb", 1), sync())
    talk.server(parsed(), parsed(), bound(), bound())
    talk.server(data_row(b"a1"), suspended(), data_row(b"b1"), suspended())
    talk.server(data_row(b"a2"), suspended(), complete("SELECT 0"), ready(b"T"))
    talk.run("COMMIT", "COMMIT")
    rows = {
        each.sql: (each.rows, each.tag, each.fetches, each.transaction.outcome) for each in talk.statements()
    }
    assert rows["SELECT a"] == (2, None, 2, "committed")
    assert rows["SELECT b"] == (1, "SELECT 0", 2, "committed")


def test_a_portal_left_before_its_end_is_a_statement_without_a_tag():
    talk = Dialogue().client(parse("SELECT x FROM t"), bind(), execute(limit=1), sync())
    talk.server(parsed(), bound(), data_row(b"1"), suspended(), ready())
    (statement,) = talk.statements()
    assert (statement.rows, statement.tag, statement.status) == (1, None, "ok")
    assert statement.transaction.outcome == "committed"


# --- pipelines ---


def test_pipelined_statements_get_their_own_results():
    talk = Dialogue().client(
        extended("INSERT INTO a VALUES (1)"), extended("SELECT 1"), extended("DELETE FROM a"), sync()
    )
    talk.server(parsed(), bound(), no_data(), complete("INSERT 0 1"), parsed(), bound())
    talk.server(row_description(("x", INT4)), data_row(b"1"), complete("SELECT 1"))
    talk.server(parsed(), bound(), no_data(), complete("DELETE 9"), ready())
    assert talk.summary() == [
        ("INSERT INTO a VALUES (1)", "ok", "INSERT 0 1", "committed"),
        ("SELECT 1", "ok", "SELECT 1", "committed"),
        ("DELETE FROM a", "ok", "DELETE 9", "committed"),
    ]
    assert {each.transaction.number for each in talk.statements()} == {1}


def test_an_error_skips_to_sync_and_rolls_the_pipeline_back():
    talk = Dialogue().client(
        extended("INSERT INTO a VALUES (1)"), extended("SELECT 1/0"), extended("DELETE FROM a"), sync()
    )
    talk.client(extended("SELECT 2"), sync())
    talk.server(
        parsed(), bound(), no_data(), complete("INSERT 0 1"), parsed(), bound(), no_data(), error(), ready()
    )
    talk.server(answers("SELECT 1"))
    assert talk.summary() == [
        ("INSERT INTO a VALUES (1)", "ok", "INSERT 0 1", "rolled_back"),
        ("SELECT 1/0", "error", None, "rolled_back"),
        ("DELETE FROM a", "skipped", None, "rolled_back"),
        ("SELECT 2", "ok", "SELECT 1", "committed"),
    ]
    assert [each.transaction.number for each in talk.statements()] == [1, 1, 1, 2]


def test_an_error_that_arrives_before_the_rest_of_the_pipeline_skips_that_too():
    talk = Dialogue().client(extended("SELECT 1/0"), flush())
    talk.server(parsed(), bound(), no_data(), error())
    talk.client(extended("DELETE FROM a")).client(query("DELETE FROM b")).client(sync()).server(ready())
    talk.run("DELETE FROM c", "DELETE 1")
    assert [(each[0], each[1]) for each in talk.summary()] == [
        ("SELECT 1/0", "error"),
        ("DELETE FROM a", "skipped"),
        ("DELETE FROM b", "skipped"),
        ("DELETE FROM c", "ok"),
    ]


def test_an_error_in_parse_is_its_executes_error():
    talk = (
        Dialogue()
        .client(extended("SELEC 1", (b"1",)), extended("SELECT 2"), sync())
        .server(error("42601"), ready())
    )
    first, second = talk.statements()
    assert (first.sql, first.status, first.sqlstate, values(first)) == ("SELEC 1", "error", "42601", ["1"])
    assert (second.sql, second.status) == ("SELECT 2", "skipped")


def test_an_error_in_parse_alone_is_a_statement():
    talk = Dialogue().client(parse("SELECT * FROM secrets", "s"), describe("s", b"S"), sync())
    talk.server(error("42501"), ready())
    (statement,) = talk.statements()
    assert (statement.sql, statement.status, statement.sqlstate) == (
        "SELECT * FROM secrets",
        "error",
        "42501",
    )
    assert (statement.message, statement.transaction.outcome) == (1, "rolled_back")


def test_an_error_in_bind_is_its_executes_error():
    talk = Dialogue().client(parse("SELECT $1::int", "s"), sync()).server(parsed(), ready())
    talk.client(bind((b"x",), "s"), execute(), sync()).server(error("22P02"), ready())
    (statement,) = talk.statements()
    assert (statement.sql, statement.status, values(statement)) == ("SELECT $1::int", "error", ["x"])


def test_an_error_at_sync_rolls_back_what_seemed_to_be_done():
    talk = Dialogue().client(extended("INSERT INTO a VALUES (1)"), sync())
    talk.server(parsed(), bound(), no_data(), complete("INSERT 0 1"), error("23503"), ready())
    (statement,) = talk.statements()
    assert (statement.status, statement.transaction.outcome) == ("ok", "rolled_back")
    assert statement.transaction.reason == "the commit failed (23503)"
    assert talk.told()[0]["event"] == "commit_failed"


def test_an_empty_statement():
    talk = Dialogue().client(extended(""), sync()).server(parsed(), bound(), no_data(), empty(), ready())
    (statement,) = talk.statements()
    assert (statement.sql, statement.command, statement.status) == ("", None, "ok")


def test_messages_count_every_message_of_the_client():
    talk = Dialogue().client(extended("SELECT 1"), sync(), extended("SELECT 2"), sync())
    talk.server(answers("SELECT 1"), answers("SELECT 1"))
    assert [(each.seq, each.message) for each in talk.statements()] == [(1, 4), (2, 9)]


# --- bounded memory ---


def test_a_message_beyond_the_limit_keeps_its_head_and_says_so():
    talk = Dialogue(limit=32).client(query("SELECT 1 /* " + "x" * 100 + " */; DELETE FROM a"))
    talk.server(complete("SELECT 1"), complete("DELETE 3"), ready())
    (statement,) = talk.statements()
    assert (statement.sql, statement.truncated) == ("SELECT 1 /* " + "x" * 20, True)
    assert statement.tag == "SELECT 1; DELETE 3"


def test_parameters_beyond_the_limit_keep_their_head_and_say_so():
    talk = Dialogue(limit=32).client(parse("SELECT $1, $2"), bind((b"ab", b"y" * 100)), execute(), sync())
    talk.server(parsed(), bound(), complete("SELECT 1"), ready())
    (statement,) = talk.statements()
    assert (statement.truncated, values(statement)) == (True, ["ab", "y" * 16])


def test_requests_that_wait_are_held_up_to_a_bound(monkeypatch):
    monkeypatch.setattr("pgwitness.statements.conversation._MAX_WAITING", 100)
    monkeypatch.setattr("pgwitness.statements.conversation._SMALL", 20)
    sql = "SELECT 1 -- " + "x" * 100
    talk = Dialogue().client(extended(sql), extended(sql), sync())
    talk.server(parsed(), bound(), no_data(), complete("SELECT 1"))
    talk.server(parsed(), bound(), no_data(), complete("SELECT 1"), ready())
    first, second = talk.statements()
    assert (first.sql, first.truncated) == (sql, False)
    assert (second.sql, second.truncated) == (sql[:19], True)


def test_what_is_skipped_without_a_sync_is_held_up_to_a_bound(monkeypatch):
    monkeypatch.setattr("pgwitness.statements.unanswered.MAX_HELD", 100)
    talk = Dialogue().client(extended("SELECT 1/0"), flush()).server(parsed(), bound(), no_data(), error())
    talk.client(extended("DELETE FROM a"), parse("x" * 200, "s"), bind((), "s"), execute(), sync()).server(
        ready()
    )
    assert [(each.sql, each.status) for each in talk.statements()] == [
        ("SELECT 1/0", "error"),
        ("DELETE FROM a", "skipped"),
        ("", "skipped"),
    ]
    assert talk.statements()[-1].truncated


def test_a_pipeline_in_one_frame_is_settled_whole():
    count = 1000
    talk = Dialogue().client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    talk.client(*[extended("DELETE FROM a")] * count, extended("ROLLBACK"), sync())
    talk.server(*[parsed() + bound() + no_data() + complete("DELETE 1")] * count, answers("ROLLBACK"))
    outcomes = {each.transaction.outcome for each in talk.statements()}
    assert (len(talk.statements()), outcomes) == (count + 2, {"rolled_back"})


# --- bad input ---


def test_a_malformed_bind_waits_for_its_error_like_any_other():
    talk = Dialogue().client(parse("SELECT 1"), message(b"B", b"\0\0\0"), execute(), sync())
    talk.server(parsed(), error("08P01"), ready())
    talk.run("SELECT 2", "SELECT 1")
    assert talk.summary()[-1] == ("SELECT 2", "ok", "SELECT 1", "committed")


def test_an_execute_of_a_portal_that_is_not_there():
    talk = Dialogue().client(execute("nope"), sync()).server(error("34000"), ready())
    (statement,) = talk.statements()
    assert (statement.sql, statement.status, statement.sqlstate) == ("", "error", "34000")


def test_the_unnamed_statement_is_gone_after_a_query_and_after_a_parse_that_failed():
    for between, answer in (
        (query("SELECT 1"), (complete("SELECT 1"), ready())),
        (parse("SELEC") + sync(), (error("42601"), ready())),
    ):
        talk = Dialogue().client(parse("DELETE FROM a"), sync()).server(parsed(), ready())
        talk.client(between).server(*answer).client(bind(), execute(), sync()).server(error("26000"), ready())
        last = talk.statements()[-1]
        assert (last.sql, last.status, last.sqlstate) == ("", "error", "26000")
