"""A server that counts statements, a gateway in front of it that watches, and sessions around it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from pgwitness.api.services import open_services
from pgwitness.catalog.models import Secret
from pgwitness.config import Settings
from pgwitness.identity import tokens
from support.certificates import Authority
from support.gateway import Gateway
from support.servers import PASSWORD, Server, require

Document = dict[str, Any]

on_one_version = pytest.mark.parametrize("counting_server", [18], indirect=True, ids=["pg18"])
"""For what does not depend on the server's version."""


@dataclass
class Watched:
    """A server, and a gateway through which ``agent`` may use its database ``shop`` as role ``app``."""

    server: Server
    gateway: Gateway
    connection: str = "shop"

    def around(self, user: str = "app", database: str = "shop", **parameters: str) -> psycopg.Connection[Any]:
        """A session that the gateway knows nothing of."""
        return psycopg.connect(
            self.server.dsn(database, user, PASSWORD), autocommit=True, sslmode="disable", **parameters
        )

    def through(self) -> psycopg.Connection[Any]:
        return self.gateway.connect("agent", self.connection)

    def look(self, *parts: str, through: str | None = None) -> Document:
        """``pgwitness watch``, by the API that it uses."""
        body: Document = {"through": through}
        if parts:
            body["parts"] = parts
        looked: Document = self.api("POST", f"/connections/{self.connection}/watch", body)
        return looked

    def findings(self, *, past: bool = False) -> list[Document]:
        path = f"/findings?connection={self.connection}&past={past}&limit=1000"
        found: list[Document] = self.api("GET", path)["items"]
        return found

    def api(self, method: str, path: str, body: Document | None = None) -> Any:
        transport = httpx.HTTPTransport(uds=str(self.gateway.state / "admin.sock"))
        with httpx.Client(transport=transport, base_url="http://pgwitness/api/v1", timeout=120) as client:
            answer = client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def accept_all(self) -> None:
        keys = [one["key"] for one in self.findings() if one["counts"]]
        self.api("POST", f"/connections/{self.connection}/findings/accept", {"keys": keys})


def counting(version: int, authority: Authority, **settings: str) -> Server:
    """With pg_stat_statements in ``shop``, and a role ``monitor`` that may see everything."""
    require(version)
    server = Server(version, authority, {"shared_preload_libraries": "pg_stat_statements", **settings})
    server.prepare()
    server.sql(
        "SET password_encryption = 'scram-sha-256'",
        f"CREATE ROLE monitor LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_monitor",
    )
    server.sql(
        "CREATE EXTENSION pg_stat_statements",
        "GRANT SELECT ON pg_hba_file_rules TO monitor",
        "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO monitor",
        "CREATE TABLE orders (id int PRIMARY KEY, status text)",
        "INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 5000) AS n",
        "ALTER TABLE orders OWNER TO app",
        database="shop",
    )
    return server


def watching(server: Server, state: Path, interval: float) -> Watched:
    """A started gateway; stop it."""
    gateway = Gateway(
        state,
        environment={
            "PGWITNESS_WATCH__INTERVAL_SECONDS": str(interval),
            "PGWITNESS_WATCH__REST_SECONDS": "3600",
            "PGWITNESS_WATCH__EXPECTED_ROLES": json.dumps(["postgres", "monitor"]),
        },
    )
    services = open_services(Settings(state=state))
    for name, user in (("shop", "app"), ("monitor", "monitor")):
        fields: Document = {
            "host": "127.0.0.1",
            "port": str(server.port),
            "database": "shop",
            "sslmode": "disable",
        }
        fields |= {"user": user, "password": Secret(PASSWORD)}
        services.catalog.connections.add(name, fields, actor="test")
    services.catalog.identities.add("agent", actor="test", connections=("shop",))
    gateway.tokens["agent"] = tokens.issue(services.catalog, "agent", actor="test")[1].reveal()
    services.close()
    return Watched(server, gateway.start())
