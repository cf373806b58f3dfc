"""Texts taken apart: placeholders of drivers, several statements, psql, many rows at once."""

from typing import Any

import pytest

from pgwitness.errors import InvalidError
from pgwitness.review.claims import model, texts
from pgwitness.review.claims.model import UNSAID, Result, Said
from pgwitness.review.claims.placeholders import bind
from pgwitness.review.claims.texts import claims_of


@pytest.mark.parametrize(
    ("sql", "given", "bound"),
    [
        ("SELECT %s, '%s'", ["a"], ("SELECT $1, '%s'", ["a"])),
        ("SELECT 1 WHERE a=%s AND b LIKE 'x%%'", [1], ("SELECT 1 WHERE a= $1 AND b LIKE 'x%'", [1])),
        ("SELECT %(b)s, %(a)s", {"a": 1, "b": 2}, ("SELECT $1, $2", [2, 1])),
        (
            "SELECT a FROM t WHERE b=? AND c->>'?'=?",
            [1, 2],
            ("SELECT a FROM t WHERE b= $1 AND c->>'?'= $2", [1, 2]),
        ),
        ("SELECT a FROM t WHERE b ?| $1", [["x"]], ("SELECT a FROM t WHERE b ?| $1", [["x"]])),
        ("SELECT :a::int, b[1:2]", {"a": 1}, ("SELECT $1::int, b[1:2]", [1])),
        ("SELECT @a -- :b", {"a": 1, "b": 2}, ("SELECT $1 -- :b", [1])),
        ("SELECT $2, $1, $2", ["x", "y"], ("SELECT $1, $2, $3", ["y", "x", "y"])),
        ("SELECT 1 WHERE a IN %s", [[1, 2]], ("SELECT 1 WHERE a IN ($1, $2)", [1, 2])),
        ("SELECT a % b FROM t", None, ("SELECT a % b FROM t", [])),
        ("UPDATE t SET a = %s WHERE b = %s", None, ("UPDATE t SET a = $1 WHERE b = $2", [UNSAID, UNSAID])),
        ("UPDATE t SET a=%s", None, ("UPDATE t SET a= $1", [UNSAID])),
        ("UPDATE t SET a = :a", None, ("UPDATE t SET a = $1", [UNSAID])),
        ("UPDATE t SET a = $1", ["x", "y"], ("UPDATE t SET a = $1", ["x"])),
        ("UPDATE t SET a = $1, b = $2", ["x"], ("UPDATE t SET a = $1, b = $2", ["x", UNSAID])),
        ("SELECT 'unclosed", [1], ("SELECT 'unclosed", [])),
    ],
)
def test_placeholders(sql: str, given: Any, bound: tuple[str, list[Any]]) -> None:
    assert bind(sql, given) == bound


def claims(sql: str, parameters: Any = None, **result: Any) -> list[tuple[str, list[Any]]]:
    made, _ = claims_of(model.Testimony("jsonl", [Said("line 1", sql, parameters, Result(**result))]))
    return [(claim.sql, claim.values) for claim in made]


def test_several_statements() -> None:
    assert [sql for sql, _ in claims("DELETE FROM a; -- b;\nSELECT ';' ; ")] == [
        "DELETE FROM a",
        "SELECT ';'",
    ]


def test_a_result_tells_of_the_last() -> None:
    said = Said("line 1", "DELETE FROM a; DELETE FROM b", None, Result(rows=7, status="ok"))
    made, _ = claims_of(model.Testimony("jsonl", [said]))
    assert [claim.result.rows for claim in made] == [None, None]
    said.result = Result(status="error", error="no")
    made, _ = claims_of(model.Testimony("jsonl", [said]))
    assert [claim.result.status for claim in made] == [None, "error"]


def test_many_rows_at_once() -> None:
    assert claims("INSERT INTO t VALUES (%s, %s)", [[1, "a"], [2, "b"], [3, "c"]]) == [
        ("INSERT INTO t VALUES ($1, $2)", [1, "a"]),
        ("INSERT INTO t VALUES ($1, $2)", [2, "b"]),
        ("INSERT INTO t VALUES ($1, $2)", [3, "c"]),
    ]
    assert claims("SELECT %s", [[1, 2]]) == [("SELECT $1", [[1, 2]])]
    rows = [{"a": 1}, {"a": 2}]
    assert [values for _, values in claims("INSERT INTO t VALUES (:a)", rows)] == [[1], [2]]


def test_what_only_psql_reads() -> None:
    text = "\\timing on\nSELECT 1 \\g\n\\copy t (a) from 'x.csv' csv\nSELECT '\n\\d'\n\\d t"
    made, beside = claims_of(model.Testimony("jsonl", [Said("line 1", text)]))
    assert [claim.sql for claim in made] == ["SELECT 1", "COPY t (a) from STDIN csv", "SELECT '\n\\d'"]
    assert [each.problem for each in beside] == [
        "a command of psql, not SQL: \\timing on",
        "a command of psql, not SQL: \\d t",
    ]


def test_passwords_are_taken_out() -> None:
    assert claims("CREATE ROLE a PASSWORD 'geheim'") == [("CREATE ROLE a PASSWORD '***'", [])]


def test_a_fence_of_markdown() -> None:
    assert claims("```sql\nSELECT 1\n```") == [("SELECT 1", [])]


def test_more_than_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_CLAIMS", 2)
    with pytest.raises(InvalidError, match="more than 2 statements"):
        claims("SELECT 1; SELECT 2; SELECT 3")
