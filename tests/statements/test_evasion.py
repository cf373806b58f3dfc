"""Texts that the parser reads otherwise than the server, or not at all, hide nothing and accuse nobody
of a rollback that was none."""

from pgwitness.statements import sql
from pgwitness.wire.codec import parameter_status, query
from support.dialogue import (
    Dialogue,
    bind,
    bound,
    complete,
    data_row,
    error,
    execute,
    parse,
    parsed,
    ready,
    suspended,
    sync,
)

NEW = "SELEC new syntax"  # stands for what only the server's grammar knows


def test_backslashes_in_plain_strings_are_not_read_where_the_server_reads_them_otherwise():
    hidden = "SELECT '\\'' ; DELETE FROM a; --'"
    talk = Dialogue().run("SET standard_conforming_strings = off", "SET")
    talk.server(parameter_status("standard_conforming_strings", "off"))
    talk.client(query(hidden)).server(complete("SELECT 1"), complete("DELETE 5"), ready())
    last = talk.ended().statements()[-1]
    assert (last.sql, last.tag, last.command, last.rows) == (hidden, "SELECT 1; DELETE 5", "DELETE", 6)


def test_what_was_committed_before_an_error_in_a_text_that_is_not_understood():
    talk = Dialogue().client(query(f"{NEW}; COMMIT; SELECT 1/0"))
    (statement,) = talk.server(complete("INSERT 0 1"), complete("COMMIT"), error(), ready()).statements()
    assert (statement.status, statement.transaction.outcome) == ("error", "committed")


def test_a_rollback_that_is_not_understood_may_have_been_to_a_savepoint():
    talk = Dialogue().run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 3", b"T")
    talk.client(query(f"SAVEPOINT s; {NEW}; ROLLBACK TO s"))
    talk.server(complete("SAVEPOINT"), complete("SELECT 1"), complete("ROLLBACK"), ready(b"T"))
    talk.run("COMMIT", "COMMIT")
    outcomes = [each.transaction.outcome for each in talk.ended().statements()]
    assert outcomes == ["in_doubt", "in_doubt", "in_doubt", "committed"]


def test_a_commit_behind_a_thousand_tags_is_seen():
    talk = Dialogue().client(query(f"{NEW}; …"))
    talk.server(*[complete("SELECT 1")] * 1500, complete("COMMIT"), complete("SELECT 1"), error(), ready())
    assert talk.statements()[0].transaction.outcome == "committed"


def test_a_text_of_very_many_statements_is_bounded_and_whole():
    count = sql.MAX_PARTS + 500
    talk = Dialogue().client(query("SELECT;" * count)).server(*[complete("SELECT 1")] * count, ready())
    statements = talk.ended().statements()
    assert len(statements) == sql.MAX_PARTS
    assert sum(each.rows or 0 for each in statements) == count
    assert {each.transaction.outcome for each in statements} == {"committed"}


def test_back_to_a_savepoint_closes_the_portals_opened_since():
    talk = Dialogue().run("BEGIN", "BEGIN", b"T").run("SAVEPOINT s", "SAVEPOINT", b"T")
    talk.client(parse("SELECT f()"), bind(portal="p"), execute("p", 1), sync())
    talk.server(parsed(), bound(), data_row(b"1"), suspended(), ready(b"T"))
    talk.run("ROLLBACK TO s", "ROLLBACK", b"T").run("COMMIT", "COMMIT")
    found = {each.sql: each.transaction.outcome for each in talk.ended().statements()}
    assert found["SELECT f()"] == "rolled_back"
    assert found["COMMIT"] == "committed"
