import dataclasses
from typing import Any

import httpx
import pytest

from pgwitness.api.services import Services
from pgwitness.catalog.models import Secret
from pgwitness.config import Settings
from pgwitness.errors import ConflictError

SERVER = {"host": "db.example", "database": "shop", "user": "app"}
AS_JSON = {"content-type": "application/json"}
PASSWORD = "hunter2hunter2"


def add_connection(client: httpx.Client, name: str = "orders", **fields: Any) -> httpx.Response:
    return client.post("/connections", json=SERVER | {"name": name} | fields)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status and document["message"]
    return document


def test_a_connection_from_registration_to_removal(local: httpx.Client, services: Services) -> None:
    added = add_connection(local, password=PASSWORD, port=5433, also_databases=["crm"])
    assert added.status_code == 201
    assert added.json()["password"] is True and added.json()["port"] == "5433"
    changed = local.patch("/connections/orders", json={"sslmode": "require", "also_databases": "any"})
    assert (changed.json()["sslmode"], changed.json()["also_databases"]) == ("require", "any")
    stored = services.catalog.connections.get("orders").password
    assert stored is not None and stored.reveal() == PASSWORD
    assert local.get("/connections").json() == [local.get("/connections/orders").json()]
    assert local.patch("/connections/orders", json={"password": None}).json()["password"] is False
    assert local.delete("/connections/orders").status_code == 204
    assert local.get("/connections").json() == []


def test_no_answer_and_no_audit_holds_a_password(local: httpx.Client) -> None:
    answers = [
        add_connection(local, password=PASSWORD),
        add_connection(local, password=PASSWORD),
        add_connection(local, "other", password=PASSWORD, sslmode="nonsense"),
        add_connection(local, "other", password={"a": PASSWORD}),
        add_connection(local, "other", passwort=PASSWORD),
        local.patch("/connections/orders", json={"password": PASSWORD + "new"}),
        local.get("/connections/orders"),
        local.get("/connections"),
        local.get("/audit"),
    ]
    assert [answer.status_code for answer in answers] == [201, 409, 422, 422, 422, 200, 200, 200, 200]
    for answer in answers:
        assert PASSWORD not in answer.text
    assert [entry["details"].get("password") for entry in answers[-1].json()["items"]] == ["set", "set"]


def test_errors_are_problems_with_a_message_and_a_hint(local: httpx.Client) -> None:
    add_connection(local)
    assert problem(add_connection(local), 409)["hint"].endswith("connection update orders")
    assert "no connection 'x'" in problem(local.get("/connections/x"), 404)["message"]
    assert "host" in problem(local.post("/connections", json={"name": "x"}), 422)["message"]
    message = problem(add_connection(local, "x", colour="red"), 422)["message"]
    assert message == "colour: there is no such field"
    assert "JSON" in problem(local.post("/connections", content=b"{", headers=AS_JSON), 422)["message"]
    assert "nothing at" in problem(local.get("/nonsense"), 404)["message"]
    assert problem(local.put("/connections"), 405)["kind"] == "failed"
    assert "nothing to change" in problem(local.patch("/connections/orders", json={}), 422)["message"]


def test_identities_and_grants(local: httpx.Client) -> None:
    add_connection(local)
    added = local.post("/identities", json={"name": "agent", "connections": ["orders"]})
    assert (added.status_code, added.json()["connections"], added.json()["kind"]) == (
        201,
        ["orders"],
        "service",
    )
    assert local.post("/identities/agent/grant", json={"connections": "any"}).json()["connections"] == "any"
    assert local.post("/identities/agent/revoke", json={"connections": "any"}).json()["connections"] == []
    assert local.post("/identities/agent/disable").json()["disabled"] is True
    assert local.post("/identities/agent/enable").json()["disabled"] is False
    assert local.get("/identities").json() == [local.get("/identities/agent").json()]
    assert (
        "no connection 'x'"
        in problem(local.post("/identities", json={"name": "b", "connections": ["x"]}), 404)["message"]
    )


def test_a_token_is_in_one_answer_only(local: httpx.Client) -> None:
    local.post("/identities", json={"name": "agent"})
    issued = local.post("/tokens", json={"identity": "agent", "ttl": "never", "on_behalf_of": "alice"})
    assert issued.status_code == 201
    token = issued.json()
    assert token["token"].startswith(f"pgw_{token['id']}_") and token["expires_at"] is None
    listed = local.get("/tokens", params={"identity": "agent"})
    assert [each["id"] for each in listed.json()["items"]] == [token["id"]]
    assert listed.json()["items"][0]["on_behalf_of"] == "alice"
    for answer in (listed, local.get(f"/tokens/{token['id']}"), local.get("/audit")):
        assert token["token"] not in answer.text
    assert local.post(f"/tokens/{token['id']}/revoke").json()["revoked_at"]
    assert problem(local.post(f"/tokens/{token['id']}/revoke"), 409)
    assert problem(local.get("/tokens", params={"identity": "nobody"}), 404)
    assert (
        "lifetime" in problem(local.post("/tokens", json={"identity": "agent", "ttl": "1y"}), 422)["message"]
    )
    assert "itself" in problem(local.post("/tokens", json={"identity": "pgwitness-check"}), 422)["message"]


def test_the_audit_names_who_did_what(local: httpx.Client) -> None:
    add_connection(local)
    local.patch("/connections/orders", json={"host": "other"})
    newest, oldest = local.get("/audit").json()["items"]
    assert (newest["action"], newest["subject"], newest["details"]) == (
        "connection.update",
        "orders",
        {"host": "other"},
    )
    assert newest["actor"].startswith("local:")
    first = local.get("/audit", params={"limit": 1}).json()
    assert first["items"] == [newest] and first["next"]
    second = local.get("/audit", params={"limit": 1, "cursor": first["next"]}).json()
    assert second == {"items": [oldest], "next": None}


def test_changes_go_on_the_tape_where_there_is_one(settings: Settings, services: Services) -> None:
    recorded: list[dict[str, Any]] = []
    dataclasses.replace(services, record_event=recorded.append)
    services.catalog.connections.add("orders", SERVER | {"password": Secret(PASSWORD)}, actor="ops")
    assert recorded == [
        {
            "event": "administered",
            "actor": "ops",
            "action": "connection.add",
            "subject": "orders",
            "details": SERVER | {"password": "set"},
        }
    ]
    with pytest.raises(ConflictError):
        services.catalog.connections.add("orders", SERVER, actor="ops")
    assert len(recorded) == 1


def test_a_tape_that_refuses_does_not_undo_a_change(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(event: dict[str, Any]) -> None:
        raise OSError("no room")

    dataclasses.replace(services, record_event=refuse)
    services.catalog.identities.add("agent", actor="ops")
    assert "not on the tape: no room" in caplog.text
    assert services.catalog.identities.get("agent").name == "agent"


def test_a_check_without_a_gateway_says_so(local: httpx.Client) -> None:
    add_connection(local)
    assert problem(local.post("/connections/x/check"), 404)
    assert problem(local.post("/connections/orders/check"), 503)["hint"] == "start it with: pgwitness gateway"


@pytest.mark.parametrize(
    "path", ["/connections", "/connectors", "/identities", "/tokens", "/audit", "/sessions", "/statements"]
)
def test_from_afar_nothing_is_seen_without_a_token(remote: httpx.Client, path: str) -> None:
    assert problem(remote.get(path), 401)["kind"] == "unauthenticated"
    assert remote.get(path).headers["www-authenticate"] == "Bearer"


def test_every_route_but_health_asks_for_a_token(remote: httpx.Client) -> None:
    document = remote.get("/openapi.json").json()
    checked = 0
    for path, methods in document["paths"].items():
        for method in methods:
            url = "http://pgwitness" + path.replace("{", "").replace("}", "")
            expected = 200 if path.endswith("/health") else 401
            assert remote.request(method, url, json={}).status_code == expected, (method, path)
            checked += 1
    assert checked > 20
    assert remote.get("http://pgwitness/metrics").status_code == 401


def test_bearer_tokens_of_role_admin_open_it(local: httpx.Client, remote: httpx.Client) -> None:
    local.post("/identities", json={"name": "ops", "kind": "human"})
    admin = local.post("/tokens", json={"identity": "ops", "role": "admin"}).json()
    client = local.post("/tokens", json={"identity": "ops"}).json()

    def get(authorization: str) -> httpx.Response:
        return remote.get("/identities", headers={"Authorization": authorization})

    assert get(f"Bearer {admin['token']}").status_code == 200
    assert get(f"bearer {admin['token']}").status_code == 200
    assert problem(get(f"Bearer {client['token']}"), 403)
    for wrong in (
        "Bearer",
        f"Basic {admin['token']}",
        f"Bearer {admin['token']}x",
        f"Bearer pgw_{admin['id']}_",
    ):
        assert problem(get(wrong), 401)
    added = remote.post(
        "/identities", json={"name": "x"}, headers={"Authorization": f"Bearer {admin['token']}"}
    )
    assert added.status_code == 201
    assert local.get("/audit").json()["items"][0]["actor"] == f"ops (token {admin['id']})"
    local.post(f"/tokens/{admin['id']}/revoke")
    assert problem(get(f"Bearer {admin['token']}"), 401)


def test_no_header_makes_a_request_local(remote: httpx.Client) -> None:
    headers = {"X-Forwarded-For": "127.0.0.1", "Host": "localhost", "X-Real-IP": "127.0.0.1"}
    assert remote.get("/connections", headers=headers).status_code == 401


def test_health_and_metrics(local: httpx.Client) -> None:
    for url in ("/health", "http://pgwitness/health"):
        health = local.get(url).json()
        assert health["status"] == "ok"
        assert health["record"].keys() == {"checkpoint_age_seconds", "lag_seconds"}
    metrics = local.get("http://pgwitness/metrics").text
    assert "pgwitness_record_entries" in metrics and "pgwitness_record_failing 0.0" in metrics
    assert "pgwitness_index_lag_bytes 0.0" in metrics and "pgwitness_info{" in metrics
