"""What drivers issue by themselves stands apart; what an agent might hide as that counts."""

import pytest

from pgwitness.review.claims.chores import CATALOGS, FUNCTIONS, PARAMETERS
from pgwitness.review.claims.forms import form
from pgwitness.review.claims.values import Value

OWN = [
    "BEGIN",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "COMMIT",
    "ROLLBACK TO SAVEPOINT _pg3_1",
    "RELEASE _pg3_1",
    "SET client_encoding TO 'UTF8'",
    "SET TIME ZONE 'UTC'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SHOW standard_conforming_strings",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "RESET ALL",
    "UNLISTEN *",
    "CLOSE ALL",
    'FETCH FORWARD 100 FROM "c"',
    "SELECT 1",
    "select pg_catalog.version()",
    "SELECT pg_advisory_unlock_all()",
    "SELECT current_schema()",
    "SELECT count(*), 'a'::regclass, oid::int8 FROM pg_class WHERE relname OPERATOR(pg_catalog.~) 'a'",
    "SELECT typname, oid, typarray FROM pg_type t WHERE t.oid = to_regtype('hstore')",
    "WITH t AS (SELECT oid FROM pg_catalog.pg_type) SELECT * FROM t",
    "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
    "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders'",
]
COUNTS = [
    "SET search_path TO evil, public",
    "SET LOCAL search_path TO evil",
    "RESET search_path",
    "SET ROLE admin",
    "SET SESSION AUTHORIZATION admin",
    "SET session_replication_role = replica",
    "SET row_security = off",
    "SELECT set_config('search_path', 'evil', false)",
    "SELECT lo_unlink(7)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_terminate_backend(7)",
    "SELECT evil.version()",
    "SELECT version() FROM orders",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_catalog.pg_shadow",
    "SELECT * FROM pg_stats",
    "SELECT query FROM pg_stat_activity",
    "SELECT * FROM public.pg_type",
    "SELECT * FROM evil.columns",
    "SELECT oid INTO mine FROM pg_class",
    "SELECT oid FROM pg_class FOR UPDATE",
    "WITH gone AS (DELETE FROM orders RETURNING 1) SELECT 1",
    "WITH orders AS (SELECT 1) SELECT 1 FROM (SELECT * FROM orders) o, public.orders",
    "SELECT 1 FROM (WITH orders AS (SELECT 1) SELECT * FROM orders) o, orders",
    "WITH pg_class AS (SELECT * FROM orders) SELECT * FROM pg_class",
    "SELECT 1 WHERE EXISTS (SELECT FROM orders)",
    "TABLE orders",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "DECLARE c CURSOR FOR SELECT * FROM orders",
    "PREPARE TRANSACTION 'x'",
    "COMMIT PREPARED 'x'",
    "LOCK TABLE orders",
    "COPY pg_class TO PROGRAM 'sh'",
    "CREATE FUNCTION public.count(text) RETURNS int LANGUAGE sql AS 'DELETE FROM orders RETURNING 1'",
    "SELECT version(1)",
    "SELECT 'x'::evil",
    "SELECT 'x'::public.text",
    "SELECT 1 OPERATOR(public.+) 2",
    "SELECT oid FROM pg_class ORDER BY oid USING OPERATOR(public.<)",
    "SELEC 1",
    "",
]


def own(sql: str) -> bool:
    return form(sql, lambda number: Value(None)).template.own


@pytest.mark.parametrize("sql", OWN)
def test_a_drivers_own(sql: str) -> None:
    assert own(sql)


@pytest.mark.parametrize("sql", COUNTS)
def test_nobody_hides_behind_it(sql: str) -> None:
    assert not own(sql)


def test_the_lists_hold_nothing_that_acts() -> None:
    assert not PARAMETERS & {"search_path", "role", "session_authorization", "row_security", "log_statement"}
    assert not CATALOGS & {
        "pg_authid",
        "pg_shadow",
        "pg_user_mapping",
        "pg_largeobject",
        "pg_statistic",
        "pg_settings",
    }
    assert not {
        name for name in FUNCTIONS if name.startswith(("lo_", "pg_read", "pg_ls", "pg_terminate", "dblink"))
    }
    assert not FUNCTIONS & {"set_config", "query_to_xml", "pg_sleep", "nextval", "setval", "pg_notify"}
