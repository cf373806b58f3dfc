"""A session as a script: what is a statement in it, what a comment; and no text of an agent commands psql."""

import json
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
    text = b"".join(export_session(reader, state / "tape", str(tapes.session_id(1))[-5:], format)).decode()
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
    talk.client(copy_data(b"1\n\\.\n\\! rm -rf /\n"), copy_done()).server(complete("COPY 1"), ready())
    talk.client(query("SELECT 1"))
    script = _export(tmp_path, talk)
    assert _runs(script) == []
    assert all(line.startswith(("--", "SET ")) for line in re.split(r"[\r\n]+", script) if line)


COPIES = {
    "COPY orders FROM stdin;": True,
    """COPY public."Orders" (a, "b c") FROM STDIN WITH (DELIMITER ',', NULL '\\N')""": True,
    "copy t\n from\n stdin with delimiter as E'\\t' null as E'\\\\N'": True,
    "COPY t FROM STDIN (FORMAT csv, ENCODING 'LATIN1')": False,
    "COPY t FROM STDIN (NULL E'\\'')": False,
    "COPY t FROM STDIN -- \\! true": False,
    "COPY :x FROM STDIN": False,
}


@pytest.mark.parametrize("sql", COPIES, ids=range(len(COPIES)))
def test_a_copy_stands_with_its_data_where_psql_reads_it_as_the_server_did(tmp_path: Path, sql: str) -> None:
    talk = tapes.dialogue(1).client(query(sql)).server(copy_in())
    talk.client(copy_data(b"1\tEVIL\n2\t"), copy_data("\\N☃".encode()), copy_done())
    talk.server(complete("COPY 2"), ready())
    lines = _runs(_export(tmp_path, talk))
    if COPIES[sql]:
        text = sql.rstrip(";").split("\n")
        assert lines == ["\\set ON_ERROR_STOP on", *text[:-1], f"{text[-1]};", "1\tEVIL", "2\t\\N☃", "\\."]
    else:
        assert lines == []


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", ["\\."]),
        (b"1\r\n2", ["1", "2", "\\."]),
        (b"1\n\\.\n", ["1", "\\."]),
        (b"1\n\\.\n2\n", None),
        (b"1\n\\.\r\n\n", None),
        (b"1\r2\r", None),
        (b"\xff\n", None),
    ],
)
def test_data_end_where_they_ended(tmp_path: Path, data: bytes, wanted: list[str] | None) -> None:
    talk = tapes.dialogue(1).client(query("COPY t FROM STDIN")).server(copy_in())
    talk.client(copy_data(data), copy_done()).server(complete("COPY 1"), ready())
    assert _runs(_export(tmp_path, talk))[2:] == (wanted or [])


def test_copied_data_are_a_field_in_jsonl(tmp_path: Path) -> None:
    talk = tapes.dialogue(1).client(query("COPY t FROM STDIN")).server(copy_in())
    talk.client(copy_data(b"9001\ta EVIL\t1\n"), copy_done()).server(complete("COPY 1"), ready())
    copy = json.loads(_export(tmp_path, talk, "jsonl"))["copy"]
    assert (copy["data"], copy["complete"]) == ("9001\ta EVIL\t1\n", True)


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
