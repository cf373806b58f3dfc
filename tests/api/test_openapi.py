"""The OpenAPI document, and what the routes that it names do with whatever is sent to them."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pgwitness.api.app import create_app
from pgwitness.api.services import Services, open_services
from pgwitness.config import HttpSettings, Settings
from pgwitness.identity import tokens
from support import tapes

FEW, MANY = 2, 60
CONNECTION = {"host": "127.0.0.1", "port": "1", "database": "shop", "user": "app"}
_LEFT_OUT = {"/api/v1/statements/tail"}
"""Its answer has no end."""
_NOT_HERE = {502, 503}
"""No PostgreSQL, no gateway. The document says so; anything else above 499 is a fault of ours."""


def no_server_error(context: Any, response: Any, case: Any) -> None:
    assert response.status_code < 500 or response.status_code in _NOT_HERE, response.text


_CHECKS = [
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """On a state directory with some sessions, connections and identities."""
    state = tmp_path_factory.mktemp("openapi") / "state"
    limits = HttpSettings(requests_per_second=0, failures_per_minute=0)
    services = open_services(Settings(state=state, http=limits))
    for name in ("orders", "billing"):
        services.catalog.connections.add(name, CONNECTION, actor="test")
    services.catalog.identities.add("ann", actor="test", connections=("orders",))
    talks = [
        tapes.dialogue(number, identity="ann", connection="orders")
        .run("SELECT 1", "SELECT 1")
        .run("UPDATE orders SET status = 'void'", "UPDATE 40000")
        for number in range(1, 4)
    ]
    tapes.record(state, *(talk.ended() for talk in talks))
    yield services
    services.close()


@pytest.fixture(scope="module")
def app(services: Services) -> Any:
    return create_app(services)


@pytest.fixture(scope="module")
def authorization(services: Services) -> dict[str, str]:
    _, text = tokens.issue(services.catalog, "ann", actor="test", role="admin")
    return {"Authorization": f"Bearer {text.reveal()}"}


@pytest.fixture(scope="module")
def schema(app: Any) -> Any:
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)


def fuzz(schema: Any, authorization: dict[str, str], examples: int) -> int:
    """Each operation with that many requests, made from the document; how many operations."""
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in _LEFT_OUT:
            continue

        @settings(
            max_examples=examples,
            database=None,
            derandomize=True,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @schemathesis_given(operation)
        def send(case: Any) -> None:
            case.call_and_validate(headers=authorization, checks=_CHECKS)

        send()
        tried += 1
    return tried


def schemathesis_given(operation: Any) -> Any:
    from hypothesis import given

    return given(case=operation.as_strategy())


def test_no_request_is_a_server_error(schema: Any, authorization: dict[str, str]) -> None:
    assert fuzz(schema, authorization, FEW) > 50


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_request_is_a_server_error_at_length(schema: Any, authorization: dict[str, str]) -> None:
    assert fuzz(schema, authorization, MANY) > 50


def test_every_operation_says_what_it_does_and_answers(app: Any) -> None:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"] and operation.get("description"), where
            assert "429" in operation["responses"], where
            success = [status for status in operation["responses"] if status.startswith("2")]
            assert len(success) == 1, where
            if success != ["204"]:
                assert operation["responses"][success[0]]["content"], where
            open_to_all = path.endswith("/health")
            assert ("security" in operation) != open_to_all, where


def test_what_the_document_refers_to_is_there(app: Any) -> None:
    document = app.openapi()

    def check(node: Any) -> None:
        if isinstance(node, dict):
            for name, value in node.items():
                if name == "$ref":
                    _, *path = value.split("/")
                    target: Any = document
                    for part in path:
                        target = target[part]
                check(value)
        elif isinstance(node, list):
            for each in node:
                check(each)

    check(document)
    assert "parameters" in document["components"]["schemas"]["Statement"]["properties"]
