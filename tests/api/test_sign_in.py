"""Sign-ins at the pages, and the limits at the gate, by an application that has routes as the pages do."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Form, Request, Response
from pydantic import BaseModel

from api.test_admin import problem
from pgwitness.api.access import Counted, May, ReaderHere
from pgwitness.api.app import create_app
from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services
from pgwitness.api.signin import COOKIE, SignIns, clear_cookie, set_cookie
from pgwitness.catalog.models import TokenRole
from pgwitness.config import HttpSettings, Settings
from pgwitness.identity import tokens


class Body(BaseModel):
    word: str


def make_site(services: Services) -> Any:
    app = create_app(services)

    @app.post("/sign-in")
    def sign_in(request: Request, response: Response, token: Annotated[str, Form()], _: Counted) -> str:
        signed_in = app.state.gate.sign_in(request, token)
        set_cookie(response, request, signed_in)
        return str(signed_in.csrf)

    @app.post("/sign-out", dependencies=[May.read])
    def sign_out(request: Request, response: Response) -> None:
        app.state.gate.sign_out(request)
        clear_cookie(response, request)

    @app.get("/page", dependencies=[May.read])
    def page(reader: ReaderHere) -> list[str | None]:
        return [reader.actor, reader.role, reader.csrf]

    @app.post("/form", dependencies=[May.read])
    def form(word: Annotated[str, Form()]) -> str:
        return word

    @app.post("/button", dependencies=[May.read])
    def button() -> str:
        return "pressed"

    @app.post("/json", dependencies=[May.read])
    def json(body: Body) -> str:
        return body.word

    return app


class Browser(httpx.Client):
    def __init__(self, app: Any, scheme: str = "http") -> None:
        super().__init__(transport=InProcessTransport(app), base_url=f"{scheme}://pgwitness")
        self.csrf = ""

    def sign_in(self, token: str) -> httpx.Response:
        answer = self.post("/sign-in", data={"token": token})
        if answer.is_success:
            self.csrf = answer.json()
        return answer


@pytest.fixture
def settings(settings: Settings) -> Settings:
    limits = HttpSettings(failures_per_minute=3, requests_per_second=0.001, requests_burst=40)
    return settings.model_copy(update={"http": limits})


@pytest.fixture
def app(services: Services) -> Any:
    services.catalog.identities.add("ann", actor="test", kind="human")
    return make_site(services)


@pytest.fixture
def browser(app: Any) -> Iterator[Browser]:
    with Browser(app) as browser:
        yield browser


def issue(
    services: Services, role: TokenRole = "auditor", lifetime: timedelta | None = timedelta(days=30)
) -> tuple[str, str]:
    token, text = tokens.issue(services.catalog, "ann", actor="test", role=role, lifetime=lifetime)
    return token.id, text.reveal()


def test_a_sign_in_stands_for_its_token(services: Services, browser: Browser) -> None:
    assert problem(browser.get("/page"), 401)
    id, token = issue(services)
    answer = browser.sign_in(token)
    assert answer.status_code == 200
    assert browser.get("/page").json() == [f"ann (token {id})", "auditor", browser.csrf]
    (entry,) = services.catalog.audit(action="sign-in")
    assert (entry.actor, entry.subject) == (f"ann (token {id})", "ann")
    assert browser.get("/api/v1/sessions").status_code == 200


def test_the_cookie_says_nothing_and_goes_nowhere_else(services: Services, app: Any) -> None:
    _, token = issue(services)
    for scheme in ("http", "https"):
        with Browser(app, scheme) as browser:
            answer = browser.sign_in(token)
            cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
            assert cookie["httponly"] and cookie["samesite"] == "strict" and cookie["path"] == "/"
            assert bool(cookie["secure"]) == (scheme == "https")
            assert int(cookie["max-age"]) in range(12 * 3600 - 30, 12 * 3600 + 1)
            assert len(cookie.value) >= 43 and cookie.value not in token and token not in answer.text
            assert token not in str(answer.headers) and cookie.value not in answer.text


def test_nothing_is_kept_that_would_let_somebody_in(services: Services, browser: Browser, app: Any) -> None:
    _, token = issue(services)
    browser.sign_in(token)
    kept = repr(vars(app.state.gate)) + repr(vars(app.state.gate._sign_ins)) + repr(app.state.gate._known)
    assert browser.cookies[COOKIE] not in kept and token not in kept


@pytest.mark.parametrize("role", ["own", "auditor", "operator", "admin"])
def test_each_role_that_reads_can_sign_in(services: Services, browser: Browser, role: TokenRole) -> None:
    assert browser.sign_in(issue(services, role)[1]).status_code == 200
    assert browser.get("/page").json()[1] == role


def test_a_token_for_postgresql_is_none_for_the_pages(services: Services, browser: Browser) -> None:
    assert problem(browser.sign_in(issue(services, "client")[1]), 403)
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize("end", ["revoke", "disable", "expire", "sign out"])
def test_a_sign_in_ends_with_its_token(services: Services, browser: Browser, end: str) -> None:
    id, token = issue(services, lifetime=timedelta(milliseconds=400) if end == "expire" else None)
    browser.sign_in(token)
    if end != "expire":
        assert browser.get("/page").status_code == 200
    if end == "revoke":
        services.catalog.tokens.revoke(id, actor="test")
    elif end == "disable":
        services.catalog.identities.set_disabled("ann", True, actor="test")
    elif end == "sign out":
        cookie = browser.cookies[COOKIE]
        assert browser.post("/sign-out", headers={"X-CSRF-Token": browser.csrf}).status_code == 200
        assert COOKIE not in browser.cookies
        browser.cookies.set(COOKIE, cookie)
        assert [each.action for each in services.catalog.audit(action="sign")] == ["sign-out", "sign-in"]
    else:
        ends = services.catalog.tokens.get(id).expires_at
        while ends is not None and datetime.now(UTC) <= ends:
            browser.get("/page")
    assert problem(browser.get("/page"), 401)
    if end == "disable":
        services.catalog.identities.set_disabled("ann", False, actor="test")
        assert problem(browser.get("/page"), 401), "it does not come to life again"


def test_a_sign_in_ends_after_some_hours_and_never_after_its_token() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    moment = [now]
    sign_ins = SignIns(timedelta(hours=12), lambda: moment[0])
    long, short = sign_ins.begin("t", None), sign_ins.begin("t", now + timedelta(hours=1))
    assert long.expires_at == now + timedelta(hours=12) and short.expires_at == now + timedelta(hours=1)
    moment[0] = now + timedelta(hours=1)
    assert sign_ins.find(long.id) == long and sign_ins.find(short.id) is None
    moment[0] = now + timedelta(hours=12)
    assert sign_ins.find(long.id) is None and sign_ins.find("nonsense") is None
    assert long.id not in repr(long) and long.csrf not in repr(long)


def test_what_changes_something_takes_the_second_secret(services: Services, browser: Browser) -> None:
    browser.sign_in(issue(services)[1])
    right, wrong = browser.csrf, browser.csrf[:-1] + "\u00e9"
    for path, given in (("/form", {"word": "x"}), ("/button", {})):
        assert "reload" in problem(browser.post(path, data=given), 403)["hint"]
        assert problem(browser.post(path, data=given | {"csrf": wrong}), 403)
        assert problem(browser.post(f"{path}?csrf={right}", data=given), 403)
        assert browser.post(path, data=given | {"csrf": right}).status_code == 200
        assert browser.post(path, data=given, headers={"X-CSRF-Token": right}).status_code == 200
    files = {"word": (None, "x"), "csrf": (None, right)}
    assert browser.post("/form", files=files).json() == "x", "multipart"
    assert problem(browser.post("/form", files={"csrf": ("a.txt", right)}), 403)["kind"] == "forbidden"
    assert problem(browser.post("/json", json={"word": "x", "csrf": right}), 403)
    assert browser.post("/json", json={"word": "x"}, headers={"X-CSRF-Token": right}).status_code == 200
    assert problem(browser.post("/api/v1/verify", json={}), 403)
    assert problem(browser.request("DELETE", "/api/v1/connections/x"), 403)


def test_the_token_itself_needs_no_second_secret(services: Services, browser: Browser) -> None:
    _, token = issue(services)
    headers = {"Authorization": f"Bearer {token}"}
    assert browser.post("/button", headers=headers).status_code == 200
    assert browser.get("/page", headers=headers).json()[2] is None
    browser.sign_in(token)
    for other in ("Basic x", "Bearer", "Bearer x"):
        answer = browser.get("/page", headers={"Authorization": other})
        assert problem(answer, 401), "the cookie does not help who sends a header"


def test_guesses_are_limited_and_lock_out_nobody_who_is_known(services: Services, browser: Browser) -> None:
    _, known = issue(services)
    _, late = issue(services)
    bearer = {"Authorization": f"Bearer {known}"}
    assert browser.get("/page", headers=bearer).status_code == 200
    for _ in range(3):
        assert problem(browser.sign_in(known[:-2] + "xx"), 401)
    refused = browser.sign_in(known[:-2] + "xx")
    assert problem(refused, 429) and 1 <= int(refused.headers["retry-after"]) <= 20
    assert problem(browser.sign_in(late), 429), "not even a right one is looked at"
    assert browser.get("/page", headers=bearer).status_code == 200
    assert browser.sign_in(known).status_code == 200


def test_right_tokens_cost_no_tries(services: Services, browser: Browser) -> None:
    for _ in range(6):
        assert browser.sign_in(issue(services)[1]).status_code == 200


def test_requests_are_limited_by_token(services: Services, browser: Browser) -> None:
    first, second = (
        {"Authorization": f"Bearer {issue(services)[1]}"},
        {"Authorization": f"Bearer {issue(services)[1]}"},
    )
    answers = [browser.get("/page", headers=first) for _ in range(41)]
    assert [answer.status_code for answer in answers] == [200] * 40 + [429]
    assert problem(answers[-1], 429)["kind"] == "too_many_requests"
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert browser.get("/page", headers=second).status_code == 200


def test_requests_without_a_token_are_limited_by_address(browser: Browser) -> None:
    answers = [browser.get("/health").status_code for _ in range(20)]
    answers += [browser.get("/page").status_code for _ in range(21)]
    assert answers == [200] * 20 + [401] * 20 + [429]


def test_a_made_up_cookie_is_no_way_around_the_limit(browser: Browser) -> None:
    answers = []
    for number in range(41):
        browser.cookies.clear()
        answers.append(browser.get("/page", headers={"Cookie": f"{COOKIE}=made-up-{number}"}).status_code)
    assert answers == [401] * 40 + [429]


def test_a_token_that_was_right_costs_tries_when_it_is_revoked(services: Services, browser: Browser) -> None:
    id, token = issue(services)
    bearer = {"Authorization": f"Bearer {token}"}
    assert browser.get("/page", headers=bearer).status_code == 200
    services.catalog.tokens.revoke(id, actor="test")
    answers = [browser.get("/page", headers=bearer).status_code for _ in range(4)]
    assert answers == [401] * 3 + [429]


def test_the_socket_of_the_state_directory_has_no_limits(services: Services) -> None:
    app = create_app(services, local=True)
    with Browser(app) as browser:
        assert {browser.get("/health").status_code for _ in range(45)} == {200}
        assert {browser.get("/api/v1/sessions").status_code for _ in range(45)} == {200}
