"""Routes of administration: connections, identities, tokens and the audit of their changes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from pgwitness.api import check, schemas, watch
from pgwitness.api.access import May, ReaderHere
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.cursors import parse_cursor
from pgwitness.identity import tokens
from pgwitness.identity.lifetimes import parse_lifetime

router = APIRouter()


@router.get("/connections", dependencies=[May.review])
def list_connections(services: ServicesHere, reader: ReaderHere) -> list[schemas.ConnectionView]:
    """Registered connections, with what the watch found around the gateway."""
    connections = [each for each in services.catalog.connections.list() if reader.reaches(each.name)]
    watched = watch.views(services, [each.name for each in connections])
    return [schemas.connection_view(each, watched.get(each.name)) for each in connections]


@router.post("/connections", status_code=201, dependencies=[May.administer])
def add_connection(
    new: schemas.ConnectionNew, services: ServicesHere, actor: Actor
) -> schemas.ConnectionView:
    """Register a connection."""
    added = services.catalog.connections.add(new.name, new.fields(), actor=actor)
    return schemas.connection_view(added)


@router.get("/connections/{name}", dependencies=[May.review])
def show_connection(name: str, services: ServicesHere, reader: ReaderHere) -> schemas.ConnectionView:
    """One registered connection."""
    reader.check_connection(name)
    connection = services.catalog.connections.get(name)
    return schemas.connection_view(connection, watch.views(services, [name]).get(name))


@router.patch("/connections/{name}", dependencies=[May.administer])
def update_connection(
    name: str, change: schemas.ConnectionChange, services: ServicesHere, actor: Actor
) -> schemas.ConnectionView:
    """Change what is given."""
    changed = services.catalog.connections.update(name, change.fields(), actor=actor)
    return schemas.connection_view(changed)


@router.delete("/connections/{name}", status_code=204, dependencies=[May.administer])
def remove_connection(name: str, services: ServicesHere, actor: Actor) -> Response:
    """Remove it: its live sessions end, its record stays."""
    services.catalog.connections.remove(name, actor=actor)
    return Response(status_code=204)


@router.post("/connections/{name}/check", dependencies=[May.operate])
def check_connection(name: str, services: ServicesHere, reader: ReaderHere) -> check.CheckResult:
    """Dial it, run a test query, and find that in the record."""
    reader.check_connection(name)
    return check.check_connection(services, name, actor=reader.actor)


@router.get("/identities", dependencies=[May.oversee])
def list_identities(services: ServicesHere) -> list[schemas.IdentityView]:
    """All identities."""
    return [schemas.identity_view(each) for each in services.catalog.identities.list()]


@router.post("/identities", status_code=201, dependencies=[May.administer])
def add_identity(new: schemas.IdentityNew, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    """Make an identity."""
    added = services.catalog.identities.add(
        new.name, kind=new.kind, connections=schemas.names(new.connections), actor=actor
    )
    return schemas.identity_view(added)


@router.get("/identities/{name}", dependencies=[May.oversee])
def show_identity(name: str, services: ServicesHere) -> schemas.IdentityView:
    """One identity."""
    return schemas.identity_view(services.catalog.identities.get(name))


@router.post("/identities/{name}/grant", dependencies=[May.administer])
def grant(name: str, grants: schemas.Grants, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    """Let it use these connections, too."""
    changed = services.catalog.identities.grant(name, schemas.names(grants.connections), actor=actor)
    return schemas.identity_view(changed)


@router.post("/identities/{name}/revoke", dependencies=[May.administer])
def revoke(name: str, grants: schemas.Grants, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    """Take these connections from it: its live sessions there end."""
    changed = services.catalog.identities.revoke(name, schemas.names(grants.connections), actor=actor)
    return schemas.identity_view(changed)


@router.post("/identities/{name}/disable", dependencies=[May.administer])
def disable(name: str, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    """Let it in no more, by no token: its live sessions end."""
    return schemas.identity_view(services.catalog.identities.set_disabled(name, True, actor=actor))


@router.post("/identities/{name}/enable", dependencies=[May.administer])
def enable(name: str, services: ServicesHere, actor: Actor) -> schemas.IdentityView:
    """Let it in again."""
    return schemas.identity_view(services.catalog.identities.set_disabled(name, False, actor=actor))


@router.get("/tokens", dependencies=[May.oversee])
def list_tokens(
    services: ServicesHere,
    identity: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> schemas.Page[schemas.TokenView]:
    """Tokens by their public ids, also dead ones, a page, the oldest first. Never their secrets."""
    if identity is not None:
        services.catalog.identities.get(identity)
    found = services.catalog.tokens.page(identity, limit=limit + 1, after=cursor)
    return schemas.Page(
        items=[schemas.token_view(each) for each in found[:limit]],
        next=found[limit - 1].id if len(found) > limit else None,
    )


@router.post("/tokens", status_code=201, dependencies=[May.administer])
def issue_token(new: schemas.TokenNew, services: ServicesHere, actor: Actor) -> schemas.TokenIssued:
    """Issue a token. The answer is the only place where it is shown."""
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


@router.get("/tokens/{token_id}", dependencies=[May.oversee])
def show_token(token_id: str, services: ServicesHere) -> schemas.TokenView:
    """One token, without its secret."""
    return schemas.token_view(services.catalog.tokens.get(token_id))


@router.post("/tokens/{token_id}/revoke", dependencies=[May.administer])
def revoke_token(token_id: str, services: ServicesHere, actor: Actor) -> schemas.TokenView:
    """Make a token invalid: its live sessions and sign-ins end."""
    return schemas.token_view(services.catalog.tokens.revoke(token_id, actor=actor))


@router.get("/audit", dependencies=[May.oversee])
def audit(
    services: ServicesHere,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
    action: str = "",
    subject: str | None = None,
) -> schemas.Page[schemas.AuditView]:
    """Who decided and who read what, a page, the newest first. ``action``: what begins so, as ``read.``."""
    before = parse_cursor(cursor)
    found = services.catalog.audit(limit=limit + 1, before=before, action=action, subject=subject)
    return schemas.Page(
        items=[schemas.audit_view(each) for each in found[:limit]],
        next=str(found[limit - 1].id) if len(found) > limit else None,
    )
