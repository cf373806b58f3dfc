"""Identities and their tokens: who clients are, what they may use, and what they prove it with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from pgwitness.api import admin, schemas
from pgwitness.api.access import May
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.services import Services
from pgwitness.catalog.models import Token
from pgwitness.errors import WitnessError
from pgwitness.web.entering import Entered, document, names
from pgwitness.web.rendering import render_after
from pgwitness.web.viewer import page_router

router = page_router(May.oversee)
administering = page_router(May.administer)

ROLES = {
    "client": "client: logs in to PostgreSQL",
    "own": "own: reads its own sessions here",
    "auditor": "auditor: reads and verifies",
    "operator": "operator: also ends sessions",
    "admin": "admin: everything",
}
"""As ``catalog.models.TokenRole``, in the order of what they may."""

_DONE = {
    "added": "The identity is there. It needs a token to log in with.",
    "disabled": "Disabled: its sessions have ended, and nobody logs in as it.",
    "enabled": "Enabled again.",
    "granted": "Granted.",
    "withdrawn": "Withdrawn. Sessions that used it have ended.",
    "revoked": "The token is revoked, and its sessions have ended.",
}


@router.get("/identities")
def identities(request: Request, services: ServicesHere) -> Response:
    return _list(request, services)


@administering.post("/identities")
def add(request: Request, services: ServicesHere, actor: Actor, given: Entered) -> Response:
    try:
        fields: dict[str, Any] = {**given, "connections": names(given.get("connections", ""))}
        fields.pop("csrf", None)
        new = document(schemas.IdentityNew, fields)
        admin.add_identity(new, services, actor)
    except WitnessError as error:
        return _list(request, services, error=error, given=given)
    return _to(new.name, "added")


@router.get("/identities/{name}")
def identity(request: Request, name: str, services: ServicesHere, done: str = "") -> Response:
    return _one(request, name, services, done=_DONE.get(done))


@administering.post("/identities/{name}/disable")
def disable(name: str, services: ServicesHere, actor: Actor) -> Response:
    admin.disable(name, services, actor)
    return _to(name, "disabled")


@administering.post("/identities/{name}/enable")
def enable(name: str, services: ServicesHere, actor: Actor) -> Response:
    admin.enable(name, services, actor)
    return _to(name, "enabled")


@administering.post("/identities/{name}/grant")
def grant(request: Request, name: str, services: ServicesHere, actor: Actor, given: Entered) -> Response:
    try:
        admin.grant(name, schemas.Grants(connections=names(given.get("connections", ""))), services, actor)
    except WitnessError as error:
        return _one(request, name, services, error=error)
    return _to(name, "granted")


@administering.post("/identities/{name}/withdraw")
def withdraw(request: Request, name: str, services: ServicesHere, actor: Actor, given: Entered) -> Response:
    try:
        admin.revoke(name, schemas.Grants(connections=names(given.get("connections", ""))), services, actor)
    except WitnessError as error:
        return _one(request, name, services, error=error)
    return _to(name, "withdrawn")


@administering.post("/identities/{name}/tokens")
def issue(request: Request, name: str, services: ServicesHere, actor: Actor, given: Entered) -> Response:
    """The page with the token in it: the only time that anybody sees it."""
    fields: dict[str, Any] = {each: given[each] for each in ("ttl", "role", "on_behalf_of") if each in given}
    try:
        fields["connections"] = names(given.get("connections", "any"))
        issued = admin.issue_token(document(schemas.TokenNew, {**fields, "identity": name}), services, actor)
    except WitnessError as error:
        return _one(request, name, services, error=error, given=given)
    return _one(request, name, services, issued=issued)


@administering.post("/identities/{name}/tokens/{token_id}/revoke")
def revoke_token(name: str, token_id: str, services: ServicesHere, actor: Actor) -> Response:
    admin.revoke_token(token_id, services, actor)
    return _to(name, "revoked")


def _list(
    request: Request,
    services: Services,
    *,
    error: WitnessError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    now = datetime.now(UTC)
    live: dict[str, int] = {}
    for token in services.catalog.tokens.list():
        live[token.identity] = live.get(token.identity, 0) + token.live(now)
    return render_after(
        request,
        "identities.html",
        error,
        identities=services.catalog.identities.list(),
        tokens=live,
        connections=[each.name for each in services.catalog.connections.list()],
        given=given or {},
    )


def _one(
    request: Request,
    name: str,
    services: Services,
    *,
    done: str | None = None,
    issued: schemas.TokenIssued | None = None,
    error: WitnessError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    now = datetime.now(UTC)
    tokens = services.catalog.tokens.list(name)
    return render_after(
        request,
        "identity.html",
        error,
        identity=services.catalog.identities.get(name),
        tokens=[(each, _state(each, now)) for each in sorted(tokens, key=lambda each: not each.live(now))],
        connections=[each.name for each in services.catalog.connections.list()],
        roles=ROLES,
        issued=issued,
        done=done,
        given=given or {},
        now=now,
    )


def _state(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "enabled" if token.live(now) else "expired"


def _to(name: str, done: str) -> Response:
    return RedirectResponse(f"/identities/{name}?done={done}", 303)
