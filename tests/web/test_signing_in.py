"""Sign-in and sign-out at the pages, and that a token is nowhere but in the body of one request."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from playwright.sync_api import Browser, expect

from support.browsing import Visit
from web.conftest import Site

OPEN = ("/sign-in", "/sign-in/state")


def test_in_and_out(site: Site, visit: Callable[..., Visit]) -> None:
    with visit(None) as stranger:
        stranger.open("/sessions?identity=billing-agent")
        assert stranger.path.startswith("/sign-in?next=")
        stranger.page.fill("#token", site.tokens["auditor"])
        stranger.page.keyboard.press("Enter")
        stranger.page.wait_for_url("**/sessions?identity=billing-agent")
        expect(stranger.page.locator(".who")).to_contain_text("jane")
        (cookie,) = stranger.cookies()
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and not cookie["secure"], (
            "it is plain HTTP"
        )
        stranger.page.get_by_role("button", name="Sign out").click()
        stranger.page.wait_for_url("**/sign-in")
        assert not stranger.cookies()
        stranger.open("/")
        assert stranger.path == "/sign-in"
        with httpx.Client(cookies={cookie["name"]: cookie["value"]}, base_url=site.url) as thief:
            assert thief.get("/sessions").status_code == 303, "a sign-in that ended opens nothing"


def test_a_wrong_token_is_refused_and_not_repeated(visit: Callable[..., Visit]) -> None:
    with visit(None) as stranger:
        stranger.refused = {401}
        stranger.open("/sign-in?next=/audit")
        stranger.page.fill("#token", "pgw_wrong_token")
        stranger.page.get_by_role("button", name="Sign in").click()
        expect(stranger.page.get_by_role("alert")).to_contain_text("not known, has expired or was revoked")
        assert "pgw_wrong_token" not in stranger.page.content()
        assert stranger.page.locator("input[name=next]").get_attribute("value") == "/audit"


def test_a_clients_token_does_not_open_the_pages(site: Site, visit: Callable[..., Visit]) -> None:
    with visit(None) as client:
        client.refused = {403}
        client.open("/sign-in")
        client.page.fill("#token", site.gateway.tokens["billing-agent"])
        client.page.get_by_role("button", name="Sign in").click()
        expect(client.page.get_by_role("alert")).to_contain_text("for PostgreSQL clients")


def test_tokens_are_in_no_address_page_or_log(site: Site, visit: Callable[..., Visit]) -> None:
    with visit(None) as admin:
        admin.sign_in(site.tokens["admin"])
        for path in ("/", "/sessions", "/identities/jane", "/audit", "/record"):
            admin.open(path)
            for token in site.tokens.values():
                assert token not in admin.page.content()
        assert not any(token in address for token in site.tokens.values() for address in admin.addresses)
    for token in site.tokens.values():
        assert token not in site.gateway.log


@pytest.mark.parametrize(
    "next", ["//evil.example/x", "https://evil.example", "/\\evil.example", "javascript:1"]
)
def test_sign_in_leads_to_this_site_only(site: Site, next: str) -> None:
    form = {"token": site.tokens["auditor"], "next": next}
    answer = httpx.post(f"{site.url}/sign-in", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_nothing_but_sign_in_is_there_for_strangers(site: Site) -> None:
    with httpx.Client(base_url=site.url) as stranger:
        for path in (
            "/",
            "/sessions",
            f"/sessions/{site.mistake}",
            "/record",
            "/audit",
            "/fragments/overview",
        ):
            answer = stranger.get(path)
            assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in"), path
            assert not answer.content
        assert all(stranger.get(path).status_code == 200 for path in OPEN)
        renewed = stranger.get("/fragments/overview", headers={"HX-Request": "true"})
        assert (renewed.status_code, renewed.headers["hx-redirect"]) == (204, "/sign-in")


def test_a_form_without_the_second_secret_changes_nothing(site: Site, visit: Callable[..., Visit]) -> None:
    with visit("admin") as admin:
        admin.open("/")
        cookies = {each["name"]: each["value"] for each in admin.cookies()}
    with httpx.Client(base_url=site.url, cookies=cookies) as forged:
        assert forged.get("/identities").status_code == 200
        answer = forged.post("/identities", data={"name": "intruder", "kind": "human"})
        assert answer.status_code == 403
        assert "intruder" not in forged.get("/identities").text


def test_who_comes_by_a_link_of_another_site_is_still_signed_in(
    site: Site, visit: Callable[..., Visit], browser: Browser
) -> None:
    """SameSite=Strict keeps the cookie back from the first request only."""
    with visit("auditor") as signed_in:
        cookies = signed_in.use([]).cookies()
    context = browser.new_context()
    context.add_cookies(cookies)
    with elsewhere(f"{site.url}/sessions?run=run-81") as address:
        page = context.new_page()
        page.goto(address)
        page.click("a")
        page.wait_for_url("**/sessions?run=run-81")
    context.close()


@contextmanager
def elsewhere(link: str) -> Iterator[str]:
    """A page of another site with this link: localhost is another site than 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<title>x</title><a href="{link}">incident</a>'.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
