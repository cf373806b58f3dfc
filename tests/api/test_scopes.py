"""What is out of a reader's reach is not there: sought by every way around that there is."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from pgwitness.api.app import create_app
from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services, open_services
from pgwitness.catalog.models import ANY, Names, TokenRole
from pgwitness.config import HttpSettings, Settings
from pgwitness.identity import tokens
from pgwitness.index.filters import FILTERS
from pgwitness.web.app import create_site
from support import tapes

CONNECTION = {"host": "db.example", "database": "shop", "user": "app"}
SESSIONS = {
    1: ("ann", "orders"),
    2: ("ann", "billing"),
    3: ("bob", "orders"),
    4: ("bob", "billing"),
}
READERS: dict[str, tuple[TokenRole, Names, set[int]]] = {
    "own": ("own", ANY, {1, 2}),
    "own, orders": ("own", ("orders",), {1}),
    "auditor, orders": ("auditor", ("orders",), {1, 3}),
    "operator, billing": ("operator", ("billing",), {2, 4}),
    "auditor": ("auditor", ANY, {1, 2, 3, 4}),
}
UNKNOWN = "0199aaaa-0000-7000-8000-00000000ffff"


def mark(number: int) -> str:
    return f"marker{number}of{''.join(SESSIONS[number])}"


def id_of(number: int) -> str:
    return str(tapes.session_id(number))


class Live:
    """A gateway in which all four sessions are open."""

    def __init__(self) -> None:
        self.killed: list[str] = []

    def list(self) -> list[dict[str, Any]]:
        return [
            {
                "session": id_of(number),
                "identity": identity,
                "kind": "service",
                "on_behalf_of": None,
                "token": "k3v9x2m1qa",
                "run": f"run-{mark(number)}",
                "application_name": mark(number),
                "connection": connection,
                "database": "shop",
                "connector": None,
                "address": "10.0.0.7:51123",
                "pid": number,
                "started_at": "2026-11-18T11:06:40.000000+00:00",
                "idle": True,
                "quiet_seconds": 1.0,
                "client_bytes": 1,
                "server_bytes": 1,
            }
            for number, (identity, connection) in SESSIONS.items()
        ]

    def kill(self, session: str, by: str) -> bool:
        self.killed.append(session)
        return True


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    limits = HttpSettings(requests_per_second=0, failures_per_minute=0)
    settings = Settings(state=tmp_path_factory.mktemp("scopes") / "state", http=limits)
    services = open_services(settings)
    talks = [
        tapes.dialogue(
            number, identity=identity, connection=connection, claims={"run": f"run-{mark(number)}"}
        )
        .run(f"SELECT '{mark(number)}'", "SELECT 1")
        .run(f"UPDATE {mark(number)} SET a = 1", "UPDATE 40000")
        .run("SELECT 'common'", "SELECT 1")
        for number, (identity, connection) in SESSIONS.items()
    ]
    for talk in talks[:3]:
        talk.ended()
    tapes.record(settings.state, *talks)
    tapes.index(settings.state).close()
    for name in ("orders", "billing"):
        services.catalog.connections.add(name, CONNECTION, actor="test")
    for identity in ("ann", "bob"):
        services.catalog.identities.add(identity, actor="test", connections=ANY)
    for number in SESSIONS:
        services.catalog.keeping.hold(id_of(number), f"because {mark(number)}", actor="test")
    yield services
    services.close()


@pytest.fixture(scope="module")
def live() -> Live:
    return Live()


@pytest.fixture(scope="module")
def app(services: Services, live: Live) -> Any:
    return create_site(dataclasses.replace(services, live=live))


@pytest.fixture(scope="module", params=READERS)
def reader(request: pytest.FixtureRequest, services: Services, app: Any) -> Iterator["Asking"]:
    role, connections, seen = READERS[request.param]
    _, token = tokens.issue(services.catalog, "ann", actor="test", role=role, connections=connections)
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    with httpx.Client(
        transport=InProcessTransport(app), base_url="http://pgwitness/api/v1", headers=headers
    ) as client:
        yield Asking(client, seen)


@dataclasses.dataclass
class Asking:
    client: httpx.Client
    seen: set[int]

    @property
    def unseen(self) -> set[int]:
        return set(SESSIONS) - self.seen

    def get(self, path: str, **params: Any) -> httpx.Response:
        answer = self.client.get(path, params=params)
        for number in self.unseen:
            assert mark(number) not in answer.text, (path, params)
            if path == "/index" or not any(id_of(number) in str(each) for each in (path, params)):
                assert id_of(number) not in answer.text, (path, params)
        return answer


def sessions(page: httpx.Response) -> set[str]:
    assert page.status_code == 200, page.text
    return {each["session"] for each in page.json()["items"]}


def test_listings_hold_what_is_ours(reader: Asking) -> None:
    ours = {id_of(number) for number in reader.seen}
    assert sessions(reader.get("/sessions")) == ours
    assert sessions(reader.get("/statements")) == ours
    assert sessions(reader.get("/statements", newest=True)) == ours
    stream = reader.get("/statements/stream").text
    assert {number for number in SESSIONS if mark(number) in stream} == reader.seen


def test_no_filter_asks_for_more(reader: Asking) -> None:
    """Each filter, with what would find another's session."""
    tried = 0
    for number in reader.unseen:
        identity, connection = SESSIONS[number]
        sought = {
            "identity": identity,
            "connection": connection,
            "run": f"run-{mark(number)}",
            "match": mark(number),
            "table": mark(number),
            "command": "UPDATE",
            "min_rows": "40000",
            "since": "2026-01-01",
            "status": "ok",
        }
        for name, value in sought.items():
            for path in ("/sessions", "/statements/stream"):
                answer = reader.get(
                    path, **({"identity": identity, "connection": connection} | {name: value})
                )
                assert answer.status_code == 200, answer.text
                assert id_of(number) not in answer.text
                tried += 1
    assert tried or not reader.unseen


def test_a_session_of_others_is_one_that_is_not_there(reader: Asking, app: Any) -> None:
    """On every route that takes a session, by its id, its head or its tail: the same answer as for an id that
    nobody has."""
    paths = [
        route.path.removeprefix("/api/v1")
        for route in iter_route_contexts(app.routes)
        if "GET" in (route.methods or ())
        and (route.path or "").startswith("/api")
        and "{session}" in route.path
    ]
    asking = [("/sessions", "session"), ("/statements", "session"), ("/statements/stream", "session")]
    asking += [("/verify", "session"), ("/blast", "session")]
    assert len(paths) >= 5
    for number in reader.unseen:
        for given in (id_of(number), id_of(number)[-7:]):
            for path in paths:
                path = path.replace("{seq}", "1")
                found = reader.get(path.replace("{session}", given))
                none = reader.get(path.replace("{session}", UNKNOWN))
                assert same(found, given) == same(none, UNKNOWN), path
            for path, name in asking:
                found, none = reader.get(path, **{name: given}), reader.get(path, **{name: UNKNOWN})
                assert same(found, given) == same(none, UNKNOWN), path


def same(answer: httpx.Response, given: str) -> tuple[int, str]:
    return answer.status_code, answer.text.replace(given, "ID")


def test_no_page_and_no_answer_shows_what_is_out_of_reach(reader: Asking, app: Any) -> None:
    """Every route that can be read: about everything, about a session of ours, about one of others."""
    ours, others = min(reader.seen), min(reader.unseen, default=None)
    asked = 0
    for route in iter_route_contexts(app.routes):
        path = route.path or ""
        if "GET" not in (route.methods or ()) or path.endswith("/tail") or "{name}" in path:
            continue
        path = path.replace("{seq}", "1").replace("{number}", "1").replace("{token_id}", "nosuch")
        for number in (ours, others) if "{session}" in path else (ours,):
            if number is not None:
                answer = reader.get("http://pgwitness" + path.replace("{session}", id_of(number)))
                assert answer.status_code != 500, path
                assert number in reader.seen or answer.status_code in (403, 404), path
                asked += 1
        if "{session}" not in path and others is not None:
            about = {"session": id_of(others), "match": "marker"}
            for name, value in about.items():
                reader.get("http://pgwitness" + path, **{name: value})
    assert asked > 40


def test_a_head_that_others_share_is_not_ambiguous(reader: Asking) -> None:
    answer = reader.get("/sessions/0199aaaa-0000-7000")
    assert answer.status_code == (200 if len(reader.seen) == 1 else 409)
    ends = {id_of(number)[-2:] for number in reader.unseen}
    assert all(reader.get(f"/sessions/{end}").status_code in (404, 409) for end in ends)


def test_a_cursor_of_another_listing_leads_nowhere_else(reader: Asking, services: Services) -> None:
    ours = {id_of(number) for number in reader.seen}
    _, text = tokens.issue(services.catalog, "ann", actor="test", role="admin")
    with httpx.Client(
        transport=reader.client._transport,
        base_url=reader.client.base_url,
        headers={"Authorization": f"Bearer {text.reveal()}"},
    ) as admin:
        for path in ("/sessions", "/statements"):
            cursor: str | None = None
            while True:
                page = admin.get(path, params={"limit": 1} | ({"cursor": cursor} if cursor else {})).json()
                cursor = page["next"]
                if cursor is None:
                    break
                assert sessions(reader.get(path, cursor=cursor)) <= ours


def test_what_is_about_everything_is_for_who_may_see_everything(reader: Asking) -> None:
    everything = not reader.unseen
    for path in ("/events", "/record", "/audit", "/tokens", "/identities", "/connectors", "/holds"):
        assert (reader.get(path).status_code == 200) == everything, path
    for path in ("/retention", "/retention/due", "http://pgwitness/metrics"):
        assert (reader.get(path).status_code == 200) == everything, path
    status = reader.get("/index").json()
    counts = {status[name] is not None for name in ("statements", "sessions", "position")}
    assert counts == {everything}


def test_connections_of_others_are_not_there(reader: Asking) -> None:
    listed = reader.get("/connections")
    if listed.status_code == 403:
        return  # role own
    names = {SESSIONS[number][1] for number in reader.seen}
    assert {each["name"] for each in listed.json()} == names
    for name in {"orders", "billing"} - names:
        shown, none = reader.get(f"/connections/{name}"), reader.get("/connections/nosuch")
        assert same(shown, name) == same(none, "nosuch") and shown.status_code == 404
        found, none = reader.get("/findings", connection=name), reader.get("/findings", connection="nosuch")
        assert same(found, name) == same(none, "nosuch") and found.status_code == 404
        for action, body in (("check", None), ("watch", {}), ("watch", {"through": name})):
            one = sorted(names)[0] if body and body.get("through") else name
            answer = reader.client.post(f"/connections/{one}/{action}", json=body)
            assert answer.status_code in (403, 404), answer.text


def test_sessions_of_others_cannot_be_ended_held_or_verified(reader: Asking, live: Live) -> None:
    for number in reader.unseen:
        for action, body in (("kill", None), ("hold", {"reason": "x"})):
            answer = reader.client.post(f"/sessions/{id_of(number)}/{action}", json=body)
            assert answer.status_code in (403, 404), answer.text
            tail = reader.client.post(f"/sessions/{id_of(number)[-6:]}/{action}", json=body)
            assert tail.status_code in (403, 404), tail.text
        answer = reader.client.post("/verify", json={"session": id_of(number)})
        assert answer.status_code in (403, 404), answer.text
    if reader.unseen:
        assert reader.client.post("/verify", json={}).status_code == 403
    assert not set(live.killed) & {id_of(number) for number in reader.unseen}


def test_who_holds_a_session_is_not_for_whom_it_is_held_against(reader: Asking) -> None:
    (number, *_) = sorted(reader.seen)
    shown = reader.get(f"/sessions/{id_of(number)}").json()
    role = reader.get("/connections").status_code
    assert (shown["hold"] is None) == (role == 403)


def test_the_audit_tells_what_was_narrowed(services: Services, reader: Asking) -> None:
    reader.get("/statements", match="secret of somebody")
    (entry,) = services.catalog.audit(action="read.statements", limit=1)
    assert entry.details["match"] is True and "scope" not in entry.details
    assert ("identity" in entry.details or "connections" in entry.details) == bool(reader.unseen)


def test_every_filter_is_tried_here_or_narrows_by_itself() -> None:
    known = {"session", "identity", "connection", "run", "match", "table", "command", "min_rows", "since"}
    known |= {"until", "status", "outcome"}
    assert {each.name for each in FILTERS} >= known


def test_a_token_whose_connection_is_removed_sees_nothing(tmp_path: Path) -> None:
    services = open_services(Settings(state=tmp_path / "state"))
    tapes.record(services.settings.state, tapes.dialogue(1, connection="orders").run("SELECT 1", "SELECT 1"))
    services.catalog.connections.add("orders", CONNECTION, actor="test")
    services.catalog.identities.add("ann", actor="test")
    _, text = tokens.issue(services.catalog, "ann", actor="test", role="auditor", connections=("orders",))
    headers = {"Authorization": f"Bearer {text.reveal()}"}
    transport = InProcessTransport(create_app(services))
    with httpx.Client(transport=transport, base_url="http://pgwitness/api/v1", headers=headers) as client:
        assert len(client.get("/sessions").json()["items"]) == 1
        services.catalog.connections.remove("orders", actor="test")
        assert client.get("/sessions").json()["items"] == []
        assert client.get(f"/sessions/{id_of(1)}").status_code == 404
        assert client.get("/audit").status_code == 403
    services.close()
