"""Pages that renew themselves: what runs now is seen now, and can be ended."""

import contextlib
from collections.abc import Callable, Iterator

import psycopg
import pytest
from playwright.sync_api import expect

from support.browsing import Visit
from web.conftest import Site

SOON = 15_000


@contextlib.contextmanager
def running(site: Site, run: str) -> Iterator[tuple[psycopg.Connection, str]]:
    """A session that is open, and its id."""
    with site.gateway.connect("reporting-agent", "shop", options=f"-c pgwitness.run={run}") as connection:
        connection.execute("SELECT 1")
        found = site.gateway.sessions("--run", run, wait_for=1)
        yield connection, found[0]["session"]


def test_a_session_appears_on_the_overview_and_is_ended_there(
    site: Site, visit: Callable[..., Visit]
) -> None:
    with visit("operator") as operator:
        operator.open("/")
        with running(site, "run-ended") as (connection, session):
            button = operator.page.locator(f"#end-{session}")
            expect(button).to_be_visible(timeout=SOON)
            button.click()
            question = operator.page.get_by_role("dialog")
            expect(question).to_contain_text(session[-8:])
            question.get_by_role("button", name="Cancel").click()
            connection.execute("SELECT 2")
            button.click()
            question.get_by_role("button", name="End session").click()
            expect(button).to_be_hidden(timeout=SOON)
            with pytest.raises(psycopg.errors.AdminShutdown):
                connection.execute("SELECT 3")


def test_the_list_of_sessions_goes_on(site: Site, visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        auditor.open("/sessions?run=run-listed")
        expect(auditor.page.get_by_text("No session is like that")).to_be_visible()
        with running(site, "run-listed"):
            row = auditor.page.get_by_role("row").filter(has_text="run-listed")
            expect(row).to_contain_text("live", timeout=SOON)
        expect(row).to_contain_text("ended", timeout=SOON)


def test_who_may_not_end_a_session_sees_no_button(site: Site, visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        auditor.open("/")
        expect(auditor.page.get_by_role("link", name=site.live[-8:])).to_be_visible()
        assert not auditor.page.get_by_role("button", name="End").count()


def test_own_sessions_are_all_that_their_identity_sees(site: Site, visit: Callable[..., Visit]) -> None:
    with visit("own") as own:
        for path in ("/", "/sessions"):
            own.open(path)
            text = own.page.locator("main").inner_text()
            assert "billing-agent" in text or "run-81" in text, path
            assert "reporting-agent" not in text and site.live[-8:] not in text, path


def test_a_page_that_gets_no_answer_says_that_it_is_not_live(visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        auditor.refused = {503}
        auditor.open("/")
        auditor.page.route("**/fragments/overview*", lambda route: route.fulfill(status=503, body="no"))
        said = auditor.page.get_by_role("alert").filter(has_text="not live")
        expect(said).to_be_visible(timeout=SOON)
        auditor.page.unroute("**/fragments/overview*")
        expect(said).to_be_hidden(timeout=SOON)


def test_the_chart_has_its_numbers_in_words_too(visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        auditor.open("/")
        assert auditor.page.locator(".chart rect.series-1").count()
        table = auditor.page.get_by_role("table", name="Statements by identity, last hour")
        row = table.get_by_role("row").filter(has_text="billing-agent")
        assert int(row.get_by_role("cell").nth(0).inner_text().replace(",", "")) >= 6
        assert int(row.get_by_role("cell").nth(2).inner_text().replace(",", "")) >= 40_000
