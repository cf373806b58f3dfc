"""Routes of administration: connections, identities, tokens and the audit of their changes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from pgwitness.api import check, schemas, watch
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.identity import tokens
from pgwitness.identity.lifetimes import parse_lifetime

router = APIRouter()


@router.get("/connections")
def list_connections(services: ServicesHere) -> list[schemas.ConnectionView]:
    connections = services.catalog.connections.list()
    watched = watch.views(services, [each.name for each in connections])
    return [schemas.connection_view(each, watched.get(each.name)) for each in connections]


@router.post("/connections", status_code=201)
def add_connection(
    new: schemas.ConnectionNew, services: ServicesHere, actor: Actor
) -> schemas.ConnectionView:
    added = services.catalog.connections.add(new.name, new.fields(), actor=actor)
    return schemas.connection_view(added)


@router.get("/connections/{name}")
def show_connection(name: str, services: ServicesHere) -> schemas.ConnectionView:
    connection = services.catalog.connections.get(name)
    return schemas.connection_view(connection, watch.views(services, [name]).get(name))


@router.patch("/connections/{name}")
def update_connection(
    name: str, change: schemas.ConnectionChange, services: ServicesHere, actor: Actor
) -> schemas.ConnectionView:
    changed = services.catalog.connections.update(name, change.fields(), actor=actor)
    return schemas.connection_view(changed)


@router.delete("/connections/{name}", status_code=204)
def remove_connection(name: str, services: ServicesHere, actor: Actor) -> Response:
    services.catalog.connections.remove(name, actor=actor)
    return Response(status_code=204)


@router.post("/connections/{name}/check")
def check_connection(name: str, services: ServicesHere, actor: Actor) -> check.CheckResult:
    return check.check_connection(services, name, actor=actor)


@router.get("/identities")
def list_identities(services: ServicesHere) -> list[schemas.IdentityView]:
    return [schemas.identity_view(each) for each in services.catalog.identities.list()]


@router.post("/identities", status_code=201)
def add_identity(new: schemas.IdentityNew, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    added = services.catalog.identities.add(
        new.name, kind=new.kind, connections=schemas.names(new.connections), actor=actor
    )
    return schemas.identity_view(added)


@router.get("/identities/{name}")
def show_identity(name: str, services: ServicesHere) -> schemas.IdentityView:
    return schemas.identity_view(services.catalog.identities.get(name))


@router.post("/identities/{name}/grant")
def grant(name: str, grants: schemas.Grants, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    changed = services.catalog.identities.grant(name, schemas.names(grants.connections), actor=actor)
    return schemas.identity_view(changed)


@router.post("/identities/{name}/revoke")
def revoke(name: str, grants: schemas.Grants, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    changed = services.catalog.identities.revoke(name, schemas.names(grants.connections), actor=actor)
    return schemas.identity_view(changed)


@router.post("/identities/{name}/disable")
def disable(name: str, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    return schemas.identity_view(services.catalog.identities.set_disabled(name, True, actor=actor))


@router.post("/identities/{name}/enable")
def enable(name: str, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    return schemas.identity_view(services.catalog.identities.set_disabled(name, False, actor=actor))


@router.get("/tokens")
def list_tokens(services: ServicesHere, identity: str | None = None) -> list[schemas.TokenView]:
    if identity is not None:
        services.catalog.identities.get(identity)
    return [schemas.token_view(each) for each in services.catalog.tokens.list(identity)]


@router.post("/tokens", status_code=201)
def issue_token(new: schemas.TokenNew, services: ServicesHere, actor: Actor) -> schemas.TokenIssued:
    token, text = tokens.issue(
        services.catalog,
        new.identity,
        actor=actor,
        lifetime=parse_lifetime(new.ttl),
        connections=schemas.names(new.connections),
        role=new.role,
        on_behalf_of=new.on_behalf_of,
    )
    return schemas.TokenIssued(**schemas.token_view(token).model_dump(), token=text.reveal())


@router.get("/tokens/{token_id}")
def show_token(token_id: str, services: ServicesHere) -> schemas.TokenView:
    return schemas.token_view(services.catalog.tokens.get(token_id))


@router.post("/tokens/{token_id}/revoke")
def revoke_token(token_id: str, services: ServicesHere, actor: Actor) -> schemas.TokenView:
    return schemas.token_view(services.catalog.tokens.revoke(token_id, actor=actor))


@router.get("/audit")
def audit(
    services: ServicesHere,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: int | None = None,
    action: str = "",
    subject: str | None = None,
) -> list[schemas.AuditView]:
    """The newest first; ``before`` an id goes on from there. ``action``: what begins so, as ``read.``."""
    found = services.catalog.audit(limit=limit, before=before, action=action, subject=subject)
    return [schemas.audit_view(each) for each in found]
