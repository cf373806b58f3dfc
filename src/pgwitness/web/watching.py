"""What the watch found around the gateway: listed, looked for now, accepted."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from pgwitness.api import watch as api
from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.services import Services
from pgwitness.errors import WitnessError
from pgwitness.watch.service import document
from pgwitness.web.entering import Entered
from pgwitness.web.filtering import address
from pgwitness.web.rendering import render_after
from pgwitness.web.viewer import page_router

router = page_router(May.review)
operating = page_router(May.operate)
administering = page_router(May.administer)


def found_around(
    services: Services, reader: Reader, connection: str | None = None, *, past: bool = False
) -> list[dict[str, Any]]:
    """What this reader may know of, the worst first. ``past``: also what is gone."""
    listed = services.catalog.findings.list(connection, past=past)
    return [document(each) for each in listed if reader.reaches(each.connection)]


def counting(services: Services, reader: Reader, connection: str | None = None) -> list[dict[str, Any]]:
    """What is there, unwanted, and more than a note."""
    return [each for each in found_around(services, reader, connection) if each["counts"]]


@router.get("/watch")
def watch(
    request: Request, services: ServicesHere, reader: ReaderHere, connection: str = "", past: bool = False
) -> Response:
    return _page(request, services, reader, connection or None, past=past)


@operating.post("/watch/{name}/look")
def look(request: Request, name: str, services: ServicesHere, reader: ReaderHere) -> Response:
    try:
        looked = api.look(name, api.LookNow.model_validate({}), services, reader)
    except WitnessError as error:
        return _page(request, services, reader, name, error=error)
    return _page(request, services, reader, name, looked=looked)


@administering.post("/watch/{name}/accept")
def accept(name: str, services: ServicesHere, actor: Actor, given: Entered) -> Response:
    api.accept(name, api.Keys(keys=[given.get("key", "")], undo="undo" in given), services, actor)
    return RedirectResponse(address("/watch", {"connection": name}), 303)


def _page(
    request: Request,
    services: Services,
    reader: Reader,
    connection: str | None,
    *,
    past: bool = False,
    looked: dict[str, Any] | None = None,
    error: WitnessError | None = None,
) -> Response:
    if connection is not None:
        reader.check_connection(connection)
        services.catalog.connections.get(connection)
    names = [each.name for each in services.catalog.connections.list() if reader.reaches(each.name)]
    return render_after(
        request,
        "watch.html",
        error,
        connection=connection,
        connections=names,
        watched=api.views(services, names),
        findings=found_around(services, reader, connection, past=past),
        past=past,
        looked=looked,
        address=address,
    )
