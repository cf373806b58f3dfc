"""Statements as pages show them: cut where they are long, said where something is not there."""

import pytest

from pgwitness.statements.model import Statement
from pgwitness.web.showing import (
    ROW_CHARACTERS,
    SQL_CHARACTERS,
    VALUE_CHARACTERS,
    kind_of,
    one_line,
    panel_of,
    results_of,
    row_of,
    rows_of,
)
from pgwitness.wire.codec import query
from support.dialogue import (
    Dialogue,
    answers,
    complete,
    copy_data,
    copy_done,
    copy_in,
    data_row,
    extended,
    ready,
    row_description,
    sync,
)


def _one(talk: Dialogue) -> Statement:
    (found,) = talk.statements()
    return found


def _bound(sql: str, *values: bytes | None) -> Statement:
    talk = Dialogue().client(extended(sql, values, (25,) * len(values)), sync()).server(answers("INSERT 0 1"))
    return _one(talk)


@pytest.mark.parametrize(
    ("sql", "tag", "kind"),
    [
        ("SELECT 1", "SELECT 1", "read"),
        ("UPDATE a SET b = 1", "UPDATE 0", "write"),
        ("TRUNCATE a", "TRUNCATE TABLE", "write"),
        ("CREATE TABLE a AS SELECT 1", "SELECT 5", "write"),
        ("EXECUTE change", "UPDATE 3", "write"),
        ("EXECUTE look", "SELECT 3", "read"),
        ("CREATE INDEX ON a (b)", "CREATE INDEX", "schema"),
        ("DROP TABLE a", "DROP TABLE", "schema"),
        ("GRANT SELECT ON a TO b", "GRANT", "schema"),
        ("BEGIN", "BEGIN", "control"),
        ("SET x = 1", "SET", "control"),
    ],
)
def test_kinds(sql: str, tag: str, kind: str) -> None:
    assert kind_of(_one(Dialogue().run(sql, tag))) == kind


def test_a_row_is_short_and_light() -> None:
    row = row_of(_bound("INSERT INTO t VALUES ($1) /*" + "x" * 9_000 + "*/", b"y" * 9_000))
    assert len(row.sql.striptags()) < ROW_CHARACTERS + 50
    assert "…" in row.sql
    assert (row.statement.sql, row.statement.parameters) == ("", [])


def test_a_value_in_place_tells_its_number_and_its_length() -> None:
    shown = panel_of(_bound("INSERT INTO t VALUES ($2, $1)", b"<b>", b"y" * 9_000))
    assert '<mark class="bound" title="$1">&#39;&lt;b&gt;&#39;</mark>' in shown.sql
    assert "9,000 characters)</mark>" in shown.sql and 'title="$2"' in shown.sql
    one, two = shown.values
    assert (one.text, one.cut) == ("<b>", False)
    assert (len(two.text), two.characters, two.cut) == (VALUE_CHARACTERS, 9_000, True)


def test_a_long_text_is_cut_and_the_panel_knows() -> None:
    statement = _one(Dialogue(limit=1 << 22).run("SELECT '" + "x" * 50_000 + "'", "SELECT 1"))
    shown = panel_of(statement)
    assert shown.sql_shown == SQL_CHARACTERS < len(statement.sql)
    assert panel_of(_bound("SELECT $1", b"a")).sql_shown == len("SELECT $1")


def test_what_has_no_text_says_why() -> None:
    empty = _one(Dialogue().run("", ""))
    assert "(empty)" in one_line(empty)
    empty.truncated, empty.command, empty.tables = True, "UPDATE", ["public.a"]
    assert "UPDATE public.a (text not in the index)" in one_line(empty)
    assert panel_of(empty).withheld


def test_places_in_transactions() -> None:
    talk = (
        Dialogue()
        .run("SELECT 1", "SELECT 1")
        .run("BEGIN", "BEGIN", b"T")
        .run("SAVEPOINT s", "SAVEPOINT", b"T")
    )
    talk.run("DELETE FROM a", "DELETE 1", b"T").run("ROLLBACK TO s", "ROLLBACK", b"T").run("COMMIT", "COMMIT")
    statements = talk.statements()
    rows = list(rows_of(statements, statements[0].started_at))
    assert [row.place for row in rows] == ["alone", "first", "inside", "inside", "inside", "last"]
    settles = [row.statement.command for row in rows if row.settles]
    assert "DELETE" in settles, "rolled back, while the transaction was committed"
    assert settles[0] == "SELECT" and settles[-1] == "COMMIT"
    assert rows[0].offset_us == 0 < rows[1].offset_us


def test_results_are_cut_to_what_a_page_takes() -> None:
    names = row_description(*((f"c{n}", 25) for n in range(120)))
    talk = Dialogue(keep_results=True).client(query("SELECT 1")).server(names)
    for n in range(150):
        talk.server(data_row(str(n).encode(), None, b"z" * 1_000, *[b""] * 117))
    shown = results_of(_one(talk.server(complete("SELECT 150"), ready())))
    assert (len(shown.rows), shown.recorded, len(shown.columns), shown.hidden_columns) == (100, 150, 100, 20)
    assert shown.rows[7][:2] == ["7", None]
    assert str(shown.rows[7][2]).endswith("… (1,000 characters)")


def test_what_was_copied() -> None:
    talk = Dialogue(keep_results=True).client(query("COPY a FROM STDIN")).server(copy_in())
    talk.client(copy_data(b"1\n" * 30_000), copy_done()).server(complete("COPY 30000"), ready())
    shown = results_of(_one(talk))
    assert shown.copied is not None
    assert (len(shown.copied), shown.copied_characters) == (20_000, 60_000)
