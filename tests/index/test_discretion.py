"""The setting of what the index keeps of statements' texts."""

from pathlib import Path

import pytest

from pgwitness.index.catchup import catch_up, rebuild
from pgwitness.index.discretion import Text, normalised
from pgwitness.index.location import Location
from pgwitness.index.opening import open_writer
from pgwitness.index.store import IndexReader
from pgwitness.review.values import inline
from pgwitness.statements.condense import condense
from pgwitness.statements.model import Statement
from pgwitness.wire.codec import error_response, query
from support import tapes
from support.dialogue import answers, extended, message, parse, ready, sync

VALUES = (b"private", b"Miller", b"98765", b"4711")


def _record(state: Path) -> None:
    """Private values wherever a client or a server can put one."""
    talk = tapes.dialogue(1).run("UPDATE t SET a = 'private', b = 98765 /* Miller */ WHERE c = 1", "UPDATE 7")
    talk.client(extended("SELECT $1, $2", (b"Miller", b"4711"), (25, 23)), sync()).server(answers("SELECT 1"))
    failed = error_response("ERROR", "22P02", 'invalid input: "Miller"', detail="Key (a)=(private)")
    talk.client(query("SELECT int4 'Miller'")).server(failed, ready())
    talk.server(message(b"A", b"\0\0\0\1news\0Miller\0"))
    talk.client(query("SELECT 1 FROM t")).ended()
    tapes.record(state, talk)


def _statements(state: Path, text: Text) -> list[Statement]:
    catch_up(state, text=text)
    reader = IndexReader(state)
    found = tapes.all_statements(reader)
    reader.close()
    return found


def _files(state: Path) -> bytes:
    return b"".join(file.read_bytes() for file in state.glob("index*") if file.is_file())


def test_all_is_all(tmp_path: Path) -> None:
    _record(tmp_path)
    assert [inline(each) for each in _statements(tmp_path, "all")][1] == "SELECT 'Miller', 4711"


def test_normalised_keeps_the_shape_and_no_value(tmp_path: Path) -> None:
    _record(tmp_path)
    update, bound, failed, plain = _statements(tmp_path, "normalised")
    assert " ".join(update.sql.split()) == "UPDATE t SET a = ?, b = ? WHERE c = ?"
    assert (update.rows, update.tables, update.truncated) == (7, ["public.t"], True)
    assert [(each.type, each.value, each.encoding) for each in bound.parameters] == [
        ("text", None, "withheld"),
        ("int4", None, "withheld"),
    ]
    assert inline(bound) == bound.sql == "SELECT $1, $2"
    assert (failed.sqlstate, failed.error, failed.error_detail) == ("22P02", None, None)
    assert (plain.sql, plain.truncated) == ("SELECT ? FROM t", True)
    assert not [value for value in VALUES if value in _files(tmp_path)]


def test_none_keeps_what_was_done_and_no_text(tmp_path: Path) -> None:
    _record(tmp_path)
    update, bound, _, plain = _statements(tmp_path, "none")
    assert (update.sql, update.command, update.tag, update.tables) == ("", "UPDATE", "UPDATE 7", ["public.t"])
    assert bound.parameters == [] and plain.command == "SELECT"
    assert not [value for value in (*VALUES, b"FROM t", b"SELECT") if b" " + value in _files(tmp_path)]


def test_only_the_gateways_setting_changes_an_index_that_is_there(tmp_path: Path) -> None:
    _record(tmp_path)
    assert _statements(tmp_path, "none")[0].sql == ""
    assert _statements(tmp_path, "all")[0].sql == "", "a command has its own settings, or none"
    rebuild(tmp_path, text="all")
    assert _statements(tmp_path, "all")[0].sql == ""
    _, writer = open_writer(Location(tmp_path), tmp_path / "tape", "normalised")
    writer.close()
    assert "?" in _statements(tmp_path, "all")[0].sql


def test_an_open_session_is_picked_up_again(tmp_path: Path) -> None:
    """What its statements are is in the indexer's notes as long as it is open."""
    talk = tapes.dialogue(1).client(parse("SELECT 'private'", "kept"), sync())
    tapes.record(tmp_path, talk)
    catch_up(tmp_path, text="none")
    assert _statements(tmp_path, "none") == []


@pytest.mark.parametrize(
    ("sql", "shape"),
    [
        (
            "SELECT 1.5e3, X'1F', B'01', 'it''s', $q$x$q$, U&'d' UESCAPE '!'",
            "SELECT ?, ?, ?, ?, ?, ? UESCAPE ?",
        ),
        ("SELECT a FROM t WHERE b = $1 -- 'x'", "SELECT a FROM t WHERE b = $1"),
        ("SELECT '\\', secret '", ""),
        ("SELECT 'unterminated", ""),
        ('SELECT "quoted name" FROM t', 'SELECT "quoted name" FROM t'),
    ],
)
def test_shapes(sql: str, shape: str) -> None:
    assert normalised(sql) == shape


def test_a_long_text_is_condensed() -> None:
    long = f"INSERT INTO t VALUES {', '.join(['(17, $x$Miller$x$)'] * 5000)}"
    assert normalised(long) == condense(long) and "Miller" not in normalised(long)
