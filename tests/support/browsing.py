"""A real browser, Debian's Chromium, that notices what no page of ours may do.

``Visit`` is a page in it. When it is closed it fails the test for an error on the console (a violation of the
Content-Security-Policy is one), for a script that failed, and for a request to anywhere but the site.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parent.parent / "web" / "axe" / "axe.min.js"
PHONE, LAPTOP = 390, 1280
HEIGHT = 844
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def require_chromium() -> None:
    """Skip, with the reason, where this machine has none. CI installs it, so it skips nothing."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")


class Visit:
    """A page on the site at ``url``, in a context of its own: with its own cookies. Use as a context
    manager."""

    def __init__(self, browser: Browser, url: str, *, width: int = LAPTOP, theme: str = "light") -> None:
        self.url = url
        self._context = browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            accept_downloads=True,
        )
        self._context.set_default_timeout(30_000)
        self.page: Page = self._context.new_page()
        self.refused: set[int] = set()
        """Statuses that are expected here: Chromium and htmx put them on the console."""
        self.addresses: list[str] = []
        self._wrong: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self._wrong.append(f"script: {error}"))
        self.page.on("request", self._asked)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._context.close()
        if kind is None:
            assert not self._wrong, "\n".join(self._wrong)

    def open(self, path: str) -> int:
        """The status of the answer."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        self.page.wait_for_load_state("load")
        return answer.status

    def sign_in(self, token: str, path: str = "/sign-in") -> None:
        self.open(path)
        self.page.fill("#token", token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/sign-in" not in url)

    @property
    def path(self) -> str:
        split = urlsplit(self.page.url)
        return split.path + (f"?{split.query}" if split.query else "")

    def cookies(self) -> list[Any]:
        return list(self._context.cookies())

    def use(self, cookies: list[Any]) -> "Visit":
        """Be signed in as somebody was elsewhere."""
        self._context.add_cookies(cookies)
        return self

    def too_wide(self) -> str:
        """What sticks out to the right of the window; empty if nothing does."""
        found: str = self.page.evaluate(
            """() => document.documentElement.scrollWidth <= window.innerWidth ? "" :
               [...document.querySelectorAll("body *")]
                 .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1)
                 .map(e => e.outerHTML.slice(0, 120)).slice(0, 5).join("\\n") || "something hidden" """
        )
        return found

    def barriers(self, *only: str) -> list[str]:
        """What keeps people with assistive technology out, as axe-core finds it: by these rules of its, or by
        all for WCAG 2.2 A and AA."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate(
            """(only) => axe.run(document, {resultTypes: ["violations"], runOnly: only})""",
            list(only or RULES),
        )
        return [
            f"{one['id']}: {one['help']}: " + json.dumps([node["html"][:160] for node in one["nodes"][:3]])
            for one in found["violations"]
        ]

    def focused(self) -> str:
        """What has the keyboard: its words, or its name."""
        found: str = self.page.evaluate(
            """() => { const e = document.activeElement;
                 return (e.innerText || e.getAttribute("aria-label") || e.id || e.tagName).trim() }"""
        )
        return found

    def tab_to(self, words: str, most: int = 80) -> None:
        """Press Tab until what has these words, or this id, has the keyboard."""
        seen = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            seen.append(self.focused())
            if words in seen[-1] or self.page.evaluate("document.activeElement.id") == words:
                return
        raise AssertionError(f"Tab does not lead to {words!r}: {seen}")

    def _heard(self, message: ConsoleMessage) -> None:
        known = [f"{words} {status} " for status in self.refused for words in ("status of", "Error Code")]
        if message.type == "error" and not any(each in message.text for each in known):
            self._wrong.append(f"console: {message.text} ({self.page.url})")

    def _asked(self, request: Request) -> None:
        self.addresses.append(request.url)
        if not request.url.startswith((self.url + "/", "data:")):
            self._wrong.append(f"a request to {request.url}")
