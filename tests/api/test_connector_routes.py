from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from pgwitness.api.services import Services
from pgwitness.catalog.models import Issued
from pgwitness.wire.join_token import hash_of, parse_join_token

SERVER = {"host": "db.example", "database": "shop", "user": "app"}


def message(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["message"])


def enrol(services: Services, text: str) -> None:
    token = parse_join_token(text)
    assert token is not None
    issued = Issued(b"pem", "a1", datetime.now(UTC) + timedelta(hours=24))
    services.catalog.connectors.join(token.id, hash_of(token.secret), "", lambda _: issued)


class Online:
    """What a gateway knows of the connectors that are there."""

    def describe(self) -> list[dict[str, Any]]:
        since = "2026-11-22T06:45:31.000123+00:00"
        east = {"connector": "east", "address": "10.0.0.7:4711", "software": "0.2.0", "allow": ["db"]}
        return [east | {"online_since": since, "draining": False, "sessions": 3}]


def test_a_connector_from_invitation_to_removal(local: httpx.Client, services: Services) -> None:
    issued = local.post("/connectors", json={"name": "east", "ttl": "15m"})
    assert issued.status_code == 201
    assert issued.json()["connector"] == "east"
    left = datetime.fromisoformat(issued.json()["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    assert local.get("/connectors/east").json()["state"] == "invited"
    enrol(services, issued.json()["token"])
    local.post("/connections", json=SERVER | {"name": "orders", "connectors": ["east"]})
    (listed,) = local.get("/connectors").json()
    assert (listed["state"], listed["connections"], listed["sessions"]) == ("offline", ["orders"], 0)
    services.online = Online()
    shown = local.get("/connectors/east").json()
    assert (shown["state"], shown["software"], shown["sessions"]) == ("online", "0.2.0", 3)
    assert shown["since"].startswith("2026-11-22T06:45:31")
    assert "pgwitness_connectors_online 1.0" in local.get("http://pgwitness/metrics").text
    assert local.delete("/connectors/east").status_code == 204
    assert local.get("/connectors").json() == []
    assert local.get("/connections/orders").json()["connectors"] == ["east"]


def test_tokens_are_shown_once_and_never_logged(local: httpx.Client) -> None:
    first = local.post("/connectors", json={"name": "east"}).json()["token"]
    second = local.post("/connectors/east/rejoin", json={}).json()["token"]
    assert first != second
    for path in ("/connectors", "/connectors/east", "/audit"):
        text = local.get(path).text
        assert first not in text and second not in text
        assert first.split("_")[2] not in text
    assert [entry["action"] for entry in local.get("/audit").json()["items"]] == [
        "connector.rejoin",
        "connector.add",
    ]


def test_errors(local: httpx.Client) -> None:
    local.post("/connectors", json={"name": "east"})
    assert "already" in message(local.post("/connectors", json={"name": "east"}), 409)
    assert "cannot be the name" in message(local.post("/connectors", json={"name": "none"}), 422)
    assert "lifetime" in message(local.post("/connectors", json={"name": "x", "ttl": "soon"}), 422)
    assert "expires" in message(local.post("/connectors", json={"name": "x", "ttl": "never"}), 422)
    assert "no connector" in message(local.post("/connectors/x/rejoin", json={}), 404)
    assert "no connector" in message(local.delete("/connectors/x"), 404)
    through = SERVER | {"name": "orders", "connectors": ["west"]}
    assert "no connector 'west'" in message(local.post("/connections", json=through), 404)
