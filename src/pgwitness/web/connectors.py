"""Connectors: invited, listed with what the gateway knows of them now, let in again, locked out."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from pgwitness.api import connectors as api
from pgwitness.api.access import May
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.services import Services
from pgwitness.errors import WitnessError
from pgwitness.web.entering import Entered, document
from pgwitness.web.rendering import is_fragment, render, render_after
from pgwitness.web.viewer import page_router

router = page_router(May.oversee)
administering = page_router(May.administer)


@router.get("/connectors")
def connectors(request: Request, services: ServicesHere) -> Response:
    if is_fragment(request):
        return render(request, "fragments/connectors.html", connectors=api.list_connectors(services))
    return _list(request, services)


@administering.post("/connectors")
def invite(request: Request, services: ServicesHere, actor: Actor, given: Entered) -> Response:
    try:
        wanted: dict[str, Any] = {each: given[each] for each in ("name", "ttl") if each in given}
        issued = api.add_connector(document(api.ConnectorNew, wanted), services, actor)
    except WitnessError as error:
        return _list(request, services, error=error, given=given)
    return _list(request, services, issued=issued)


@administering.post("/connectors/{name}/rejoin")
def rejoin(request: Request, name: str, services: ServicesHere, actor: Actor, given: Entered) -> Response:
    change = document(api.Rejoin, {"revoke": "revoke" in given})
    return _list(request, services, issued=api.rejoin_connector(name, change, services, actor))


@administering.post("/connectors/{name}/remove")
def remove(name: str, services: ServicesHere, actor: Actor) -> Response:
    api.remove_connector(name, services, actor)
    return RedirectResponse("/connectors", 303)


def _list(
    request: Request,
    services: Services,
    *,
    issued: api.JoinTokenIssued | None = None,
    error: WitnessError | None = None,
    given: dict[str, Any] | None = None,
) -> Response:
    return render_after(
        request,
        "connectors.html",
        error,
        connectors=api.list_connectors(services),
        issued=issued,
        given=given or {},
    )
