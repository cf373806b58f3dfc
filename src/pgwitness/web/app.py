"""The whole site: the API's application with the pages on it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, FastAPI

from pgwitness.api.app import create_app
from pgwitness.api.services import Services
from pgwitness.web import (
    assets,
    audit,
    blast,
    connections,
    connectors,
    identities,
    overview,
    problems,
    proof,
    replay,
    search,
    sessions,
    signin,
    statement,
    watching,
)
from pgwitness.web.headers import StrictHeaders

PAGES: Final[tuple[APIRouter, ...]] = (
    assets.router,
    signin.open_router,
    signin.router,
    overview.router,
    sessions.router,
    sessions.operating,
    replay.router,
    statement.router,
    proof.router,
    watching.router,
    watching.operating,
    watching.administering,
    audit.router,
    connections.router,
    connections.operating,
    connections.administering,
    connectors.router,
    connectors.administering,
    identities.router,
    identities.administering,
    search.router,
    blast.router,
)


def create_site(services: Services, *, local: bool = False) -> FastAPI:
    """``local`` as in ``api.app.create_app``: not for a port, where any page of the web could use it."""
    app = create_app(services, local=local)
    for router in PAGES:
        app.include_router(router)
    problems.install(app)
    app.add_middleware(StrictHeaders)
    return app
