"""What became of each statement: the server's tags and its status byte decide."""

import pytest

from pgwitness.wire.codec import query
from support.dialogue import (
    Dialogue,
    bind,
    bound,
    complete,
    error,
    execute,
    extended,
    flush,
    no_data,
    parse,
    parsed,
    ready,
    sync,
)


def outcomes(talk):
    return [
        (each.tag or each.status, each.transaction.number, each.transaction.outcome)
        for each in talk.statements()
    ]


def begun(**options):
    return Dialogue(**options).run("BEGIN", "BEGIN", b"T").run("UPDATE a SET x = 1", "UPDATE 7", b"T")


def test_statements_outside_a_block_are_transactions_of_their_own():
    talk = Dialogue().run("DELETE FROM a", "DELETE 1").run("DELETE FROM b", "DELETE 2")
    assert outcomes(talk) == [("DELETE 1", 1, "committed"), ("DELETE 2", 2, "committed")]


@pytest.mark.parametrize("begin", ["BEGIN", "START TRANSACTION"])
@pytest.mark.parametrize("commit", ["COMMIT", "END", "commit work"])
def test_a_block_that_commits(begin, commit):
    talk = Dialogue().run(begin, begin, b"T").run("DELETE FROM a", "DELETE 1", b"T").run(commit, "COMMIT")
    talk.run("SELECT 1", "SELECT 1")
    assert [each[1:] for each in outcomes(talk)] == [(1, "committed")] * 3 + [(2, "committed")]


@pytest.mark.parametrize("rollback", ["ROLLBACK", "ABORT"])
def test_a_block_that_rolls_back(rollback):
    talk = begun().run(rollback, "ROLLBACK")
    assert [each[1:] for each in outcomes(talk)] == [(1, "rolled_back")] * 3


def test_a_statement_in_an_open_block_is_open():
    assert [each[2] for each in outcomes(begun())] == ["open", "open"]


def test_a_commit_that_the_server_answers_with_rollback_is_a_rollback():
    talk = begun().client(query("SELECT 1/0")).server(error(), ready(b"E")).run("COMMIT", "ROLLBACK")
    assert outcomes(talk) == [
        ("BEGIN", 1, "rolled_back"),
        ("UPDATE 7", 1, "rolled_back"),
        ("error", 1, "rolled_back"),
        ("ROLLBACK", 1, "rolled_back"),
    ]
    commit = talk.statements()[-1]
    assert (commit.command, commit.transaction.reason) == ("COMMIT", "COMMIT was answered with ROLLBACK")


def test_a_commit_that_fails_rolls_back():
    talk = begun().client(query("COMMIT")).server(error("23503"), ready())
    assert [each[2] for each in outcomes(talk)] == ["rolled_back"] * 3


def test_rolling_back_to_a_savepoint_touches_only_what_came_after_it():
    talk = begun().run("SAVEPOINT s", "SAVEPOINT", b"T").run("DELETE FROM a", "DELETE 1", b"T")
    talk.client(query("SELECT 1/0")).server(error(), ready(b"E"))
    talk.run("ROLLBACK TO SAVEPOINT s", "ROLLBACK", b"T").run("DELETE FROM b", "DELETE 2", b"T").run(
        "COMMIT", "COMMIT"
    )
    assert [(each[0], each[2]) for each in outcomes(talk)] == [
        ("BEGIN", "committed"),
        ("UPDATE 7", "committed"),
        ("SAVEPOINT", "committed"),
        ("DELETE 1", "rolled_back"),
        ("error", "rolled_back"),
        ("ROLLBACK", "committed"),
        ("DELETE 2", "committed"),
        ("COMMIT", "committed"),
    ]
    assert talk.statements()[3].transaction.reason == "rolled back to a savepoint"


def test_savepoints_of_one_name_hide_each_other_and_release_brings_the_outer_back():
    talk = begun().run("SAVEPOINT s", "SAVEPOINT", b"T").run("DELETE FROM a", "DELETE 1", b"T")
    talk.run("SAVEPOINT s", "SAVEPOINT", b"T").run("DELETE FROM b", "DELETE 2", b"T")
    talk.run("RELEASE s", "RELEASE", b"T").run("ROLLBACK TO s", "ROLLBACK", b"T").run("COMMIT", "COMMIT")
    assert {each[0]: each[2] for each in outcomes(talk)} == {
        "BEGIN": "committed",
        "UPDATE 7": "committed",
        "SAVEPOINT": "rolled_back",  # the inner one, which this dict keeps
        "DELETE 1": "rolled_back",
        "DELETE 2": "rolled_back",
        "RELEASE": "rolled_back",
        "ROLLBACK": "committed",
        "COMMIT": "committed",
    }


def test_commit_and_chain_begins_the_next_block_at_once():
    talk = (
        begun()
        .run("COMMIT AND CHAIN", "COMMIT", b"T")
        .run("DELETE FROM a", "DELETE 1", b"T")
        .run("ROLLBACK", "ROLLBACK")
    )
    assert [each[1:] for each in outcomes(talk)] == [(1, "committed")] * 3 + [(2, "rolled_back")] * 2


def test_control_inside_one_message_splits_it_into_transactions():
    talk = Dialogue().client(query("DELETE FROM a; COMMIT; DELETE FROM b; SELECT 1/0; DELETE FROM c"))
    talk.server(complete("DELETE 1"), complete("COMMIT"), complete("DELETE 2"), error(), ready())
    assert outcomes(talk) == [
        ("DELETE 1", 1, "committed"),
        ("COMMIT", 1, "committed"),
        ("DELETE 2", 2, "rolled_back"),
        ("error", 2, "rolled_back"),
        ("skipped", 2, "rolled_back"),
    ]


def test_a_block_begun_inside_one_message_takes_in_what_precedes_it():
    talk = Dialogue().client(query("DELETE FROM a; BEGIN; DELETE FROM b"))
    talk.server(complete("DELETE 1"), complete("BEGIN"), complete("DELETE 2"), ready(b"T")).run(
        "ROLLBACK", "ROLLBACK"
    )
    assert [each[1:] for each in outcomes(talk)] == [(1, "rolled_back")] * 4


def test_a_block_in_a_pipeline_ends_where_its_commit_stands():
    talk = Dialogue().client(extended("BEGIN"), extended("DELETE FROM a"), extended("COMMIT"))
    talk.client(extended("DELETE FROM b"), extended("SELECT 1/0"), sync())
    for tag in ("BEGIN", "DELETE 1", "COMMIT", "DELETE 2"):
        talk.server(parsed(), bound(), no_data(), complete(tag))
    talk.server(parsed(), bound(), no_data(), error(), ready())
    assert outcomes(talk) == [
        ("BEGIN", 1, "committed"),
        ("DELETE 1", 1, "committed"),
        ("COMMIT", 1, "committed"),
        ("DELETE 2", 2, "rolled_back"),
        ("error", 2, "rolled_back"),
    ]


def test_executes_without_a_sync_and_a_query_are_one_implicit_transaction():
    talk = Dialogue().client(extended("DELETE FROM a"), query("DELETE FROM b"))
    talk.server(parsed(), bound(), no_data(), complete("DELETE 1"), complete("DELETE 2"), ready(b"T"))
    assert outcomes(talk) == [("DELETE 1", 1, "open"), ("DELETE 2", 1, "open")]
    talk.client(sync()).server(ready())
    assert outcomes(talk) == [("DELETE 1", 1, "committed"), ("DELETE 2", 1, "committed")]


def test_a_prepared_transaction_waits_for_its_second_phase():
    talk = begun().run("PREPARE TRANSACTION 'g'", "PREPARE TRANSACTION").run("SELECT 1", "SELECT 1")
    assert [each[1:] for each in outcomes(talk)] == [(1, "open")] * 3 + [(2, "committed")]
    talk.run("COMMIT PREPARED 'g'", "COMMIT PREPARED")
    assert [each[1:] for each in outcomes(talk)] == [(1, "committed")] * 3 + [
        (2, "committed"),
        (3, "committed"),
    ]


def test_a_prepared_transaction_that_outlives_its_session_is_in_doubt():
    talk = begun().run("PREPARE TRANSACTION 'g'", "PREPARE TRANSACTION").ended()
    assert [each[2] for each in outcomes(talk)] == ["in_doubt"] * 3


def test_vacuum_in_a_pipeline_has_committed_by_itself():
    talk = Dialogue().client(extended("VACUUM a"), extended("SELECT 1/0"), sync())
    talk.server(
        parsed(), bound(), no_data(), complete("VACUUM"), parsed(), bound(), no_data(), error(), ready()
    )
    assert outcomes(talk) == [("VACUUM", 1, "committed"), ("error", 2, "rolled_back")]


# --- lost connections ---


def test_a_connection_lost_at_commit_is_in_doubt():
    talk = begun().client(query("COMMIT")).ended("server_lost")
    assert outcomes(talk) == [
        ("BEGIN", 1, "in_doubt"),
        ("UPDATE 7", 1, "in_doubt"),
        ("unfinished", 1, "in_doubt"),
    ]
    assert talk.statements()[0].transaction.reason == "the session ended at COMMIT (server_lost)"


def test_a_connection_lost_at_a_pipelined_commit_is_in_doubt():
    talk = begun().client(parse("COMMIT"), bind(), execute(), sync()).ended("client_lost")
    assert [each[2] for each in outcomes(talk)] == ["in_doubt"] * 3
    assert talk.statements()[-1].sql == "COMMIT"


def test_a_connection_lost_in_mid_transaction_is_rolled_back():
    talk = begun().client(query("DELETE FROM a")).ended("client_lost")
    assert outcomes(talk) == [
        ("BEGIN", 1, "rolled_back"),
        ("UPDATE 7", 1, "rolled_back"),
        ("unfinished", 1, "rolled_back"),
    ]
    assert talk.statements()[1].transaction.reason == "the session ended in mid-transaction (client_lost)"


def test_terminate_in_mid_transaction_is_rolled_back():
    assert [each[2] for each in outcomes(begun().ended("terminated"))] == ["rolled_back"] * 2


def test_a_lone_statement_without_an_answer_is_in_doubt():
    assert outcomes(Dialogue().client(query("DELETE FROM a")).ended("server_lost")) == [
        ("unfinished", 1, "in_doubt")
    ]


def test_a_pipeline_whose_sync_was_never_sent_is_rolled_back():
    talk = Dialogue().client(extended("DELETE FROM a"), flush())
    talk.server(parsed(), bound(), no_data(), complete("DELETE 1")).ended("client_lost")
    assert outcomes(talk) == [("DELETE 1", 1, "rolled_back")]


def test_a_pipeline_whose_sync_got_no_answer_is_in_doubt():
    talk = Dialogue().client(extended("DELETE FROM a"), sync())
    talk.server(parsed(), bound(), no_data(), complete("DELETE 1")).ended("server_lost")
    assert outcomes(talk) == [("DELETE 1", 1, "in_doubt")]


def test_a_failed_block_is_rolled_back_whatever_waits():
    talk = (
        begun()
        .client(query("SELECT 1/0"))
        .server(error(), ready(b"E"))
        .client(query("COMMIT"))
        .ended("server_lost")
    )
    assert [each[2] for each in outcomes(talk)] == ["rolled_back"] * 4


def test_a_fatal_error_fails_its_statement_and_ends_the_session():
    talk = begun().client(query("SELECT pg_sleep(9)")).server(error("57P01", "FATAL")).ended("server_closed")
    assert outcomes(talk)[-1] == ("error", 1, "rolled_back")
    assert talk.statements()[-1].sqlstate == "57P01"


def test_a_fatal_error_between_statements_is_an_event():
    talk = Dialogue().run("SELECT 1", "SELECT 1").server(error("57P01", "FATAL")).ended("server_closed")
    assert [each[1] for each in talk.summary()] == ["ok"]
    assert talk.told()[0]["sqlstate"] == "57P01"


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("CREATE INDEX CONCURRENTLY i ON a (x)", "CREATE INDEX"),
        ("DROP INDEX CONCURRENTLY i", "DROP INDEX"),
        ("REINDEX TABLE CONCURRENTLY a", "REINDEX"),
    ],
)
def test_what_commits_by_itself_stays_when_its_pipeline_fails(text: str, tag: str) -> None:
    talk = Dialogue().client(extended(text), extended("SELECT 1/0"), sync())
    talk.server(parsed(), bound(), no_data(), complete(tag), parsed(), bound(), no_data(), error(), ready())
    assert [each.transaction.outcome for each in talk.statements()] == ["committed", "rolled_back"]
