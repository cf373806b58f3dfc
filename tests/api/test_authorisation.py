"""Who may use what: every route of the whole site against every kind of reader.

A new route without a line here fails, and so does one that lets in others than its line says.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from pgwitness.api.access import Permission
from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services, open_services
from pgwitness.catalog.models import ANY, Names, TokenRole
from pgwitness.config import HttpSettings, Settings
from pgwitness.errors import InvalidError
from pgwitness.identity import tokens
from pgwitness.web.app import create_site
from support import tapes

ROOT = Path(__file__).parent.parent.parent
SESSION = str(tapes.session_id(1))
CONNECTION = {"host": "db.example", "database": "shop", "user": "app"}


class Kind(NamedTuple):
    """Of reader."""

    role: TokenRole | None
    connections: Names = ANY


KINDS = {
    "nobody": Kind(None),
    "client": Kind("client"),
    "own": Kind("own"),
    "own, orders": Kind("own", ("orders",)),
    "auditor": Kind("auditor"),
    "auditor, orders": Kind("auditor", ("orders",)),
    "operator": Kind("operator"),
    "operator, orders": Kind("operator", ("orders",)),
    "admin": Kind("admin"),
}
ALLOWED = {
    "open": set(KINDS),
    "read": {*KINDS} - {"nobody", "client"},
    "review": {"auditor", "auditor, orders", "operator", "operator, orders", "admin"},
    "oversee": {"auditor", "operator", "admin"},
    "operate": {"operator", "operator, orders", "admin"},
    "administer": {"admin"},
}
API = {
    "GET /connections": "review",
    "POST /connections": "administer",
    "GET /connections/{name}": "review",
    "PATCH /connections/{name}": "administer",
    "DELETE /connections/{name}": "administer",
    "POST /connections/{name}/check": "operate",
    "POST /connections/{name}/watch": "operate",
    "POST /connections/{name}/findings/accept": "administer",
    "GET /findings": "review",
    "GET /connectors": "oversee",
    "POST /connectors": "administer",
    "GET /connectors/{name}": "oversee",
    "POST /connectors/{name}/rejoin": "administer",
    "DELETE /connectors/{name}": "administer",
    "GET /identities": "oversee",
    "POST /identities": "administer",
    "GET /identities/{name}": "oversee",
    "POST /identities/{name}/grant": "administer",
    "POST /identities/{name}/revoke": "administer",
    "POST /identities/{name}/disable": "administer",
    "POST /identities/{name}/enable": "administer",
    "GET /tokens": "oversee",
    "POST /tokens": "administer",
    "GET /tokens/{token_id}": "oversee",
    "POST /tokens/{token_id}/revoke": "administer",
    "GET /audit": "oversee",
    "GET /holds": "oversee",
    "POST /sessions/{session}/hold": "operate",
    "POST /sessions/{session}/release": "administer",
    "POST /sessions/{session}/erase": "administer",
    "GET /retention": "oversee",
    "PUT /retention/{connection}": "administer",
    "GET /retention/due": "oversee",
    "POST /retention/run": "administer",
    "GET /sessions": "read",
    "GET /sessions/{session}": "read",
    "GET /sessions/{session}/replay": "read",
    "GET /sessions/{session}/export": "read",
    "GET /sessions/{session}/bundle": "read",
    "GET /sessions/{session}/frames": "read",
    "POST /sessions/{session}/place": "review",
    "POST /claims": "read",
    "GET /statements/tail": "read",
    "POST /sessions/{session}/kill": "operate",
    "GET /statements": "read",
    "GET /statements/stream": "read",
    "GET /statements/{session}/{seq}": "read",
    "GET /blast": "read",
    "GET /events": "oversee",
    "GET /record": "oversee",
    "GET /record/head": "oversee",
    "GET /record/key": "oversee",
    "GET /index": "read",
    "POST /readings": "read",
    "GET /sinks": "oversee",
    "POST /sinks/{name}/test": "administer",
    "GET /verify": "review",
    "POST /verify": "review",
    "GET /health": "open",
    "GET /openapi.json": "open",
}
PAGES = {
    "GET /metrics": "oversee",
    "GET /health": "open",
    "GET /static/{name}": "open",
    "GET /sign-in": "open",
    "POST /sign-in": "open",
    "GET /sign-in/state": "open",
    "POST /sign-out": "read",
    "GET /": "read",
    "GET /fragments/overview": "read",
    "GET /sessions": "read",
    "GET /sessions/{session}/bundle": "read",
    "GET /connections": "review",
    "GET /connections/{name}": "review",
    "POST /connections": "administer",
    "POST /connections/{name}": "administer",
    "POST /connections/{name}/check": "operate",
    "POST /connections/{name}/remove": "administer",
    "GET /connectors": "oversee",
    "POST /connectors": "administer",
    "POST /connectors/{name}/rejoin": "administer",
    "POST /connectors/{name}/remove": "administer",
    "GET /identities": "oversee",
    "GET /identities/{name}": "oversee",
    "POST /identities": "administer",
    "POST /identities/{name}/disable": "administer",
    "POST /identities/{name}/enable": "administer",
    "POST /identities/{name}/grant": "administer",
    "POST /identities/{name}/withdraw": "administer",
    "POST /identities/{name}/tokens": "administer",
    "POST /identities/{name}/tokens/{token_id}/revoke": "administer",
    "GET /audit": "oversee",
    "GET /watch": "review",
    "POST /watch/{name}/accept": "administer",
    "POST /watch/{name}/look": "operate",
    "GET /record": "review",
    "POST /record/verify": "review",
    "GET /fragments/verification": "review",
    "GET /sessions/{session}": "read",
    "GET /sessions/{session}/deck": "read",
    "GET /sessions/{session}/rows/{number}": "read",
    "GET /sessions/{session}/state": "read",
    "GET /sessions/{session}/next": "read",
    "POST /sessions/{session}/end": "operate",
    "GET /sessions/{session}/export/{format}": "read",
    "GET /sessions/{session}/statements/{seq}": "read",
    "GET /sessions/{session}/statements/{seq}.json": "read",
    "GET /sessions/{session}/statements/{seq}/around": "read",
    "GET /sessions/{session}/statements/{seq}/result": "read",
    "GET /search": "read",
    "GET /search/count": "read",
    "GET /search/download/{format}": "read",
    "GET /blast": "read",
}
MATRIX = {line.replace(" ", " /api/v1", 1): may for line, may in API.items()} | PAGES


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """With one session of ann through orders. Nobody is stopped by anything but what they may not do."""
    limits = HttpSettings(requests_per_second=0, failures_per_minute=0)
    settings = Settings(state=tmp_path_factory.mktemp("authorisation") / "state", http=limits)
    services = open_services(settings)
    tapes.record(settings.state, tapes.dialogue(1, identity="ann").run("SELECT 1", "SELECT 1").ended())
    for name in ("orders", "billing"):
        services.catalog.connections.add(name, CONNECTION, actor="test")
    services.catalog.identities.add("ann", actor="test", connections=("orders",))
    yield services
    services.close()


@pytest.fixture(scope="module")
def holders(services: Services) -> dict[str, str]:
    """A token of each kind."""
    return {
        name: tokens.issue(
            services.catalog, "ann", actor="test", role=kind.role, connections=kind.connections
        )[1].reveal()
        for name, kind in KINDS.items()
        if kind.role is not None
    }


@pytest.fixture(scope="module")
def browser(services: Services) -> Iterator[httpx.Client]:
    transport = InProcessTransport(create_site(services))
    with httpx.Client(transport=transport, base_url="http://pgwitness") as browser:
        yield browser


def routes(site: Any) -> dict[str, Any]:
    """By method and path, what is there."""
    found = {}
    for route in iter_route_contexts(site.routes):
        for method in (route.methods or set()) - {"HEAD"}:
            found[f"{method} {route.path}"] = route
    return found


def permissions(dependant: Any) -> set[str]:
    """Those that a route asks for, by name in ``May``."""
    own = {dependant.call} if isinstance(dependant.call, Permission) else set()
    names = {
        ("own", False): "read",
        ("auditor", False): "review",
        ("auditor", True): "oversee",
        ("operator", False): "operate",
        ("admin", True): "administer",
    }
    found = {names[each.role, each.everything] for each in own}
    return found.union(*(permissions(each) for each in dependant.dependencies))


def test_every_route_is_in_the_matrix_and_says_the_same(services: Services) -> None:
    said = {}
    for line, route in routes(create_site(services)).items():
        asked = permissions(route.dependant) if line != "GET /api/v1/openapi.json" else set()
        if len(asked) > 1:
            asked.remove("read")  # of its router
        assert len(asked) <= 1, f"{line} asks for several: {asked}"
        said[line] = asked.pop() if asked else "open"
    assert said == MATRIX


_OF_A_SESSION = {"/api/v1/verify", "/record", "/record/verify", "/fragments/verification"}
"""Or of everything, which is not for narrowed tokens."""


def ask(browser: httpx.Client, line: str, token: str | None) -> int:
    """What the route answers a request that fits, of things that are not there. Nothing is carried out."""
    method, path = line.split(" ")
    for name in ("name", "session", "connection", "token_id"):
        path = path.replace("{" + name + "}", "nosuch")
    path = path.replace("{seq}", "1")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    in_body = line == "POST /api/v1/verify"
    about = {"session": SESSION} if path in _OF_A_SESSION and not in_body else {}
    body = {"session": "ffff"} if path in _OF_A_SESSION else {"nonsense": "x"}
    sent = "json" if path.startswith("/api") else "data"
    given = {sent: body} if method not in ("GET", "DELETE") else {}
    request = browser.build_request(method, path, headers=headers, params=about, **given)
    answer = browser.send(request, stream=True)
    answer.close()
    return answer.status_code


@pytest.mark.parametrize("line", MATRIX)
def test_who_may_and_who_may_not(browser: httpx.Client, holders: dict[str, str], line: str) -> None:
    page = not line.split(" ")[1].startswith(("/api", "/metrics"))
    for name in KINDS:
        status = ask(browser, line, holders.get(name))
        if line == "POST /sign-in":
            assert status == 401, "it takes a token in the form"
        elif name in ALLOWED[MATRIX[line]]:
            assert status not in (401, 403, 500), f"{name} gets {status}"
        elif name == "nobody":
            assert status == (303 if page else 401), f"{name} gets {status}"
        else:
            assert status == 403, f"{name} gets {status}"


def test_a_token_that_ended_opens_nothing(services: Services, browser: httpx.Client) -> None:
    token, text = tokens.issue(services.catalog, "ann", actor="test", role="admin")
    services.catalog.tokens.revoke(token.id, actor="test")
    for line, may in MATRIX.items():
        if may != "open":
            assert ask(browser, line, text.reveal()) in (401, 303), line


def test_the_document_says_the_same() -> None:
    """docs/api.md has a row for each permission."""
    rows = {
        "own and up": "read",
        "auditor and up": "review",
        "auditor and up, not narrowed": "oversee",
        "operator and up": "operate",
        "admin": "administer",
        "anybody": "open",
    }
    said: dict[str, str] = {}
    for line in (ROOT / "docs/api.md").read_text().splitlines():
        _, who, *may = [cell.strip() for cell in line.split("|")] + [""]
        if who in rows and may:
            said |= dict.fromkeys(re.findall("`([A-Z]+ [^`]+)`", may[0]), rows[who])
    assert said == API


def test_an_admin_is_never_narrowed(services: Services) -> None:
    with pytest.raises(InvalidError, match="could issue itself another"):
        tokens.issue(services.catalog, "ann", actor="test", role="admin", connections=("orders",))
