"""What a text writes, reads and calls, by PostgreSQL's parser."""

import pytest

from pgwitness.statements import touches as module
from pgwitness.statements.touches import touches

COUNTED, PART = True, False


def written(sql: str) -> list[tuple[str, str, bool]]:
    return [(write.verb, ".".join(write.relation).strip("."), write.counted) for write in touches(sql).writes]


def read(sql: str) -> set[str]:
    return {".".join(relation).strip(".") for relation in touches(sql).reads}


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("UPDATE orders SET status = $1 WHERE region = $2", [("UPDATE", "orders", COUNTED)]),
        ('DELETE FROM archive."Orders" USING refunds', [("DELETE", "archive.Orders", COUNTED)]),
        ("INSERT INTO t SELECT * FROM t", [("INSERT", "t", COUNTED)]),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", [("MERGE", "t", COUNTED)]),
        ("COPY t (a) FROM STDIN", [("COPY", "t", COUNTED)]),
        ("COPY (DELETE FROM x RETURNING *) TO STDOUT", [("DELETE", "x", PART)]),
        ("TRUNCATE a, s.b", [("TRUNCATE", "a", PART), ("TRUNCATE", "s.b", PART)]),
        ("SELECT * INTO n FROM orders", [("CREATE TABLE AS", "n", COUNTED)]),
        ("CREATE TABLE n AS SELECT 1", [("CREATE TABLE AS", "n", COUNTED)]),
        ("CREATE TABLE n AS SELECT 1 WITH NO DATA", [("CREATE TABLE AS", "n", PART)]),
        ("CREATE MATERIALIZED VIEW n AS SELECT 1", [("CREATE TABLE AS", "n", COUNTED)]),
        ("REFRESH MATERIALIZED VIEW n", [("REFRESH MATERIALIZED VIEW", "n", PART)]),
        ("EXPLAIN ANALYZE UPDATE x SET a = 1", [("UPDATE", "x", PART)]),
        ("EXPLAIN (ANALYZE true) UPDATE x SET a = 1", [("UPDATE", "x", PART)]),
        ("DELETE FROM t WHERE CURRENT OF c", [("DELETE", "t", COUNTED)]),
    ],
)
def test_what_is_written(sql: str, wanted: list[tuple[str, str, bool]]) -> None:
    assert written(sql) == wanted


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN UPDATE x SET a = 1",
        "EXPLAIN (ANALYZE false) UPDATE x SET a = 1",
        "EXPLAIN (ANALYZE 0) UPDATE x SET a = 1",
        "PREPARE p AS DELETE FROM x",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM x; END",
        "CREATE RULE r AS ON INSERT TO a DO ALSO INSERT INTO b VALUES (1)",
        "CREATE VIEW v AS SELECT * FROM x",
        "SELECT 'DELETE FROM x'",
        "",
        "-- nothing",
    ],
)
def test_what_does_not_run_writes_and_reads_nothing(sql: str) -> None:
    assert not written(sql) and not read(sql)


def test_a_statement_that_writes_several_tables_counts_for_one() -> None:
    sql = """WITH gone AS (DELETE FROM a RETURNING *), changed AS (UPDATE s.b SET x = 1 RETURNING y)
             INSERT INTO c SELECT * FROM gone JOIN changed ON true"""
    assert sorted(written(sql)) == [("DELETE", "a", PART), ("INSERT", "c", COUNTED), ("UPDATE", "s.b", PART)]
    assert not read(sql), "names of WITH queries are no tables"
    assert written("WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone") == [("DELETE", "a", PART)]


def test_what_is_read() -> None:
    assert read("SELECT o.id FROM orders o JOIN s.refunds r ON true FOR UPDATE OF o") == {
        "orders",
        "s.refunds",
    }
    assert read("INSERT INTO t SELECT * FROM t WHERE id IN (SELECT id FROM u)") == {"t", "u"}
    assert read("UPDATE t SET a = 1") == set()
    assert read("UPDATE t SET a = 1 RETURNING a") == {"t"}
    assert read("WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r) SELECT * FROM r") == set()
    assert read("DECLARE c CURSOR FOR SELECT * FROM big") == {"big"}
    assert read("COPY t TO STDOUT") == {"t"}


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT id, cents AS harmless FROM orders", {"orders": {"id", "cents"}}),
        ("SELECT lower(email) FROM people", {"people": {"email"}}),
        ("SELECT * FROM orders o, refunds", {"orders": {"*"}, "refunds": {"*"}}),
        ("SELECT o.*, r.note FROM orders o JOIN refunds r ON true", {"orders": {"*"}, "refunds": {"note"}}),
        ("SELECT o FROM orders o", {"orders": {"*"}}),
        ("SELECT count(*) FROM orders WHERE region = 'x'", {}),
        ("SELECT a FROM x UNION SELECT b FROM y", {"x": {"a"}, "y": {"b"}}),
        ("DELETE FROM t USING u RETURNING t.a, u.*", {"t": {"a"}, "u": {"*"}}),
        ("COPY t (a, b) TO STDOUT", {"t": {"a", "b"}}),
        ("COPY (SELECT a FROM t) TO STDOUT", {"t": {"a"}}),
    ],
)
def test_whose_columns_came_back(sql: str, wanted: dict[str, set[str]]) -> None:
    found = touches(sql)
    assert found.gives_rows
    assert {relation[1]: set(names) for relation, names in found.columns or ()} == wanted


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM orders, refunds",
        "SELECT x FROM (SELECT id AS x FROM orders) AS s",
        "SELECT (SELECT max(id) FROM orders) FROM refunds",
        "WITH w AS (SELECT * FROM orders) SELECT * FROM w",
        "SELECT a FROM orders AS o (a, b)",
    ],
)
def test_columns_are_not_guessed(sql: str) -> None:
    assert touches(sql).columns is None


def test_functions_that_may_do_more_are_named() -> None:
    assert set(touches("SELECT archive.f(1), g(2), lower(x), count(*), lo_unlink(3) FROM q").functions) == {
        "archive.f",
        "g",
        "lo_unlink",
    }
    assert touches("SELECT pg_catalog.lower('x'), now(), nextval('s')").functions == ()
    assert set(touches("SELECT query_to_xml('DELETE FROM x', true, true, '')").functions) == {"query_to_xml"}


@pytest.mark.parametrize(
    ("sql", "mark"),
    [
        ("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1", "upsert"),
        ("TRUNCATE a CASCADE", "cascade"),
        ("DROP TABLE a CASCADE", "cascade"),
        ("DO $$ BEGIN DELETE FROM x; END $$", "do"),
        ("CALL p(1)", "call"),
        ("EXECUTE p (1)", "execute"),
        ("FETCH 10 FROM c", "fetch"),
        ("COPY t TO PROGRAM 'cat'", "program"),
    ],
)
def test_what_numbers_leave_out_is_marked(sql: str, mark: str) -> None:
    assert touches(sql).marks == {mark}
    assert "upsert" not in touches("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING").marks


def test_what_is_not_understood_says_so() -> None:
    assert not touches("SELEC 1").understood
    assert not touches("SELECT (" * 5000).understood
    assert touches("SELECT 1").understood


def test_constants_do_not_matter_and_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr(module, "_read", lambda sql: parsed.append(sql) or module.UNKNOWN)
    for number in range(100):
        touches(f"UPDATE only_here SET a = {number} WHERE b = 'x{number}'")
    assert len(parsed) == 1
