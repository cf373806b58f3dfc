"""Stored and restored between frames, an assembler gives the same events; bad input cannot stop it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness.statements.assembler import SessionAssembler
from pgwitness.statements.model import StatementRecorded
from pgwitness.wire.codec import message, query
from support.dialogue import (
    SESSION,
    START,
    Dialogue,
    bind,
    bound,
    close,
    closed,
    complete,
    copy_data,
    copy_done,
    copy_in,
    copy_out,
    data_row,
    describe,
    error,
    execute,
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

CLIENT = [
    query("DELETE FROM a"),
    query("BEGIN; INSERT INTO a VALUES (1); SELECT 1"),
    query("COMMIT"),
    query("ROLLBACK TO s"),
    query("SAVEPOINT s"),
    query("COPY a FROM STDIN"),
    query("SET search_path = x"),
    query("CREATE TEMP TABLE a (x int)"),
    query("PREPARE TRANSACTION 'g'"),
    query("SELEC"),
    parse("SELECT $1", "s"),
    parse("DELETE FROM a"),
    bind((b"1", None), "s", "p", (1, 0)),
    bind(),
    describe(),
    describe("s", b"S"),
    execute(),
    execute("p", 1),
    close("s"),
    close("p", b"P"),
    sync(),
    flush(),
    copy_data(b"row\n"),
    copy_done(),
    message(b"F", b"\0\0\3\xb8\0\0\0\0\0\0"),
]
SERVER = [
    parsed(),
    bound(),
    closed(),
    no_data(),
    suspended(),
    row_description(("x", 23)),
    parameter_description(23, 25),
    data_row(b"1"),
    complete("DELETE 3"),
    complete("BEGIN"),
    complete("COMMIT"),
    complete("ROLLBACK"),
    complete("SAVEPOINT"),
    complete("PREPARE TRANSACTION"),
    error(),
    error("57014"),
    copy_in(),
    copy_out(),
    copy_data(b"out\n"),
    ready(),
    ready(b"T"),
    ready(b"E"),
    message(b"V", b"\0\0\0\1x"),
]

STEPS = st.one_of(
    st.tuples(st.just("client"), st.lists(st.sampled_from(CLIENT), min_size=1, max_size=4)),
    st.tuples(st.just("server"), st.lists(st.sampled_from(SERVER), min_size=1, max_size=4)),
    st.tuples(st.just("elided"), st.just([])),
    st.tuples(st.just("cancel"), st.just([])),
)


def play(steps, cut):
    """The steps as frames; a chunk is cut in two at ``cut``, so that messages span frames."""
    talk = Dialogue()
    for kind, messages in steps:
        if kind == "elided":
            talk.elided(3, 99)
        elif kind == "cancel":
            talk.event(event="cancel_requested")
        else:
            say = talk.client if kind == "client" else talk.server
            wire = b"".join(messages)
            for piece in (wire[:cut], wire[cut:]):
                if piece:
                    say(piece)
    return talk.ended("client_lost")


@given(st.lists(STEPS, max_size=25), st.integers(1, 40), st.booleans())
@settings(max_examples=200, deadline=None)
def test_restored_between_any_two_frames_it_gives_the_same_events(steps, cut, keep):
    frames = play(steps, cut).frames
    straight, broken = SessionAssembler(keep), SessionAssembler(keep)
    for frame in frames:
        broken = SessionAssembler.restore(broken.snapshot())
        assert broken.feed(frame) == straight.feed(frame)
    assert broken.ended


@given(st.lists(STEPS, max_size=25), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_every_statement_has_its_own_number_and_a_settled_outcome_at_the_end(steps, cut):
    statements = play(steps, cut).statements()
    assert sorted(each.seq for each in statements) == list(range(1, len(statements) + 1))
    assert all(each.transaction.outcome != "open" for each in statements)


@given(st.lists(st.tuples(st.integers(1, 6), st.binary(max_size=60)), max_size=12))
@settings(max_examples=200, deadline=None)
def test_garbage_never_raises(frames):
    assembler = SessionAssembler()
    for number, (kind, payload) in enumerate(frames):
        if kind == 4:
            payload = payload[:16].ljust(16, b"\0")
        assembler.feed((SESSION, number, kind, START + number, number, payload))


def test_a_restored_portal_is_still_the_one_that_later_messages_mean():
    talk = Dialogue().client(
        parse("SELECT $1", "s"), bind((b"\0\0\0\7",), "s", formats=(1,)), describe("s", b"S")
    )
    talk.client(execute(), sync()).server(parsed(), bound()).server(parameter_description(23), no_data())
    talk.server(complete("SELECT 1"), ready())
    assembler, events = SessionAssembler(), []
    for frame in talk.frames:
        assembler = SessionAssembler.restore(assembler.snapshot())
        events += assembler.feed(frame)
    assert events[-1].statement.parameters[0].value == "7"


def test_a_portal_in_pages_survives_a_restart():
    talk = Dialogue().client(parse("SELECT x"), bind(portal="p"), execute("p", 1), flush())
    talk.server(parsed(), bound(), data_row(b"1"), suspended())
    talk.client(query("SELECT 2")).server(complete("SELECT 1"), ready(b"T"))
    talk.client(execute("p", 1)).client(sync()).server(data_row(b"2"), suspended(), ready())
    assembler, events = SessionAssembler(keep_results=True), []
    for frame in talk.frames:
        assembler = SessionAssembler.restore(assembler.snapshot())
        events += assembler.feed(frame)
    second, paged = [event.statement for event in events if isinstance(event, StatementRecorded)]
    assert second.sql == "SELECT 2"
    assert (paged.sql, paged.portal, paged.fetches, paged.rows) == ("SELECT x", "p", 2, 2)
    assert paged.result.data == [["1"], ["2"]]


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x93\x09\x90\x90"])
def test_what_is_no_snapshot_is_refused(data):
    with pytest.raises(ValueError, match="snapshot"):
        SessionAssembler.restore(data)
