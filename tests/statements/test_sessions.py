"""What surrounds statements: start, cancels, function calls, lost frames, malformed streams, ends."""

from struct import pack

import pytest

from pgwitness.statements.assembler import SessionAssembler, assemble
from pgwitness.statements.model import SessionEnded, SessionStarted
from pgwitness.wire.codec import message, parameter_status, query
from support.dialogue import (
    Dialogue,
    complete,
    data_row,
    error,
    ready,
    row_description,
    settled,
)


def test_a_session_starts_and_ends_with_events():
    first, last = Dialogue().ended("killed").events()
    assert isinstance(first, SessionStarted)
    assert first.header["identity"] == "billing-agent"
    assert isinstance(last, SessionEnded)
    assert (last.reason, last.at) == ("killed", "2026-11-18T11:06:40.001000Z")


# --- cancels ---


def test_a_statement_that_somebody_cancelled():
    talk = (
        Dialogue().client(query("SELECT pg_sleep(9)")).event(event="cancel_requested", address="10.0.0.7:5")
    )
    talk.server(error("57014"), ready())
    (statement,) = talk.statements()
    assert (statement.status, statement.sqlstate, statement.transaction.outcome) == (
        "cancelled",
        "57014",
        "rolled_back",
    )
    assert talk.told()[0]["address"] == "10.0.0.7:5"


def test_a_timeout_is_an_error():
    talk = Dialogue().client(query("SELECT pg_sleep(9)")).server(error("57014"), ready())
    assert talk.statements()[0].status == "error"


def test_a_cancel_is_spent_by_the_statement_that_it_hit():
    talk = (
        Dialogue().client(query("SELECT 1")).event(event="cancel_requested").server(error("57014"), ready())
    )
    talk.client(query("SELECT 2")).server(error("57014"), ready())
    assert [each.status for each in talk.statements()] == ["cancelled", "error"]


# --- function calls ---


def test_a_function_call():
    arguments = pack("!IHHH", 952, 1, 1, 2) + pack("!II", 4, 16385) + pack("!Ii", 4, 131072) + pack("!H", 1)
    talk = Dialogue(keep_results=True).client(message(b"F", arguments))
    talk.server(message(b"V", pack("!Ii", 4, 0)), ready(b"T"))
    (statement,) = talk.statements()
    assert (statement.protocol, statement.sql, statement.command) == (
        "function",
        "function 952 (lo_open)",
        "FUNCTION",
    )
    assert [(each.type, each.value) for each in statement.parameters] == [
        ("oid", "16385"),
        ("int4", "131072"),
    ]
    assert (statement.status, statement.result.data) == ("ok", [["0"]])


def test_a_function_that_is_not_known_and_fails():
    talk = (
        Dialogue()
        .client(message(b"F", pack("!IHHIBH", 4711, 0, 1, 1, 65, 0)))
        .server(error("42883"), ready())
    )
    talk.run("SELECT 1", "SELECT 1")
    first, second = talk.statements()
    assert (first.sql, first.status, first.parameters[0].value) == ("function 4711", "error", "A")
    assert (first.transaction.outcome, second.transaction.outcome) == ("rolled_back", "committed")


# --- names of tables ---


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT * FROM orders o, app.users", ["public.orders", "app.users"]),
        ("SELECT * FROM pg_class", ["pg_catalog.pg_class"]),
        ('SELECT * FROM "Orders"', ['public."Orders"']),
        ("WITH x AS (SELECT * FROM a) SELECT * FROM x JOIN b USING (id)", ["public.b", "public.a"]),
        ("WITH a AS (SELECT 1) UPDATE a SET x = 1", ["public.a"]),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", ["public.a"]),
        (
            "INSERT INTO a SELECT * FROM b WHERE EXISTS (SELECT 1 FROM c)",
            ["public.a", "public.b", "public.c"],
        ),
        ("TRUNCATE a, b", ["public.a", "public.b"]),
        ("DROP TABLE a, s.b", ["public.a", "s.b"]),
        ("MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", ["public.a", "public.b"]),
        ("EXPLAIN ANALYZE DELETE FROM a", ["public.a"]),
        ("SELECT 1", []),
    ],
)
def test_tables_are_what_the_parser_sees(sql, tables):
    assert Dialogue().run(sql, "X").statements()[0].tables == tables


def tables_of(talk):
    return [each.tables for each in talk.statements() if each.command == "SELECT"]


def test_a_search_path_that_the_server_reports_is_used():
    talk = Dialogue(upstream={"parameters": {"search_path": '"$user", public'}})
    talk.run("SELECT * FROM a", "SELECT 0")
    talk.client(query("SET search_path = app, public")).server(complete("SET"))
    talk.server(parameter_status("search_path", "app, public"), ready()).run("SELECT * FROM a", "SELECT 0")
    assert tables_of(talk) == [["public.a"], ["app.a"]]


def test_a_search_path_that_the_client_sets_is_followed_and_rolled_back():
    talk = (
        Dialogue()
        .run("SET search_path TO app", "SET")
        .run("SELECT * FROM a", "SELECT 0")
        .run("BEGIN", "BEGIN", b"T")
    )
    talk.run("SET LOCAL search_path = other", "SET", b"T").run("SELECT * FROM a", "SELECT 0", b"T")
    talk.run("COMMIT", "COMMIT").run("SELECT * FROM a", "SELECT 0").run("BEGIN", "BEGIN", b"T")
    talk.run("SET search_path = third", "SET", b"T").run("ROLLBACK", "ROLLBACK").run(
        "SELECT * FROM a", "SELECT 0"
    )
    talk.run("RESET search_path", "RESET").run("SELECT * FROM a", "SELECT 0")
    assert tables_of(talk) == [["app.a"], ["other.a"], ["app.a"], ["app.a"], ["public.a"]]


def test_a_temporary_table_is_not_a_public_one():
    talk = Dialogue().run("CREATE TEMP TABLE a (x int)", "CREATE TABLE").run("SELECT * FROM a", "SELECT 0")
    talk.run("DROP TABLE a", "DROP TABLE").run("SELECT * FROM a", "SELECT 0")
    assert tables_of(talk) == [["pg_temp.a"], ["public.a"]]


# --- encodings ---


def test_text_is_read_in_the_clients_encoding():
    talk = Dialogue(client={"parameters": {"client_encoding": "LATIN1"}})
    talk.client(b"Q\0\0\0\x0fSELECT '\xe9'\0").server(complete("SELECT 1"), ready())
    talk.client(query("SELECT 2")).server(
        parameter_status("client_encoding", "UTF8"), complete("SELECT 1"), ready()
    )
    talk.run("SELECT 'é'", "SELECT 1")
    assert [each.sql for each in talk.statements()] == ["SELECT 'é'", "SELECT 2", "SELECT 'é'"]


def test_bytes_that_are_not_text_are_shown_not_lost():
    talk = Dialogue().client(b"Q\0\0\0\x0fSELECT '\xe9'\0").server(error("22021"), ready())
    assert talk.statements()[0].sql == "SELECT '\\xe9'"


# --- loss ---


def cut(talk, *missing):
    return [event for frame in talk.frames if frame[1] not in missing for event in assemble_one(talk, frame)]


def assemble_one(talk, frame):
    if not hasattr(talk, "reader"):
        talk.reader = SessionAssembler()
    return talk.reader.feed(frame)


def test_a_gap_is_told_and_statements_carry_on():
    talk = (
        Dialogue()
        .run("DELETE FROM a", "DELETE 1")
        .run("DELETE FROM b", "DELETE 2")
        .run("DELETE FROM c", "DELETE 3")
    )
    events = cut(talk, 4)  # the answer to b
    told = [event.event for event in events if hasattr(event, "event")]
    assert told == [{"event": "sequence_gap", "expected": 4, "found": 5}]
    assert [(each.sql, each.status, each.transaction.outcome) for each in settled(events)] == [
        ("DELETE FROM a", "ok", "committed"),
        ("DELETE FROM b", "unfinished", "in_doubt"),
        ("DELETE FROM c", "ok", "committed"),
    ]


def test_a_gap_inside_a_message_finds_the_next_boundary():
    talk = (
        Dialogue()
        .client(query("DELETE FROM a")[:9])
        .client(query("DELETE FROM a")[9:])
        .server(complete("DELETE 1"), ready())
    )
    talk.run("DELETE FROM b", "DELETE 2")
    assert [(each.sql, each.status) for each in settled(cut(talk, 2))] == [("DELETE FROM b", "ok")]


def test_a_frame_that_was_read_before_changes_nothing():
    talk = Dialogue().run("DELETE FROM a", "DELETE 1")
    assert len(settled([*cut(talk), *cut(talk)])) == 1


def test_a_reader_that_joins_in_the_middle_reads_what_it_can():
    talk = Dialogue().run("DELETE FROM a", "DELETE 1").run("DELETE FROM b", "DELETE 2")
    (statement,) = settled(cut(talk, 0, 1, 2))
    assert (statement.sql, statement.identity, statement.connection) == ("DELETE FROM b", None, None)
    assert statement.session == "00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_a_malformed_stream_is_told_once():
    talk = Dialogue().client(query("DELETE FROM a") + b"Q\0\0\0\1").client(b"garbage").ended("protocol_error")
    assert [event["event"] for event in talk.told()] == ["malformed"]
    assert [each.status for each in talk.statements()] == ["unfinished"]


def test_messages_cut_anywhere_give_the_same_statements():
    whole = (
        Dialogue()
        .client(query("SELECT 1"))
        .server(row_description(("x", 23)), data_row(b"1"), complete("SELECT 1"), ready())
    )
    torn = Dialogue()
    for octet in query("SELECT 1"):
        torn.client(bytes([octet]))
    for octet in whole.frames[2][5]:
        torn.server(bytes([octet]))
    assert torn.summary() == whole.summary()
    assert torn.statements()[0].position == torn.frames[len(query("SELECT 1"))][4]


def test_sessions_interleave():
    one, two = Dialogue(), Dialogue()
    one.run("DELETE FROM a", "DELETE 1").ended()
    two.run("DELETE FROM b", "DELETE 2").ended()
    others = [(bytes(15) + b"\1", *frame[1:]) for frame in two.frames]
    recorder = (bytes(16), 0, 7, 0, 0, b'{"event": "started"}')
    frames = [recorder, *(frame for pair in zip(one.frames, others, strict=True) for frame in pair)]
    assert [each.sql for each in settled(list(assemble(frames)))] == ["DELETE FROM a", "DELETE FROM b"]
