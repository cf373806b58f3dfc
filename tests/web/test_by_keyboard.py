"""Everything that matters, without a mouse."""

from collections.abc import Callable

from playwright.sync_api import expect

from support.browsing import PHONE, Visit
from web.conftest import Site


def test_the_first_tab_skips_to_the_content(visit: Callable[..., Visit]) -> None:
    with visit() as admin:
        admin.open("/sessions")
        admin.tab_to("Skip to content", most=1)
        admin.page.keyboard.press("Enter")
        assert admin.page.evaluate("document.activeElement.id") == "content"
        admin.tab_to("filter-identity", most=2)


def test_the_main_actions_of_pages_are_reached(site: Site, visit: Callable[..., Visit]) -> None:
    with visit() as admin:
        for path, action in {
            "/": f"end-{site.live}",
            "/record": "verify-now",
            "/connections/shop": "check-now",
            "/identities/jane": "Issue a token",
            "/watch": "Look now",
        }.items():
            admin.open(path)
            admin.tab_to(action)


def test_a_question_is_answered_by_keyboard_and_gives_the_focus_back(
    site: Site, visit: Callable[..., Visit]
) -> None:
    with visit() as admin:
        admin.open("/identities/jane")
        admin.tab_to("Revoke")
        admin.page.keyboard.press("Enter")
        question = admin.page.get_by_role("dialog")
        expect(question).to_contain_text("Revoke token")
        assert admin.focused() == "Cancel", "what cannot be undone is not the first choice"
        assert not admin.barriers()
        admin.page.keyboard.press("Escape")
        expect(question).to_be_hidden()
        assert "Revoke" in admin.focused()


def test_the_menu_of_a_phone(visit: Callable[..., Visit]) -> None:
    with visit(width=PHONE) as phone:
        phone.open("/")
        menu = phone.page.get_by_role("button", name="Menu")
        links = phone.page.get_by_role("navigation", name="Main")
        expect(links).to_be_hidden()
        phone.tab_to("Menu")
        phone.page.keyboard.press("Enter")
        expect(links).to_be_visible()
        assert menu.get_attribute("aria-expanded") == "true"
        assert not phone.too_wide() and not phone.barriers()
        phone.page.keyboard.press("Escape")
        expect(links).to_be_hidden()
        assert phone.focused() == "Menu"


def test_the_theme_is_chosen_and_remembered(visit: Callable[..., Visit]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with visit(theme="light") as reader:
        reader.open("/sessions")
        light = reader.page.evaluate(ground)
        button = reader.page.locator("#theme-button")
        expect(button).to_have_text("Theme: system")
        button.click()
        expect(button).to_have_text("Theme: light")
        button.click()
        expect(button).to_have_text("Theme: dark")
        dark = reader.page.evaluate(ground)
        assert dark != light
        reader.open("/audit")
        expect(button).to_have_text("Theme: dark")
        assert reader.page.evaluate(ground) == dark
