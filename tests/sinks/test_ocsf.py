"""Whatever happens becomes a valid OCSF event; and the check of validity fails for what is not valid."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from pgwitness.sinks import ocsf
from pgwitness.sinks.items import Discretion, Item
from support.ocsf import schema
from support.sink_items import PATIENT, items, settled_item

SCHEMA = schema(ocsf.VERSION)


def event(item: Item) -> dict[str, Any]:
    """As a receiver reads it."""
    made: dict[str, Any] = json.loads(msgspec.json.encode(ocsf.event(item)))
    return made


@PATIENT
@given(items())
def test_every_item_is_a_valid_event(item: Item) -> None:
    made = event(item)
    assert SCHEMA.problems(made) == []
    assert made["metadata"]["uid"] == item.id


def test_a_statement_without_its_text() -> None:
    item = settled_item("UPDATE orders SET status = 'void'", "UPDATE 1", Discretion("withheld", False))
    made = event(item)
    assert "query_info" not in made and "void" not in json.dumps(made)
    assert SCHEMA.problems(made) == []


@pytest.mark.parametrize(
    ("sql", "tag", "activity"),
    [
        ("SELECT 1", "SELECT 1", (4, "Query")),
        ("UPDATE orders SET a = 1", "UPDATE 40000", (2, "Update")),
        ("INSERT INTO orders VALUES (1)", "INSERT 0 1", (5, "Write")),
        ("DELETE FROM orders", "DELETE 3", (7, "Delete")),
        ("TRUNCATE orders", "TRUNCATE TABLE", (7, "Delete")),
        ("DROP TABLE orders", "DROP TABLE", (7, "Delete")),
        ("CREATE TABLE orders (a int)", "CREATE TABLE", (6, "Create")),
        ("COPY orders FROM STDIN", "COPY 3", (5, "Write")),
        ("ALTER TABLE orders ADD b int", "ALTER TABLE", (99, "ALTER TABLE")),
    ],
)
def test_what_a_command_is_called(sql: str, tag: str, activity: tuple[int, str]) -> None:
    made = event(settled_item(sql, tag))
    assert (made["activity_id"], made["activity_name"]) == activity
    assert made["type_uid"] == 600500 + activity[0]


def test_a_write_with_all_that_a_responder_asks_for() -> None:
    made = event(settled_item("UPDATE orders SET status = 'void'", "UPDATE 40000"))
    assert made["actor"]["user"]["name"] == "billing-agent"
    assert made["query_info"]["query_string"] == "UPDATE orders SET status = 'void'"
    assert (made["database"]["name"], made["table"]["name"]) == ("shop", "public.orders")
    assert made["metadata"]["correlation_uid"] == "run-81"
    kept = made["unmapped"]["pgwitness"]
    assert kept["rows"] == 40000 and kept["transaction"]["outcome"] == "committed"
    assert "40,000 rows, committed" in made["message"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sql": "x"}, "has no such attribute"),
        ({"severity_id": 7}, "not in its enumeration"),
        ({"time": "now"}, "is no timestamp_t"),
        ({"metadata": {"version": "1.7.0"}}, "metadata.product: required"),
        ({"actor": {}}, "at_least_one"),
        ({"src_endpoint": {"ip": "somewhere"}}, "is no ip_t"),
        ({"src_endpoint": {"ip": "10.0.0.1", "port": 70000}}, "out of range"),
        ({"type_uid": 1}, "type_uid"),
        ({"class_uid": 6999}, "there is no class"),
        ({"count": 2**31}, "does not fit"),
        ({"observables": {}}, "not an array"),
    ],
)
def test_the_check_finds_what_is_wrong(change: dict[str, Any], says: str) -> None:
    found = SCHEMA.problems(event(settled_item("SELECT 1", "SELECT 1")) | change)
    assert any(says in line for line in found), found


@pytest.mark.parametrize("name", ["actor", "src_endpoint", "metadata", "time", "severity_id", "activity_id"])
def test_the_check_misses_what_is_required(name: str) -> None:
    made = event(settled_item("SELECT 1", "SELECT 1"))
    del made[name]
    assert any(line.startswith(f"{name}: required") for line in SCHEMA.problems(made))
