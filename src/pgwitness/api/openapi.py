"""The OpenAPI document: what each route answers, and how errors look.

Routes whose answers are encoded by msgspec say what they are with ``document``, streams with ``streams``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import StreamingResponse

from pgwitness.api.problems import MEDIA_TYPE, Problem
from pgwitness.index.store import Page, Session
from pgwitness.statements.model import Statement

TYPES: Final = (Page[Session], Page[Statement], Statement)
"""The documents that ``document`` knows."""

DESCRIPTION: Final = """\
Review and administration of pgwitness. Times are RFC 3339 in UTC. A listing answers a page: `items`, and
`next`, the cursor of the page after it, null at the end. Every reading of a session's content is on record
before it is answered. Errors are problem documents (RFC 9457) with `message` and `hint`.
"""
_REFERENCE: Final = "#/components/schemas/{name}"
_TEXTS: Final = {"application/jsonl", "text/csv", "application/sql"}
_SAID: Final = {
    401: "No token, or none that is valid",
    403: "The token's role, or its connections, do not allow it; or it is one for PostgreSQL",
    404: "It is not there, or not for this token to see",
    409: "It is there already, or in use, or the id is ambiguous",
    413: "The body is too long",
    422: "The request does not make sense",
    429: "Too many requests: Retry-After says when to ask again",
    502: "PostgreSQL does not answer",
    503: "The gateway, or what the request needs, is not there",
}


def document(kind: Any) -> dict[str, Any]:
    """For a route's decorator: it answers one of ``TYPES`` as JSON."""
    assert kind in TYPES
    (schema,), _ = msgspec.json.schema_components((kind,), ref_template=_REFERENCE)
    return {"responses": {200: {"content": {"application/json": {"schema": schema}}}}}


def streams(*media_types: str) -> dict[str, Any]:
    """For a route's decorator: it answers a stream of one of these media types."""
    text: dict[str, Any] = {"schema": {"type": "string"}}
    binary: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    content = {each: text if each in _TEXTS else binary for each in media_types}
    return {
        "response_class": StreamingResponse,
        "responses": {200: {"description": "The whole of it", "content": content}},
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """The document."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        routes=app.routes,
        description=DESCRIPTION,
    )
    components = made["components"]
    _, types = msgspec.json.schema_components(TYPES, ref_template=_REFERENCE)
    schemas: dict[str, Any] = components["schemas"]
    schemas.update(types)
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}
    components["responses"] = {
        str(status): {"description": text, "content": problem} for status, text in _SAID.items()
    }
    errors = {str(status): {"$ref": f"#/components/responses/{status}"} for status in _SAID}
    for methods in made["paths"].values():
        for operation in methods.values():
            operation["responses"] = {**operation["responses"], **errors}
    return made
