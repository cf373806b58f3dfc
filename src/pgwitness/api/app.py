"""The application: routes under ``/api/v1``, ``/metrics``, who may ask, and errors as problem JSON."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import pgwitness
from pgwitness.api import (
    admin,
    blast,
    claims,
    connectors,
    keeping,
    metrics,
    readings,
    reenact,
    review,
    sinks,
    tail,
    verify,
    watch,
)
from pgwitness.api.access import Counted, May
from pgwitness.api.context import ServicesHere
from pgwitness.api.gate import Gate
from pgwitness.api.openapi import describe
from pgwitness.api.parameters import only_known
from pgwitness.api.problems import MEDIA_TYPE, problem
from pgwitness.api.services import Services
from pgwitness.errors import (
    AuthenticationFailed,
    InvalidError,
    NotFoundError,
    TooManyRequests,
    WitnessError,
)
from pgwitness.sealing.status import record_health
from pgwitness.sinks.status import sinks_status

PREFIX = "/api/v1"
BODY_BYTES = 1 << 20
"""Of a request, where a route does not allow more: it is in memory before it is known who asks."""

_ROOMS: Final = (
    (admin, "administration"),
    (connectors, "connectors"),
    (keeping, "keeping"),
    (reenact, "re-enactment"),
    (tail, "review"),
    (review, "review"),
    (blast, "review"),
    (claims, "review"),
    (readings, "review"),
    (sinks, "sinks"),
    (verify, "verification"),
    (watch, "watch"),
)


def create_app(services: Services, *, local: bool = False) -> FastAPI:
    """An application on these services.

    ``local``: whoever reaches it is the user who owns the state directory, and needs no token. Only for
    a Unix socket that nobody else can open, and for use in this process. Otherwise every request but
    ``/health`` and the OpenAPI document needs a token, of a role that the route names.
    """
    app = FastAPI(
        title="pgwitness",
        version=pgwitness.__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        max_body_size=BODY_BYTES,
    )
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    app.state.services = services
    app.state.local = local
    app.state.onlookers = tail.Onlookers()
    app.state.gate = Gate(services.directory, services.settings.http)
    for room, tag in _ROOMS:
        app.include_router(room.router, prefix=PREFIX, tags=[tag], dependencies=[Depends(only_known)])
    app.add_api_route("/metrics", _metrics, dependencies=[May.oversee], include_in_schema=False)
    app.add_api_route("/health", _health, include_in_schema=False)
    app.add_api_route(f"{PREFIX}/health", _health, tags=["health"])
    app.add_exception_handler(WitnessError, _explained)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)
    return app


def _health(services: ServicesHere, _counted: Counted) -> dict[str, Any]:
    """That it serves, and whether record and sinks keep up. No more: this needs no token."""
    settings = services.settings
    failing = sum(sink["error"] is not None for sink in sinks_status(settings.state, settings.sinks))
    sinks_health = {"failing": failing}
    if not settings.seal.enabled:
        return {"status": "degraded" if failing else "ok", "record": None, "sinks": sinks_health}
    record = record_health(settings.state)
    return {
        "status": "degraded" if record.problem or failing else "ok",
        "sinks": sinks_health,
        "record": {
            "checkpoint_age_seconds": record.checkpoint_age_seconds,
            "lag_seconds": record.lag_seconds,
        },
    }


def _metrics(services: ServicesHere) -> Response:
    return Response(metrics.render(services), media_type=metrics.CONTENT_TYPE)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = describe(app)
    return app.openapi_schema


def _answer(error: WitnessError) -> JSONResponse:
    document = problem(error)
    headers = {}
    if isinstance(error, AuthenticationFailed):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse(document, document["status"], headers, media_type=MEDIA_TYPE)


def _explained(request: Request, error: Exception) -> Response:
    assert isinstance(error, WitnessError)
    return _answer(error)


def _invalid(request: Request, error: Exception) -> Response:
    """What is wrong with the request, never what was in it: that may be a password."""
    assert isinstance(error, RequestValidationError)
    parts = []
    for each in error.errors():
        name = ".".join(str(part) for part in each["loc"] if part not in ("body", "query", "path"))
        text = _PLAIN.get(each["type"], str(each["msg"]))
        parts.append(
            f"{name}: {text[:1].lower()}{text[1:]}" if name and each["type"] != "json_invalid" else text
        )
    return _answer(InvalidError("; ".join(parts)))


_PLAIN = {"extra_forbidden": "there is no such field", "json_invalid": "The body is not JSON"}


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer(NotFoundError(f"there is nothing at {request.url.path}"))
    document = {
        "title": "refused",
        "status": error.status_code,
        "kind": "failed",
        "message": str(error.detail),
    }
    return JSONResponse(document | {"hint": None}, error.status_code, media_type=MEDIA_TYPE)


def _failed(request: Request, error: Exception) -> Response:
    """Who serves the application gets the exception too, and logs it."""
    return _answer(WitnessError("pgwitness failed to answer this request", hint="its log says why"))
