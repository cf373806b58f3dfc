"""The blast radius of recorded dialogues, and against a model over generated histories."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgwitness.errors import InvalidError, NotFoundError
from pgwitness.index.discretion import Text
from pgwitness.index.filters import Filters, Scope
from pgwitness.index.follower import Follower
from pgwitness.index.location import Location
from pgwitness.index.opening import open_writer
from pgwitness.index.store import IndexReader
from pgwitness.review.blast import blast_radius, tally
from pgwitness.review.blast.telling import tell
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import (
    START,
    Dialogue,
    answers,
    complete,
    copy_data,
    copy_done,
    copy_in,
    data_row,
    error,
    execute,
    extended,
    ready,
    row_description,
    suspended,
    sync,
)
from support.tape_files import RECORDER, ZERO

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
ONE = str(tapes.session_id(1))


def blast(state: Path, *dialogues: Dialogue, **filters: Any) -> dict[str, Any]:
    tapes.record(state, *dialogues)
    reader = tapes.index(state)
    try:
        return blast_radius(reader, Filters(**(filters or {"session": ONE})))
    finally:
        reader.close()


def written(found: dict[str, Any], of: str = "writes") -> dict[tuple[str | None, str], tuple[int, int]]:
    """(rows, statements whose rows are not known) by table and command."""
    return {(each["table"], each["command"]): (each["rows"], each["uncounted"]) for each in found[of]}


def told(found: dict[str, Any]) -> str:
    return "\n".join(line for _, line in tell(found))


def test_what_was_committed_counts_and_the_rest_stands_apart(tmp_path: Path) -> None:
    one = tapes.dialogue(1).run("UPDATE orders SET a = 1", "UPDATE 40000")
    one.run("BEGIN", "BEGIN", b"T").run("UPDATE orders SET a = 2", "UPDATE 5", b"T")
    one.run("SAVEPOINT s", "SAVEPOINT", b"T").run("DELETE FROM refunds", "DELETE 7", b"T")
    one.run("ROLLBACK TO s", "ROLLBACK", b"T").run("COMMIT", "COMMIT")
    one.run("BEGIN", "BEGIN", b"T").run("INSERT INTO refunds VALUES (1)", "INSERT 0 1", b"T")
    one.run("COMMIT", "ROLLBACK")
    one.client(query("UPDATE orders SET a = 1/0")).server(error(), ready())
    one.client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    one.client(query("DELETE FROM orders")).server(complete("DELETE 3"), ready(b"T"))
    one.client(query("COMMIT")).ended("connection_lost")
    found = blast(tmp_path, one)
    assert written(found) == {("public.orders", "UPDATE"): (40005, 0)}
    assert written(found, "not_committed") == {
        ("public.refunds", "DELETE"): (7, 0),
        ("public.refunds", "INSERT"): (1, 0),
        ("public.orders", "DELETE"): (3, 0),
    }
    outcomes = {(each["table"], each["command"]): each["outcome"] for each in found["not_committed"]}
    assert outcomes == {
        ("public.refunds", "DELETE"): "rolled_back",
        ("public.refunds", "INSERT"): "rolled_back",
        ("public.orders", "DELETE"): "in_doubt",
    }
    assert found["failed"] == 1 and found["sessions"] == 1 and found["statements"] == 14
    assert any("in doubt" in sentence for sentence in found["unseen"])
    (largest, second) = found["writes"][0]["largest"]
    assert (largest["seq"], largest["rows"], largest["session"]) == (1, 40000, ONE)
    assert (second["seq"], second["rows"]) == (3, 5)
    assert (found["first"], found["last"]) == (largest["at"], max(found["first"], found["last"]))


def test_numbers_that_are_not_known_are_not_made_up(tmp_path: Path) -> None:
    one = tapes.dialogue(1).run("TRUNCATE a, b CASCADE", "TRUNCATE TABLE")
    one.run("WITH d AS (DELETE FROM c RETURNING *) INSERT INTO kept SELECT * FROM d", "INSERT 0 9")
    one.run("WITH d AS (DELETE FROM c RETURNING *) SELECT count(*) FROM d", "SELECT 1")
    one.run("EXPLAIN ANALYZE UPDATE e SET x = 1", "EXPLAIN")
    one.run("MERGE INTO m USING s ON true WHEN MATCHED THEN DELETE", "MERGE 4")
    one.run("INSERT INTO u VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 1", "INSERT 0 1").ended()
    found = blast(tmp_path, one)
    assert written(found) == {
        ("public.a", "TRUNCATE"): (0, 1),
        ("public.b", "TRUNCATE"): (0, 1),
        ("public.c", "DELETE"): (0, 2),
        ("public.kept", "INSERT"): (9, 0),
        ("public.e", "UPDATE"): (0, 1),
        ("public.m", "MERGE"): (4, 0),
        ("public.u", "INSERT"): (1, 0),
    }
    said = " ".join(found["unseen"])
    assert "2 writes by TRUNCATE" in said and "3 writes by a part of a statement" in said
    assert "MERGE: rows" in said and "ON CONFLICT DO UPDATE" in said and "1 statement with CASCADE" in said
    assert "?  rows  TRUNCATE public.a" in told(found)


def test_copy_new_tables_and_a_portal_left_before_its_end(tmp_path: Path) -> None:
    one = tapes.dialogue(1).client(query("COPY orders FROM stdin")).server(copy_in())
    one.client(copy_data(b"1\n2\n"), copy_done()).server(complete("COPY 2"), ready())
    one.run("CREATE TABLE n AS SELECT * FROM orders", "SELECT 11")
    one.run("SELECT * INTO other FROM orders", "SELECT 12")
    one.client(extended("UPDATE orders SET a = 1 RETURNING a")[: -len(execute())], execute("", 1), sync())
    one.server(answers("", b"T")[: -len(complete("") + ready(b"T"))], data_row(b"1"), suspended(), ready())
    one.ended()
    found = blast(tmp_path, one)
    assert written(found) == {
        ("public.orders", "COPY"): (2, 0),
        ("public.n", "CREATE TABLE AS"): (11, 0),
        ("public.other", "CREATE TABLE AS"): (12, 0),
        ("public.orders", "UPDATE"): (0, 1),
    }
    assert [(each["command"], each["kind"]) for each in found["schema_changes"]] == [
        ("CREATE TABLE AS", "schema"),
        ("SELECT INTO", "schema"),
    ]
    assert any("without a tag" in sentence for sentence in found["unseen"])


def test_execute_counts_by_its_tag(tmp_path: Path) -> None:
    one = tapes.dialogue(1).run("PREPARE p AS DELETE FROM orders", "PREPARE")
    one.run("EXECUTE p", "DELETE 6").run("EXECUTE p", "DELETE 6").ended()
    found = blast(tmp_path, one)
    assert written(found) == {("public.orders", "DELETE"): (12, 0)}
    assert found["writes"][0]["largest"][0] | {"at": ""} == {
        "session": ONE,
        "seq": 2,
        "at": "",
        "rows": 6,
        "like_it": 1,
        "sql": "EXECUTE p",
    }
    assert any("2 EXECUTEs" in sentence for sentence in found["unseen"])


def test_what_the_parser_does_not_understand_counts_without_a_table(tmp_path: Path) -> None:
    one = tapes.dialogue(1).client(query("FROBNICATE orders; UPDATE x"))
    one.server(complete("UPDATE 5"), complete("INSERT 0 2"), ready()).ended()
    found = blast(tmp_path, one)
    assert written(found) == {(None, "UPDATE"): (5, 0), (None, "INSERT"): (2, 0)}
    assert "(table not known)" in told(found)
    assert any("not understood" in sentence for sentence in found["unseen"])


def test_what_was_read_also_where_it_was_rolled_back(tmp_path: Path) -> None:
    rows = row_description(("id", 23))
    one = tapes.dialogue(1).run("BEGIN", "BEGIN", b"T")
    one.client(query("SELECT id FROM orders")).server(rows, data_row(b"1"), complete("SELECT 1"), ready(b"T"))
    one.run("ROLLBACK", "ROLLBACK").run("SELECT relname FROM pg_class", "SELECT 400")
    one.client(query("SELECT id, 1/x FROM orders")).server(rows, data_row(b"1"), error(), ready()).ended()
    found = blast(tmp_path, one)
    reads = {each["table"]: (each["rows"], each["statements"], each["columns"]) for each in found["reads"]}
    assert reads == {
        "public.orders": (2, 2, ["id", "x"]),
        "pg_catalog.pg_class": (400, 1, ["relname"]),
    }
    assert not found["writes"] and not found["not_committed"]
    assert "Nothing is known to be written" in told(found)
    assert "PostgreSQL's own catalog" in told(found)


def test_schema_roles_and_server(tmp_path: Path) -> None:
    one = tapes.dialogue(1)
    for sql, tag in (
        ("CREATE TABLE a (x int)", "CREATE TABLE"),
        ("ALTER TABLE a ADD y int", "ALTER TABLE"),
        ("GRANT ALL ON a TO bob", "GRANT"),
        ("CREATE ROLE eve", "CREATE ROLE"),
        ("ALTER SYSTEM SET work_mem = 1", "ALTER SYSTEM"),
        ("SET work_mem = 1", "SET"),
        ("DROP TABLE a", "DROP TABLE"),
    ):
        one.run(sql, tag)
    one.run("BEGIN", "BEGIN", b"T").run("DROP TABLE b", "DROP TABLE", b"T").run(
        "ROLLBACK", "ROLLBACK"
    ).ended()
    found = blast(tmp_path, one)
    changes = [(each["kind"], each["command"], each["outcome"]) for each in found["schema_changes"]]
    assert changes == [
        ("schema", "CREATE TABLE", "committed"),
        ("schema", "ALTER TABLE", "committed"),
        ("role", "GRANT", "committed"),
        ("role", "CREATE ROLE", "committed"),
        ("server", "ALTER SYSTEM", "committed"),
        ("schema", "DROP TABLE", "committed"),
        ("schema", "DROP TABLE", "rolled_back"),
    ]
    assert found["schema_changes_total"] == 7


def test_functions_blocks_and_procedures_are_named_as_unseen(tmp_path: Path) -> None:
    one = tapes.dialogue(1).run("SELECT archive.tidy(1), count(*) FROM a", "SELECT 1")
    one.run("DO $$ BEGIN DELETE FROM x; END $$", "DO").run("CALL p()", "CALL").run(
        "FETCH 5 FROM c", "FETCH 5"
    )
    said = " ".join(blast(tmp_path, one.ended())["unseen"])
    assert "archive.tidy (1)" in said and "count" not in said
    assert "1 DO block" in said and "1 CALL" in said and "5 rows out of cursors" in said


def test_a_session_that_wrote_nothing_is_told_nothing_of_triggers(tmp_path: Path) -> None:
    found = blast(tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1").ended())
    assert found["unseen"] == [] and found["writes"] == []


def test_scopes(tmp_path: Path) -> None:
    one = tapes.dialogue(1).run("UPDATE a SET x = 1", "UPDATE 1").ended()
    two = tapes.dialogue(2, identity="ann", claims={"run": "run-2"}, connection="other", database="two")
    two.run("UPDATE a SET x = 1", "UPDATE 2")
    tapes.record(tmp_path, one, two)
    reader = tapes.index(tmp_path)
    by = {
        "identity": blast_radius(reader, Filters(identity="ann")),
        "run": blast_radius(reader, Filters(run="run-2")),
        "connection": blast_radius(reader, Filters(connection="other")),
        "session": blast_radius(reader, Filters(session=str(tapes.session_id(2))[-6:])),
    }
    assert all(written(found) == {("public.a", "UPDATE"): (2, 0)} for found in by.values())
    assert any("still open" in sentence for sentence in by["run"]["unseen"])
    every = blast_radius(reader, Filters(since=LONG_AGO))
    assert [(each["rows"], each["connection"], each["database"]) for each in every["writes"]] == [
        (2, "other", "two"),
        (1, "orders", "shop"),
    ], "tables of two databases are two tables"
    assert "public.a in other/two" in told(every)
    mine = blast_radius(reader, Filters(since=LONG_AGO, scope=Scope("ann", None)))
    assert [each["rows"] for each in mine["writes"]] == [2]
    with pytest.raises(InvalidError, match="needs a scope"):
        blast_radius(reader, Filters(table="a"))
    with pytest.raises(NotFoundError):
        blast_radius(reader, Filters(session="ffff"))
    narrowed = blast_radius(reader, Filters(identity="ann", command="DELETE"))
    assert not narrowed["statements"] and "--command" in narrowed["unseen"][0]
    reader.close()


def test_nothing_on_record_is_an_empty_document(tmp_path: Path) -> None:
    (tmp_path / "tape").mkdir()
    reader = tapes.index(tmp_path)
    found = blast_radius(reader, Filters(run="nope"))
    assert found["statements"] == 0 and found["first"] is None
    assert "No statement of this scope" in told(found)
    reader.close()


def test_an_agent_has_no_hand_on_the_terminal(tmp_path: Path) -> None:
    one = tapes.dialogue(1).run('UPDATE "a\x1b[2J" SET x = 1 -- \x1b[31m\n', "UPDATE 1").ended()
    assert "\x1b" not in told(blast(tmp_path, one))


def test_beyond_very_many_texts_the_commands_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tapes.dialogue(1)
    for number in range(4):
        one.run(f"UPDATE orders SET a = {number} FROM refunds", "UPDATE 2").run(
            f"SELECT {number} FROM a", "SELECT 1"
        )
    one.run("WITH d AS (DELETE FROM c RETURNING *) SELECT * FROM d", "SELECT 1").run(
        "TRUNCATE b", "TRUNCATE TABLE"
    )
    whole = blast(tmp_path, one.ended())
    monkeypatch.setattr(tally, "TEXTS_READ", 0)
    reader = IndexReader(tmp_path)
    hasty = blast_radius(reader, Filters(session=ONE))
    reader.close()
    assert written(hasty) == {key: value for key, value in written(whole).items() if key[0] != "public.c"}
    reads = {each["table"]: (each["rows"], each["statements"]) for each in hasty["reads"]}
    assert reads == {"public.a": (4, 4), "public.refunds": (0, 4), "public.c": (1, 1)}
    assert any("beyond the first" in sentence for sentence in hasty["unseen"])


@pytest.mark.parametrize("kept", ["normalised", "none"])
def test_where_the_index_keeps_no_texts_commands_and_tags_tell(tmp_path: Path, kept: Text) -> None:
    one = tapes.dialogue(1).run("UPDATE orders SET a = 'secret' FROM refunds", "UPDATE 5")
    one.run("SELECT a FROM refunds WHERE b = 7", "SELECT 3").run("TRUNCATE a, b", "TRUNCATE TABLE")
    one.run("INSERT INTO kept VALUES ('secret')", "INSERT 0 2").ended()
    tapes.record(tmp_path, one)
    _, writer = open_writer(Location(tmp_path), tmp_path / "tape", kept)
    follower = Follower(tmp_path / "tape", writer)
    while follower.step():
        pass
    writer.close()
    reader = IndexReader(tmp_path)
    found = blast_radius(reader, Filters(session=ONE))
    reader.close()
    assert written(found) == {
        ("public.orders", "UPDATE"): (5, 0),
        ("public.kept", "INSERT"): (2, 0),
        ("public.a", "TRUNCATE"): (0, 1),
        ("public.b", "TRUNCATE"): (0, 1),
    }
    assert {each["table"]: each["rows"] for each in found["reads"]} == {"public.refunds": 3}
    assert f"index.text = {kept}" in found["unseen"][0] and "secret" not in told(found)


def test_erased_and_unreadable_parts_are_said(tmp_path: Path) -> None:
    one, two = tapes.dialogue(1).run("UPDATE a SET x = 1", "UPDATE 9").ended(), tapes.dialogue(2)
    two.run("UPDATE a SET x = 1", "UPDATE 2").server(b"Z\0\0\0\1")
    with tapes.Recording(tmp_path, [one, two]) as recording:
        recording.put_all()
        event = {"event": "session_erased", "session": ONE, "identity": "billing-agent", "position": [1, 2]}
        recording.writer.append_json(ZERO, RECORDER, START, event)
        reader = tapes.index(tmp_path)
        by_identity = blast_radius(reader, Filters(identity="billing-agent"))
        by_run = blast_radius(reader, Filters(run="run-81"))
        reader.close()
    assert written(by_identity) == {("public.a", "UPDATE"): (2, 0)}
    assert "1 session of this scope erased" in by_identity["unseen"][0]
    assert "cannot be read at 1 place" in by_identity["unseen"][1]
    assert "whether they were of this run" in by_run["unseen"][0]
