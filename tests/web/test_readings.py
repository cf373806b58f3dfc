"""What pages tell of content is in the audit, each reading once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services, open_services
from pgwitness.config import Settings
from pgwitness.web.app import create_site
from support import tapes

ONE, TWO = str(tapes.session_id(1)), str(tapes.session_id(2))
PART = {"HX-Request": "true"}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = open_services(Settings(state=tmp_path))
    talks = [tapes.dialogue(number, connection="orders") for number in (1, 2)]
    talks = [talk.run("SELECT 'content'", "SELECT 1").ended() for talk in talks]
    tapes.record(tmp_path, *talks)
    yield services
    services.close()


@pytest.fixture
def site(services: Services) -> httpx.Client:
    transport = InProcessTransport(create_site(services, local=True))
    return httpx.Client(transport=transport, base_url="http://pgwitness")


def _noted(services: Services) -> list[tuple[str, str, dict[str, Any]]]:
    return [(each.action, each.subject, each.details) for each in services.catalog.audit(action="read.")][
        ::-1
    ]


def test_a_count_is_a_reading(services: Services, site: httpx.Client) -> None:
    for piece in ("c", "co"):
        assert site.get("/search/count", params={"match": piece}).status_code == 200
    assert _noted(services) == [("read.count", "all sessions", {"match": True})] * 2


def test_which_sessions_have_a_text_is_a_reading(services: Services, site: httpx.Client) -> None:
    """A list that renews itself is one; another text is another one."""
    assert site.get("/sessions", params={"identity": "ann"}).status_code == 200
    assert _noted(services) == []
    for piece, count in (("c", 1), ("c", 1), ("co", 2), ("con", 3), ("c", 3)):
        assert site.get("/sessions", params={"match": piece}, headers=PART).status_code == 200
        assert _noted(services) == [("read.sessions", "all sessions", {"match": True})] * count
    assert site.get("/sessions", params={"words": "content"}).status_code == 200
    assert site.get("/sessions", params={"words": "content"}).status_code == 200
    assert _noted(services)[3:] == [("read.sessions", "all sessions", {"words": True})] * 2


def test_sessions_beside_a_statement_are_noted(services: Services, site: httpx.Client) -> None:
    shown = site.get(f"/sessions/{ONE}/statements/1")
    assert TWO in shown.text
    assert _noted(services) == [
        ("read.statement", ONE, {"seq": 1}),
        ("read.around", TWO, {"beside": ONE}),
    ]


def test_where_the_next_write_is_belongs_to_a_replay(services: Services, site: httpx.Client) -> None:
    for _ in range(2):
        assert site.get(f"/sessions/{ONE}/next").status_code == 200
    assert _noted(services) == [("read.replay", ONE, {"results": False})]
