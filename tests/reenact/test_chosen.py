"""What counts as a setting that a session made: nothing that could be more than one."""

import pytest

from pgwitness.reenact.chosen import Bound, Value, _made
from pgwitness.statements.model import Statement, Transaction


def made(sql: str, *values: Value, command: str = "SELECT") -> list[tuple[bool, list[bytes | None]]]:
    statement = Statement(
        session="s",
        seq=1,
        message=1,
        identity=None,
        on_behalf_of=None,
        run=None,
        connection=None,
        database=None,
        protocol="extended",
        prepared="",
        portal="",
        parameters=[],
        command=command,
        tag=None,
        rows=None,
        tables=[],
        status="ok",
        sqlstate=None,
        error=None,
        transaction=Transaction(1, "committed"),
        started_at="2026-11-20T12:00:00Z",
        duration_us=1,
        result=None,
        copy=None,
        sql=sql,
        position=0,
    )
    found = _made(statement, Bound(sql, list(values)), "utf-8")
    assert all(one.setting.sql == "SELECT pg_catalog.set_config($1, $2, $3)" for one in found) or "SET" in sql
    return [(one.local, [value.data for value in one.setting.values]) for one in found]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH w AS (DELETE FROM orders RETURNING 1) SELECT set_config('a.b', 'x', false)",
        "SELECT set_config('a.b', 'x', false) WHERE pay()",
        "SELECT set_config('a.b', 'x', false) INTO t",
        "SELECT set_config('a.b', pay(), false)",
        "SELECT set_config('a.b', 'x', false) FROM t",
        "SELECT set_config('a.b', 'x', false) ORDER BY pay()",
        "SELECT set_config('a.b', 'x', false) LIMIT pay()",
        "SELECT set_config('a.b', 'x', false) UNION SELECT pay()",
        "SELECT set_config('a.b', 'x', false), pay()",
        "SELECT set_config('a.b', 'x'::mine.text, false) FILTER (WHERE pay())",
        "SELECT mine.set_config('a.b', 'x', false)",
        "SELECT set_config('a.b', ('x' || pay())::text, false)",
        "SELECT set_config('a.b', (SELECT pay()), false)",
        "SELECT DISTINCT ON (pay()) set_config('a.b', 'x', false)",
        "SELECT set_config('a.b', $1, false)",
        "DO 'set_config'",
    ],
)
def test_what_may_be_more_is_no_setting(sql: str) -> None:
    assert made(sql) == []


def test_how_long_it_holds() -> None:
    assert made("SELECT set_config('a.b', 'x', false)") == [(False, [b"a.b", b"x", b"f"])]
    assert made("SELECT pg_catalog.set_config('a.b', NULL, true)") == [(True, [b"a.b", None, b"t"])]
    both = "SELECT set_config($1, $2, $3), set_config('c.d', 'y'::text, 'off')"
    asked = Value(25, 1, b"a.b"), Value(0, 0, b"x")
    assert made(both, *asked, Value(16, 1, b"\1")) == [
        (True, [b"a.b", b"x", b"t"]),
        (False, [b"c.d", b"y", b"f"]),
    ]
    assert [local for local, _ in made(both, *asked, Value(16, 1, b"\0"))] == [False, False]
    assert made(both, *asked, Value(16, 0, None)) == []


def test_a_transactions_own_are_left_to_the_one_that_looks() -> None:
    assert made("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", command="SET") == []
    assert made("SELECT set_config('transaction_read_only', 'on', true)") == []
    assert made("SET LOCAL work_mem = '1MB'", command="SET") == [(True, [])]
