"""Connections: listed, looked at, registered, checked, changed and removed."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from pgwitness.api import admin, schemas
from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.problems import problem
from pgwitness.api.services import Services
from pgwitness.api.watch import views
from pgwitness.errors import WitnessError
from pgwitness.web.entering import Entered, document, names, results
from pgwitness.web.rendering import is_fragment, render, render_after
from pgwitness.web.viewer import page_router
from pgwitness.web.watching import counting

router = page_router(May.review)
operating = page_router(May.operate)
administering = page_router(May.administer)


@router.get("/connections")
def connections(request: Request, services: ServicesHere, reader: ReaderHere) -> Response:
    return _list(request, services, reader)


@administering.post("/connections")
def add(
    request: Request, services: ServicesHere, reader: ReaderHere, actor: Actor, given: Entered
) -> Response:
    try:
        new = document(schemas.ConnectionNew, _fields(given))
        admin.add_connection(new, services, actor)
    except WitnessError as error:
        return _list(request, services, reader, error=error, given=given)
    return RedirectResponse(f"/connections/{new.name}?done=added", 303)


@router.get("/connections/{name}")
def connection(
    request: Request, name: str, services: ServicesHere, reader: ReaderHere, done: str | None = None
) -> Response:
    return _one(request, name, services, reader, done=done)


@operating.post("/connections/{name}/check")
def check(request: Request, name: str, services: ServicesHere, reader: ReaderHere) -> Response:
    """What the check found: also that it does not work is an answer."""
    found: dict[str, Any] = {"result": None, "problem": None}
    try:
        found["result"] = admin.check_connection(name, services, reader)
    except WitnessError as error:
        found["problem"] = problem(error)
    if is_fragment(request):
        return render(request, "fragments/check.html", **found)
    return _one(request, name, services, reader, check=found)


@administering.post("/connections/{name}")
def change(
    request: Request, name: str, services: ServicesHere, reader: ReaderHere, actor: Actor, given: Entered
) -> Response:
    try:
        changed = document(schemas.ConnectionChange, _fields(given, changing=True))
        admin.update_connection(name, changed, services, actor)
    except WitnessError as error:
        return _one(request, name, services, reader, error=error, given=given)
    return RedirectResponse(f"/connections/{name}?done=changed", 303)


@administering.post("/connections/{name}/remove")
def remove(name: str, services: ServicesHere, actor: Actor) -> Response:
    admin.remove_connection(name, services, actor)
    return RedirectResponse("/connections", 303)


def _list(
    request: Request,
    services: Services,
    reader: Reader,
    *,
    error: WitnessError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    found = [each for each in services.catalog.connections.list() if reader.reaches(each.name)]
    watched = views(services, [each.name for each in found])
    return render_after(
        request,
        "connections.html",
        error,
        connections=[schemas.connection_view(each, watched.get(each.name)) for each in found],
        connectors=_connectors(services, reader),
        given=given or {},
    )


def _one(
    request: Request,
    name: str,
    services: Services,
    reader: Reader,
    *,
    done: str | None = None,
    check: dict[str, Any] | None = None,
    error: WitnessError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    shown = admin.show_connection(name, services, reader)
    return render_after(
        request,
        "connection.html",
        error,
        connection=shown,
        connectors=_connectors(services, reader),
        findings=counting(services, reader, name),
        done=done,
        check=check,
        given=given if given is not None else _as_entered(shown),
    )


def _connectors(services: Services, reader: Reader) -> list[str]:
    return [each.name for each in services.catalog.connectors.list()] if reader.sees_all else []


def _fields(given: dict[str, str], *, changing: bool = False) -> dict[str, Any]:
    """As the API takes them. A password that is not given stays as it is. Raises InvalidError."""
    wanted = ("name", "host", "port", "database", "user", "password", "sslmode", "sslrootcert")
    fields: dict[str, Any] = {each: given[each] for each in wanted if each in given}
    if changing:
        fields.pop("name", None)
    if "no_password" in given:
        fields["password"] = None
    fields["connectors"] = names(given.get("connectors", ""))
    fields["also_databases"] = names(given.get("also_databases", ""))
    fields["results"] = results(given.get("results", ""))
    return fields


def _as_entered(shown: schemas.ConnectionView) -> dict[str, str]:
    """A connection as its form would have it. Of the password it only is known whether there is one."""
    also = shown.also_databases
    return {
        "host": shown.host,
        "port": shown.port,
        "database": shown.database,
        "user": shown.user,
        "sslmode": shown.sslmode,
        "connectors": ", ".join(shown.connectors),
        "also_databases": also if isinstance(also, str) else ", ".join(also),
        "results": {None: "", 0: "none", -1: "all"}.get(shown.results, str(shown.results)),
    }
