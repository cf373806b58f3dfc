"""Filters in addresses and forms, without a browser."""

from collections.abc import Iterator

import httpx
import pytest

from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services, open_services
from pgwitness.config import Settings
from pgwitness.index.catchup import catch_up
from pgwitness.index.filters import FILTERS
from pgwitness.web.app import create_site
from pgwitness.web.filtering import address
from support import tapes


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Five sessions, two of which are ann's."""
    services = open_services(Settings(state=tmp_path_factory.mktemp("filters") / "state"))
    for number, name in enumerate(("ann", "bob", "bob", "ann", "bob"), 1):
        ran = tapes.dialogue(number, identity=name).run("SELECT 1", "SELECT 1").ended()
        tapes.record(services.settings.state, ran)
    catch_up(services.settings.state)
    yield services
    services.close()


@pytest.fixture
def site(services: Services) -> httpx.Client:
    return httpx.Client(
        transport=InProcessTransport(create_site(services, local=True)), base_url="http://pgwitness"
    )


def test_every_filter_of_the_index_is_in_the_form(site: httpx.Client) -> None:
    page = site.get("/sessions").text
    for each in FILTERS:
        assert (f'name="{each.name}"' in page) == (each.name != "session"), each.name


def test_what_the_address_asks_for_stands_in_the_form_and_can_be_taken_away(site: httpx.Client) -> None:
    page = site.get("/sessions?identity=ann&status=ok&run=").text
    assert 'value="ann"' in page and '<option value="ok" selected>' in page
    assert 'href="/sessions?status=ok"' in page and 'href="/sessions?identity=ann"' in page


def test_an_address_holds_any_text() -> None:
    asked = {"match": "a&b=c #%", "identity": "ann"}
    assert address("/search", asked) == "/search?match=a%26b%3Dc+%23%25&identity=ann"
    assert address("/search", asked, match=None, cursor="7") == "/search?identity=ann&cursor=7"
    assert address("/search", {}) == "/search"


def test_pages_go_on_by_cursor_with_the_filters(site: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgwitness.web.sessions.PAGE", 2)
    seen: list[str] = []
    path = "/sessions?identity=bob"
    while path:
        page = site.get(path).text
        seen += [part.split('"')[0] for part in page.split('href="/sessions/')[1:]]
        following = page.partition('rel="next" href="')[2].partition('"')[0]
        assert "identity=bob" in following or not following
        path = following.replace("&amp;", "&")
    assert seen == [str(tapes.session_id(number)) for number in (5, 3, 2)]


def test_a_filter_that_makes_no_sense_is_explained_on_the_page(site: httpx.Client) -> None:
    answer = site.get("/sessions?status=odd")
    assert (
        answer.status_code == 422 and "is none of ok, error" in answer.text and 'name="status"' in answer.text
    )
