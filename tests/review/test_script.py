"""A session as a script: what is a statement in it, what a comment; and no text of an agent commands psql."""

import re
from pathlib import Path

import pytest

from pgwitness.review.export import export_session
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import (
    Dialogue,
    answers,
    complete,
    copy_data,
    copy_done,
    copy_in,
    error,
    extended,
    parsed,
    ready,
    sync,
)


def _export(state: Path, talk: Dialogue, format: str = "sql") -> str:
    tapes.record(state, talk)
    reader = tapes.index(state)
    text = b"".join(export_session(reader, Path("unread"), str(tapes.session_id(1))[-5:], format)).decode()
    reader.close()
    return text


def _runs(script: str) -> list[str]:
    """What a server would get."""
    lines = [line for line in script.splitlines() if line and not line.startswith("--")]
    lines = [line.removesuffix(" -- implicit").removesuffix(" -- sent as COMMIT") for line in lines]
    return [line for line in lines if not line.startswith("SET client_encoding")]


def test_values_stand_in_place_with_their_types(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.client(extended("UPDATE a SET b = $1 WHERE c = $2", (b"x", None), (25, 23)), sync())
    talk.server(answers("UPDATE 2"))
    assert _runs(_export(tmp_path, talk)) == ["UPDATE a SET b = 'x'::text WHERE c = NULL::int4;"]


def test_transactions_end_as_they_ended(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 1", b"T")
    talk.client(query("SELECT 1/0")).server(error(), ready(b"E")).run("COMMIT", "ROLLBACK")
    talk.run("BEGIN", "BEGIN", b"T").run("SAVEPOINT s", "SAVEPOINT", b"T").run(
        "DELETE FROM b", "DELETE 1", b"T"
    )
    talk.run("ROLLBACK TO s", "ROLLBACK", b"T").run("COMMIT", "COMMIT")
    talk.run("BEGIN", "BEGIN", b"T").run("DELETE FROM c", "DELETE 1", b"T").ended("client_lost")
    assert _runs(_export(tmp_path, talk)) == [
        *("BEGIN;", "DELETE FROM a;", "ROLLBACK;"),
        *("BEGIN;", "SAVEPOINT s;", "DELETE FROM b;", "ROLLBACK TO s;", "COMMIT;"),
        *("BEGIN;", "DELETE FROM c;", "ROLLBACK;"),
    ]


def test_statements_of_one_message_are_one_transaction(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.client(query("DELETE FROM a; DELETE FROM b")).server(
        complete("DELETE 1"), complete("DELETE 2"), ready()
    )
    talk.client(query("DELETE FROM c; SELECT 1/0; DELETE FROM d"))
    talk.server(complete("DELETE 1"), error(), ready())
    script = _export(tmp_path, talk)
    assert [line.strip() for line in _runs(script)] == [
        *("BEGIN;", "DELETE FROM a;", "DELETE FROM b;", "COMMIT;"),
        *("BEGIN;", "DELETE FROM c;", "ROLLBACK;"),
    ]
    assert "never ran" in script


def test_what_the_server_did_not_carry_out_is_a_comment(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.client(query("SELECT\r\\! rm -rf /\n, 1/0")).server(error("42601"), ready())
    talk.client(query("COPY a FROM STDIN")).server(copy_in())
    talk.client(copy_data(b"1\n"), copy_done()).server(complete("COPY 1"), ready())
    talk.client(query("SELECT 1"))
    script = _export(tmp_path, talk)
    assert _runs(script) == []
    assert all(line.startswith(("--", "SET ")) for line in re.split(r"[\r\n]+", script) if line)


@pytest.mark.parametrize(
    "sql",
    [
        r"SELECT '\'; \! touch /tmp/owned; --'",
        r'SELECT 1 AS "\! touch /tmp/owned"',
        r"SELECT E'\'' || $do$ x $do$ || $sql$ y $sql$",
    ],
)
def test_a_backslash_never_reaches_psql_outside_of_dollar_quotes(tmp_path: Path, sql: str) -> None:
    talk = tapes.dialogue(1).run(sql, "SELECT 1")
    (line,) = _runs(_export(tmp_path, talk))
    found = re.fullmatch(r"DO (\$\w+\$)BEGIN EXECUTE (\$\w+\$)(.*)\2; END\1;", line)
    assert found
    assert found[3] == sql
    assert found[1] not in line[len("DO ") + len(found[1]) : -len(found[1]) - 1]


def test_a_backslash_in_a_value_is_only_a_value(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.client(extended("SELECT $1", (rb"\! true '",), (25,)), sync()).server(answers("SELECT 1"))
    assert _runs(_export(tmp_path, talk)) == [r"SELECT E'\\! true '''::text;"]


def test_a_comment_at_the_end_does_not_swallow_the_semicolon(tmp_path: Path) -> None:
    script = _export(tmp_path, tapes.dialogue(1).run("DELETE FROM a -- all", "DELETE 1"))
    assert "DELETE FROM a -- all\n;\n" in script


def test_nothing_in_a_claim_leaves_its_comment(tmp_path: Path) -> None:
    talk = tapes.dialogue(1, claims={"run": "x\nDROP TABLE orders;"}).run("SELECT 1", "SELECT 1")
    assert _runs(_export(tmp_path, talk)) == ["SELECT 1;"]


def test_an_unanswered_parse_is_no_statement(tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    talk.client(extended("SELECT 1"), sync()).server(parsed()).ended("server_lost")
    assert _runs(_export(tmp_path, talk)) == []
