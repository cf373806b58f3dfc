"""A recorded text and the server's normalised one have one shape, whatever either looks like."""

from __future__ import annotations

import pytest

from pgwitness.watch.shapes import CURSOR, DECLARE, EXECUTE, TRANSACTION, loose, masked, server_check, shape


@pytest.mark.parametrize(
    ("recorded", "counted"),
    [
        ("SELECT * FROM a WHERE x = 'y' -- remark", "select * from a where x = $1"),
        ("SELECT * FROM a WHERE x IN (1, 2, 3)", "SELECT * FROM a WHERE x IN ($1 /*, ... */)"),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO t VALUES ($1,$2),($3,$4)"),
        ("SELECT INTERVAL '1' DAY, -1, NULL", "SELECT INTERVAL $1 DAY, $2, $3"),
        ("SET work_mem = '5MB'", "SET work_mem = $1"),
        ("ALTER ROLE app SET work_mem = '7MB'", "alter role app set work_mem=$1"),
        ("SAVEPOINT one", "SAVEPOINT $1"),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION $1"),
        ("ROLLBACK TO one", "rollback to $1"),
        ("DEALLOCATE p", "DEALLOCATE $1"),
        ("FETCH 10 FROM c", "FETCH $1 FROM c"),
        ("EXECUTE p(1)", "prepare p as select $1"),
        ("SELECT ?, x FROM t WHERE y = ?", "SELECT $1, x FROM t WHERE y = $2"),  # index.text = normalised
    ],
)
def test_one_shape(recorded: str, counted: str) -> None:
    assert shape(recorded) == shape(counted)


def test_families() -> None:
    assert {shape(sql) for sql in ("BEGIN", "/* x */ start transaction", "END", "ROLLBACK AND CHAIN")} == {
        TRANSACTION
    }
    assert {shape(sql) for sql in ("FETCH 1 FROM c", "move 2 in c", "CLOSE c")} == {CURSOR}
    assert shape("DECLARE c CURSOR FOR SELECT 1") == DECLARE
    assert shape("EXECUTE p") == EXECUTE


def test_different_statements_have_different_shapes() -> None:
    texts = ["SELECT a FROM t", "SELECT b FROM t", "DELETE FROM t", "DELETE FROM u", "SET a = 1", "SET b = 1"]
    assert len({shape(text) for text in texts}) == len(texts)


def test_what_no_parser_takes_is_compared_by_its_tokens() -> None:
    assert shape("FROBNICATE t WITH 5").startswith("text:")
    assert loose("FROBNICATE t WITH 5") == loose("frobnicate T /* x */ with $1") == "text:frobnicate t with ?"
    assert shape("'never ends").startswith("text:")
    long = "SELECT " + "1, " * 50_000 + "1"
    assert shape(long) == shape(long + ", 2")


def test_constants_are_masked() -> None:
    assert masked("ALTER ROLE app  PASSWORD 'geh''eim'\n VALID UNTIL $$x$$") == (
        "ALTER ROLE app PASSWORD '…' VALID UNTIL '…'"
    )
    assert masked("SELECT 'ä', é FROM t") == "SELECT '…', é FROM t"
    assert len(masked("SELECT " + "a, " * 500 + "b")) == 300
    assert "secret" not in masked("ALTER ROLE app PASSWORD 'secret")


def test_the_servers_own_checks() -> None:
    assert server_check('SELECT $2 FROM ONLY "public"."orders" x WHERE "id" = $1 FOR KEY SHARE OF x')
    assert not server_check("SELECT 1 FROM orders x")
