"""The replay of a session that runs: what it does appears, its end too. What one may not see is not there."""

from collections.abc import Callable

import psycopg
import pytest
from playwright.sync_api import expect

from support.browsing import Visit
from web.conftest import Site


def test_a_live_session_is_followed_until_it_ends(site: Site, visit: Callable[..., Visit]) -> None:
    with site.gateway.connect("reporting-agent", "shop", options="-c pgwitness.run=live-1") as agent:
        agent.execute("SELECT 'the first'")
        found = site.gateway.statements("--run", "live-1", wait_for=1)
        with visit("operator") as operator:
            page = operator.page
            operator.open(f"/sessions/{found[0]['session']}")
            expect(page.locator("#state-badge")).to_have_text("live")
            expect(page.locator("#panel .code")).to_contain_text("the first")
            agent.execute("BEGIN")
            agent.execute("SELECT 'the second'")
            expect(page.locator("#panel .code")).to_contain_text("the second")
            expect(page.locator("#s3 .badge")).to_have_text("open")
            expect(page.locator("#s3 .line")).to_have_attribute("aria-current", "true")
            agent.execute("ROLLBACK")
            expect(page.locator("#s4 .badge")).to_have_text("rolled back")
            assert "rolled_back" in (page.locator("#s3").get_attribute("class") or "")

            page.keyboard.press("Home")  # who looks at something else is not taken away from it
            expect(page.get_by_label("Follow")).not_to_be_checked()
            agent.execute("SELECT 'the fifth'")
            expect(page.locator("#s5")).to_be_attached()
            expect(page.locator("#strip")).to_have_attribute("aria-valuenow", "1")

            page.get_by_text("End session").click()
            page.get_by_role("button", name="End it now").click()
            expect(page.locator("#state-badge")).to_have_text("ended")
            expect(page.locator("#deck .ledger")).to_contain_text("killed")
        with pytest.raises(psycopg.Error):
            agent.execute("SELECT 1")


def test_an_auditor_may_look_and_not_end(site: Site, visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        auditor.open(f"/sessions/{site.live}")
        expect(auditor.page.locator("#state-badge")).to_have_text("live")
        assert auditor.page.get_by_text("End session").count() == 0


def test_who_reads_their_own_sessions_sees_no_others(site: Site, visit: Callable[..., Visit]) -> None:
    parts = ("", "/deck", "/rows/0", "/state", "/next", "/export/jsonl")
    of_statement = ("", ".json", "/around", "/result")
    paths = [*parts, *(f"/statements/1{each}" for each in of_statement)]
    with visit("own") as own:
        own.refused |= {404}
        for path in paths:
            assert own.page.request.get(f"{site.url}/sessions/{site.live}{path}").status == 404, path
            assert own.page.request.get(f"{site.url}/sessions/{site.mistake}{path}").status == 200, path
        assert own.open("/search") == 200
        assert "count(*) FROM shipments'" not in own.page.content()
        assert {*own.page.locator("td[data-label=Identity]").all_inner_texts()} != set()
        assert all(
            "billing-agent" in each for each in own.page.locator("td[data-label=Identity]").all_inner_texts()
        )
        assert own.open(f"/blast?session={site.live}") == 404
