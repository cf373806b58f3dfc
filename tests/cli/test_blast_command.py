"""``pgwitness blast``, and ``pgwitness tail``, on a state directory without a gateway."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pgwitness.cli import run
from support import tapes

ONE = str(tapes.session_id(1))
Command = Callable[..., tuple[str, str]]


@pytest.fixture
def pgwitness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    one = tapes.dialogue(1).run("UPDATE orders SET a = 1", "UPDATE 40000")
    one.run("BEGIN", "BEGIN", b"T").run("DELETE FROM orders", "DELETE 7", b"T").run("ROLLBACK", "ROLLBACK")
    tapes.record(tmp_path, one.ended(), tapes.dialogue(2, identity="ann").run("SELECT 1", "SELECT 1").ended())
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN", "PGWITNESS_CONFIG", "PGWITNESS_DEBUG"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PGWITNESS_STATE", str(tmp_path))

    def command(*arguments: str, code: int = 0) -> tuple[str, str]:
        done = run(arguments)
        out, said = capsys.readouterr()
        assert done == code, said
        return out, said

    return command


def test_a_session_by_its_tail(pgwitness: Command) -> None:
    shown, _ = pgwitness("blast", ONE[-6:])
    lines = shown.splitlines()
    assert lines[0] == f"Blast radius of session {ONE}"
    written = lines.index("WRITTEN and committed")
    assert lines[written + 1].split() == ["40,000", "rows", "UPDATE", "public.orders", "(1", "statement)"]
    assert lines[written + 2].split() == [*f"40,000 {ONE[-8:]} 1 UPDATE orders SET a = 1".split()]
    apart = lines.index("WRITTEN, not committed")
    assert "rolled back" in lines[apart + 1] and lines[apart + 1].split()[0] == "7"
    assert "NOT SEEN in these numbers" in lines
    assert pgwitness("blast", "--session", ONE)[0] == shown


def test_documents_and_tables(pgwitness: Command) -> None:
    document = json.loads(pgwitness("blast", "--identity", "billing-agent", "--format", "json")[0])
    assert document["scope"] == {"identity": "billing-agent"}
    assert [each["rows"] for each in document["writes"]] == [40000]
    assert json.loads(pgwitness("blast", "--identity", "billing-agent", "--format", "jsonl")[0]) == document
    header, *rows = pgwitness("blast", ONE, "--format", "csv")[0].splitlines()
    assert header.startswith("table,command,rows") and len(rows) == 2
    assert "No statement of this scope" in pgwitness("blast", "--identity", "nobody")[0]


def test_what_makes_no_sense_is_an_error(pgwitness: Command) -> None:
    assert "needs a scope" in pgwitness("blast", code=2)[1]
    assert "needs a scope" in pgwitness("blast", "--table", "orders", code=2)[1]
    assert "two sessions" in pgwitness("blast", ONE, "--session", "ffff", code=2)[1]
    assert "no session" in pgwitness("blast", "ffff", code=1)[1]


def test_the_reading_is_noted(pgwitness: Command) -> None:
    pgwitness("blast", ONE)
    (noted,) = json.loads(pgwitness("audit", "--action", "read.blast", "--format", "json")[0])
    assert noted["subject"] == ONE


def test_without_a_gateway_nothing_is_live(pgwitness: Command) -> None:
    said = pgwitness("tail", code=3)[1]
    assert "no gateway is running" in said and "pgwitness statements" in said
    assert "table or jsonl" in pgwitness("tail", "--format", "csv", code=2)[1]
