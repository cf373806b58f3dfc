"""No item is longer than its sink allows, whatever the client, the server or an event put into it."""

import msgspec
import pytest

from pgwitness.sinks.items import (
    Discretion,
    Item,
    Who,
    document,
    event_item,
    recorder_item,
    statement_item,
    stub,
)
from pgwitness.statements.model import Column, Parameter, Result
from support.dialogue import Dialogue
from support.sink_items import a_session

LONG = "x" * 300_000
MANY = 50_000
DISCRETION = Discretion(longest=65_536)


def _size(item: Item) -> int:
    return len(msgspec.json.encode(document(item)))


@pytest.mark.parametrize("name", ["sql", "prepared", "portal", "tag", "error", "error_detail"])
def test_each_text_of_a_statement_is_cut(name: str) -> None:
    (statement,) = Dialogue().run("SELECT 1", "SELECT 1").statements()
    setattr(statement, name, LONG)
    item = statement_item(Who(a_session()), statement, DISCRETION)
    assert _size(item) < 70_000 and document(item)["truncated"] is True


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("name", ["parameters", "tables", "columns"])
def test_each_list_of_a_statement_is_cut(name: str, long: bool) -> None:
    (statement,) = Dialogue().run("SELECT 1", "SELECT 1").statements()
    text, count = (LONG, 1) if long else ("x", MANY)
    statement.parameters = [Parameter("text", text, "text")] * count if name == "parameters" else []
    statement.tables = [text] * count if name == "tables" else []
    columns = [Column(text, "text")] * count if name == "columns" else []
    statement.result = Result(columns, 0, 0, True)
    item = statement_item(Who(a_session()), statement, DISCRETION)
    assert _size(item) < 100_000 and document(item)["truncated"] is True
    assert _size(stub(item)) < 2000


def test_an_event_is_cut() -> None:
    event = {"event": "login_refused", "reason": LONG, "asked": {"names": ["x"] * MANY}}
    of_session = event_item(Who(a_session()), 1, 1, "2026-11-22T06:45:31Z", event, DISCRETION)
    for item in (of_session, recorder_item(1, "2026-11-22T06:45:31Z", event, DISCRETION)):
        made = document(item)
        assert _size(item) < 100_000 and made["truncated"] is True and made["event"] == "login_refused"
        small = document(stub(item))
        assert (small["id"], small["type"], small["truncated"]) == (made["id"], made["type"], True)
        assert _size(stub(item)) < 2000
    short = {"event": "login_refused", "reason": "wrong_token"}
    assert "truncated" not in document(recorder_item(1, "2026-11-22T06:45:31Z", short, DISCRETION))
