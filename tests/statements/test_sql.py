"""What the parser is asked, and what it costs when the text is long, deep or wrong."""

import time

import pytest

from pgwitness.statements import sql
from pgwitness.statements.condense import condense


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("select 1", "SELECT"),
        ("VALUES (1)", "SELECT"),
        ("TABLE a", "SELECT"),
        ("START TRANSACTION", "START TRANSACTION"),
        ("END", "COMMIT"),
        ("ABORT", "ROLLBACK"),
        ("ROLLBACK TO s", "ROLLBACK"),
        ("CREATE TABLE a (x int)", "CREATE TABLE"),
        ("CREATE TABLE a AS SELECT 1", "CREATE TABLE AS"),
        ("CREATE MATERIALIZED VIEW a AS SELECT 1", "CREATE MATERIALIZED VIEW"),
        ("CREATE UNIQUE INDEX ON a (x)", "CREATE INDEX"),
        ("ALTER TABLE a ADD x int", "ALTER TABLE"),
        ("ALTER TABLE a RENAME x TO y", "ALTER TABLE"),
        ("ALTER INDEX i RENAME TO j", "ALTER INDEX"),
        ("DROP TABLE a", "DROP TABLE"),
        ("DROP FUNCTION f()", "DROP FUNCTION"),
        ("TRUNCATE a", "TRUNCATE TABLE"),
        ("GRANT SELECT ON a TO b", "GRANT"),
        ("REVOKE SELECT ON a FROM b", "REVOKE"),
        ("GRANT a TO b", "GRANT ROLE"),
        ("ANALYZE a", "ANALYZE"),
        ("VACUUM", "VACUUM"),
        ("SET x.y = 1", "SET"),
        ("RESET ALL", "RESET"),
        ("SHOW search_path", "SHOW"),
        ("DISCARD ALL", "DISCARD ALL"),
        ("FETCH 5 FROM c", "FETCH"),
        ("MOVE 5 FROM c", "MOVE"),
        ("DECLARE c CURSOR FOR SELECT 1", "DECLARE CURSOR"),
        ("CREATE PROCEDURE p() LANGUAGE sql AS ''", "CREATE PROCEDURE"),
        ("CALL p()", "CALL"),
        ("DO ''", "DO"),
        ("LISTEN x", "LISTEN"),
        ("COPY a FROM STDIN", "COPY"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
        ("EXECUTE p", "EXECUTE"),
        ("LOCK a", "LOCK TABLE"),
        ("COMMENT ON TABLE a IS 'x'", "COMMENT"),
        ("REFRESH MATERIALIZED VIEW a", "REFRESH MATERIALIZED VIEW"),
        ("FROBNICATE", None),
    ],
)
def test_commands_have_postgresqls_names(text, command):
    assert sql.describe(text).command == command


def test_texts_that_differ_in_constants_share_a_shape_and_those_that_differ_in_names_do_not():
    relations = [sql.describe(f"DELETE FROM t{n} WHERE x = {n}").relations for n in range(3)]
    assert relations == [(("", "t0"),), (("", "t1"),), (("", "t2"),)]
    assert sql.describe("DELETE FROM t1 WHERE x = 99").relations == (("", "t1"),)


def test_constants_that_matter_are_read_each_time():
    for path in ("a", "b"):
        assert sql.describe(f"SET search_path = {path}").effect.names == (path,)
        assert sql.describe(f"SELECT set_config('search_path', '{path}', true)").effect.names == (path,)
    assert sql.describe("SELECT set_config('work_mem', '1MB', false)").effect is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;", ["SELECT 1;"]),
        (" ; ", []),
        ("-- nothing", []),
        ("", []),
        ("SELECT ';'; SELECT $$;$$;", ["SELECT ';'", "SELECT $$;$$"]),
        ("SELECT 1 /* ; */", ["SELECT 1 /* ; */"]),
        ("SELEC 1; SELECT 2", ["SELEC 1; SELECT 2"]),
        ("SELECT 'é'; SELECT 2", ["SELECT 'é'", "SELECT 2"]),
        (
            "CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2)",
            ["CREATE RULE r AS ON INSERT TO a DO (SELECT 1; SELECT 2)"],
        ),
    ],
)
def test_split(text, parts):
    assert sql.split(text) == parts


def test_a_deep_expression_is_read_without_recursion():
    text = f"SELECT {'+'.join('1' * 1800)} FROM deep, s.deeper"
    assert sql.describe(text) == sql.Meaning("SELECT", (("", "deep"), ("s", "deeper")))


def test_depth_hides_nothing():
    assert sql.describe(f"SELECT {'NOT ' * 5000}true FROM a").relations == (("", "a"),)
    deep = f"SELECT {'+'.join('1' * 50_000)}"
    assert sql.split(f"{deep}; DELETE FROM a") == [deep, "DELETE FROM a"]


@pytest.mark.parametrize("padding", ["'{}'", "/* {} */ 1", "-- {}\n 1"], ids=["literal", "comment", "line"])
def test_padding_hides_nothing(padding):
    text = f"WITH x AS (DELETE FROM hidden RETURNING 1) SELECT {padding.format('x' * (sql.PARSE_LIMIT + 1))}"
    meaning = sql.describe(text)
    assert (meaning.command, meaning.relations) == ("SELECT", (("", "hidden"),))
    assert sql.split(f"{text}; DELETE FROM after") == [text, "DELETE FROM after"]


def test_a_bulk_insert_is_read_whatever_its_length():
    row = "(1, -2.5e3, 'it''s; (', E'\\'', NULL, $1, $q$ ; $q$),"
    text = f'INSERT INTO a VALUES {row * (sql.PARSE_LIMIT // 20)}(now(), b.x) RETURNING s."T".c'
    assert sql.describe(text) == sql.Meaning("INSERT", (("", "a"),))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a1, 'x', \"it's\", E'\\'', $$'$$, t.b FROM s.t1 /* FROM /* x */ y */ JOIN u2 ON -1 = .5 -- z",
        "COPY t FROM '/tmp/x' WITH (DELIMITER E'\\t')",
        "CREATE TABLE x (n numeric(9,2) DEFAULT -1, d interval(3) DEFAULT interval '1 day', b bit)",
        "UPDATE \"A\"\"b\" SET x = ARRAY[1,2,3] WHERE y IN ('a','b') AND z->>'k' = U&'d' AND w = $2 - 1",
        "DO $body$ BEGIN DELETE FROM t; END $body$",
        "WITH e AS (DELETE FROM g RETURNING 1) INSERT INTO h VALUES (1,2),(3,4)",
    ],
)
def test_a_condensed_text_names_the_same(text):
    assert sql.describe(condense(text)) == sql.describe(text) != sql.UNKNOWN


@pytest.mark.parametrize(
    "text",
    ["1," * 50_000, "E'\\'" * 50_000, "$a$" * 50_001, "/*" * 50_000, "$a$$b$ " * 50_000, "'\"" * 50_000],
)
def test_condensing_takes_time_in_proportion(text):
    started = time.perf_counter()
    condense(text * 4)
    assert time.perf_counter() - started < 2


def test_a_text_that_cannot_be_condensed_is_not_parsed():
    values = ",".join(["(x)"] * (sql.PARSE_LIMIT // 4 + 1))
    assert sql.describe(f"INSERT INTO a VALUES {values}") is sql.UNKNOWN


def test_a_text_of_many_statements_ends_in_all_the_rest():
    parts = sql.split("SELECT;" * (sql.MAX_PARTS + 2))
    assert len(parts) == sql.MAX_PARTS
    assert parts[-2:] == ["SELECT", "SELECT;SELECT;SELECT"]


@pytest.mark.parametrize("text", ["SELECT \0", "SELECT '\ud800'", "'", "$$", '"', "/*", "\x80\xff"])
def test_bad_text_never_raises(text):
    sql.split(text)
    sql.describe(text)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ('"$user", public', ["$user", "public"]),
        ("", []),
        ('""', [""]),
        ('app, "My ""Schema"""', ["app", 'My "Schema"']),
        ("App", ["app"]),
    ],
)
def test_search_paths(value, path):
    assert sql.split_path(value) == path
