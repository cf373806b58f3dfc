"""Each page in both themes and on a phone: nothing fails, nothing sticks out, nobody is kept out."""

from collections.abc import Callable

import httpx
import pytest

from support.browsing import PHONE, Visit
from web.conftest import Site

PAGES = {
    "/": "Overview",
    "/?span=24h": "Overview",
    "/sessions": "Sessions",
    "/sessions?status=error&run=run-81": "Sessions",
    "/sessions?since=yesterday": "Sessions",
    "/record": "Verification",
    "/record?session=MISTAKE": "Verification",
    "/watch": "Watch",
    "/audit": "Audit",
    "/connections": "Connections",
    "/connections/shop": "Connection shop",
    "/connectors": "Connectors",
    "/identities": "Identities",
    "/identities/billing-agent": "Identity billing-agent",
    "/nowhere": "Not found",
}
REFUSED = {"/sessions?since=yesterday": 422, "/nowhere": 404}
"""Pages that say what was wrong with the question."""


def look(site: Site, visit: Visit, path: str) -> None:
    status = REFUSED.get(path, 200)
    visit.refused |= {status}
    assert visit.open(path.replace("MISTAKE", site.mistake)) == status
    page = visit.page
    assert page.get_by_role("heading", level=1).inner_text() == PAGES[path]
    assert page.title() == f"{PAGES[path]} · pgwitness"
    assert "alert(1)" not in page.evaluate("[...document.scripts].map(s => s.textContent).join()")


@pytest.mark.parametrize(("theme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_a_page_is_open_to_everybody(
    site: Site, visit: Callable[..., Visit], theme: str, rules: tuple[str, ...]
) -> None:
    """Themes differ in colours and in nothing else."""
    with visit(theme=theme) as laptop:
        found = {}
        for path in PAGES:
            look(site, laptop, path)
            laptop.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            if barriers := laptop.barriers(*rules):
                found[path] = barriers
        assert not found


def test_a_page_fits_a_phone(site: Site, visit: Callable[..., Visit]) -> None:
    with visit(width=PHONE) as phone:
        for path in PAGES:
            look(site, phone, path)
            assert not phone.too_wide(), path


def test_sign_in_is_open_to_everybody_too(visit: Callable[..., Visit]) -> None:
    for theme in ("light", "dark"):
        with visit(None, theme=theme, width=PHONE) as stranger:
            assert stranger.open("/sign-in") == 200
            assert not stranger.barriers() and not stranger.too_wide()


def test_a_reader_gets_the_ways_that_are_open_to_them(site: Site, visit: Callable[..., Visit]) -> None:
    for role, number in {"own": 4, "auditor": 10, "operator": 10, "admin": 10}.items():
        with visit(role) as reader:
            reader.open("/")
            links = reader.page.get_by_role("navigation", name="Main").get_by_role("link").all()
            ways = [str(link.get_attribute("href")) for link in links]
            cookies = {each["name"]: each["value"] for each in reader.cookies()}
        assert len(ways) == number, role
        with httpx.Client(base_url=site.url, cookies=cookies) as client:
            assert {way: client.get(way).status_code for way in ways} == dict.fromkeys(ways, 200), role


def test_what_an_agent_wrote_is_shown_and_never_obeyed(site: Site, visit: Callable[..., Visit]) -> None:
    """Markup stays text, and characters that turn the direction of text are told by their names."""
    with visit() as admin:
        admin.open("/search?identity=billing-agent&match=evil")
        found = admin.page.locator("main").inner_text()
        assert "<script>alert(1)</script>" in found
        assert "\\u202eevil" in found and "\u202e" not in found
        assert not admin.page.locator("main script").count()
