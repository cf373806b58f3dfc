"""Passwords in statements never reach the index, and nothing else is taken out with them."""

from pathlib import Path

import pytest

from pgwitness.statements.redact import LONGEST, redact
from pgwitness.wire.codec import error_response, query
from support import tapes
from support.dialogue import Dialogue, answers, extended, ready, sync

SECRET = "hunter2"

COVERED = [
    "CREATE ROLE joe LOGIN PASSWORD 'hunter2' VALID UNTIL '2030-01-01'",
    "alter user joe with encrypted password 'hunter2'",
    "ALTER ROLE joe PASSWORD /* it's */ E'hunter2\\'s'",
    "ALTER ROLE joe PASSWORD -- ;\n $pw$hunter2$pw$; SELECT 1",
    "ALTER GROUP joe PASSWORD 'hun'\n 'hunter2'",
    "SELECT 1; CREATE USER joe PASSWORD U&'hunter2' UESCAPE '!'; SELECT 2",
    "ALTER USER joe PASSWORD hunter2",
    'ALTER USER joe PASSWORD "hunter2"',
    "ALTER USER joe PASSWORD = 'hunter2'",
    "ALTER USER joe PASSWORD 'hunter2",
    "CREATE USER MAPPING FOR joe SERVER s OPTIONS (user 'joe', password 'hunter2')",
    "CREATE SUBSCRIPTION s CONNECTION 'host=h password=hunter2' PUBLICATION p",
    "DO $$ BEGIN CREATE ROLE joe PASSWORD 'hunter2'; END $$",
    "DO $do$ BEGIN EXECUTE 'ALTER ROLE joe PASSWORD ''hunter2'''; END $do$",
    "DO 'BEGIN CREATE ROLE joe PASSWORD ''hunter2''; END'",
    "CREATE OR REPLACE FUNCTION f() RETURNS void AS $f$ ALTER ROLE joe PASSWORD 'hunter2' $f$ LANGUAGE sql",
    f"INSERT INTO t VALUES ('{'x' * LONGEST}'); ALTER ROLE joe PASSWORD 'hunter2'; SELECT 'password'",
]

LEFT_ALONE = [
    "ALTER ROLE joe PASSWORD NULL",
    "UPDATE users SET password = 'hunter2' WHERE password = 'x'",
    "SELECT password 'hunter2'",
    "SELECT 'CREATE ROLE joe PASSWORD ''hunter2'''",
    "SELECT 'alter role', password 'hunter2'",
    "SELECT 1 -- ALTER ROLE joe PASSWORD 'hunter2'",
    # With standard_conforming_strings off, what looks like the password is a statement.
    "ALTER ROLE joe VALID UNTIL '\\' PASSWORD '; DROP TABLE hunter2; --'",
]


@pytest.mark.parametrize("sql", COVERED)
def test_a_password_is_taken_out(sql: str) -> None:
    redacted = redact(sql)
    assert SECRET not in redacted and "***" in redacted
    for word in ("SELECT 1", "SELECT 2", "VALID UNTIL '2030-01-01'", "PUBLICATION p", "END", "joe"):
        assert (word in sql) == (word in redacted), redacted


@pytest.mark.parametrize("sql", LEFT_ALONE)
def test_nothing_else_is(sql: str) -> None:
    assert redact(sql) == sql


def test_none_reaches_the_index(tmp_path: Path) -> None:
    """Not the rows, not the snapshot of what is open, not an error that quotes it; the tape has them all."""
    talk: Dialogue = tapes.dialogue(1).run("CREATE ROLE a PASSWORD 'hunter2'", "CREATE ROLE")
    talk.client(extended("ALTER ROLE a PASSWORD 'hunter2'"), sync()).server(answers("ALTER ROLE"))
    syntax = error_response("ERROR", "42601", 'syntax error at or near "hunter2"')
    talk.client(query("ALTER USER a PASSWORD hunter2")).server(syntax, ready())
    talk.client(query("CREATE ROLE running PASSWORD 'hunter2'"))
    tapes.record(tmp_path, talk)
    reader = tapes.index(tmp_path)
    statements = tapes.all_statements(reader)
    reader.close()
    assert [each.sql for each in statements[:2]] == [
        "CREATE ROLE a PASSWORD '***'",
        "ALTER ROLE a PASSWORD '***'",
    ]
    assert statements[2].error == "syntax error at or near \"'***'\""
    assert [each.command for each in statements[:2]] == ["CREATE ROLE", "ALTER ROLE"]
    for file in tmp_path.glob("index*"):
        assert SECRET.encode() not in file.read_bytes(), file
    assert b"".join(file.read_bytes() for file in (tmp_path / "tape").glob("*.tape")).count(b"hunter2") == 5
