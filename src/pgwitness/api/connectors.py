"""Routes of connectors: invited, listed with what the running gateway knows of them, and removed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from pgwitness.api.access import May
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.services import Services
from pgwitness.catalog.models import Connector
from pgwitness.identity.enrolment import Invitation, invite
from pgwitness.identity.lifetimes import parse_lifetime

router = APIRouter()

State = Literal["online", "draining", "offline", "invited"]


class Invite(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ttl: str = Field("1h", description="how long the join token is good: 15m, 1h, 1d")


class ConnectorNew(Invite):
    name: str


class Rejoin(Invite):
    revoke: bool = Field(False, description="revoke its certificates now, not when the token is used")


class JoinTokenIssued(BaseModel):
    connector: str
    token: str = Field(description="shown this once, good for one use")
    expires_at: datetime


class ConnectorView(BaseModel):
    name: str
    state: State = Field(description="invited: it has not joined yet")
    since: datetime | None = Field(description="when it came online, went offline or was invited")
    software: str | None = Field(description="the version that it last said it is")
    address: str | None = Field(description="from where it dialled, while it is online")
    allow: list[str] | None = Field(description="the hosts that it would dial, while it is online")
    sessions: int
    certificate_ends: datetime | None
    connections: list[str] = Field(description="those that name it")
    created_at: datetime


@router.get("/connectors", dependencies=[May.oversee])
def list_connectors(services: ServicesHere) -> list[ConnectorView]:
    """All connectors, with what the running gateway knows of them."""
    return _views(services, services.catalog.connectors.list())


@router.post("/connectors", status_code=201, dependencies=[May.administer])
def add_connector(new: ConnectorNew, services: ServicesHere, actor: Actor) -> JoinTokenIssued:
    """Invite a connector: a join token, good for one use."""
    return _invite(services, new.name, new.ttl, actor)


@router.get("/connectors/{name}", dependencies=[May.oversee])
def show_connector(name: str, services: ServicesHere) -> ConnectorView:
    """One connector."""
    return _views(services, [services.catalog.connectors.get(name)])[0]


@router.post("/connectors/{name}/rejoin", status_code=201, dependencies=[May.administer])
def rejoin_connector(name: str, change: Rejoin, services: ServicesHere, actor: Actor) -> JoinTokenIssued:
    """Let a connector that is known join anew."""
    return _invite(services, name, change.ttl, actor, again=True, revoke=change.revoke)


@router.delete("/connectors/{name}", status_code=204, dependencies=[May.administer])
def remove_connector(name: str, services: ServicesHere, actor: Actor) -> Response:
    """Remove it: it comes in no more, and sessions through it end."""
    services.catalog.connectors.remove(name, actor=actor)
    return Response(status_code=204)


def _invite(
    services: Services, name: str, ttl: str, actor: str, *, again: bool = False, revoke: bool = False
) -> JoinTokenIssued:
    invitation: Invitation = invite(
        services.catalog,
        services.settings.tls_directory,
        name,
        actor=actor,
        lifetime=parse_lifetime(ttl),
        again=again,
        revoke=revoke,
    )
    return JoinTokenIssued(
        connector=invitation.connector,
        token=invitation.token.reveal(),
        expires_at=invitation.expires_at,
    )


def _views(services: Services, connectors: list[Connector]) -> list[ConnectorView]:
    online = {each["connector"]: each for each in services.online.describe()} if services.online else {}
    users = [(each.name, each.connectors) for each in services.catalog.connections.list()]
    return [
        _view(each, online.get(each.name), [name for name, through in users if each.name in through])
        for each in connectors
    ]


def _view(connector: Connector, online: dict[str, Any] | None, connections: list[str]) -> ConnectorView:
    now = online or {}
    since = now.get("online_since") or connector.seen_at or connector.created_at
    return ConnectorView(
        name=connector.name,
        state=_state(connector, online),
        since=since,
        software=now.get("software") or connector.software,
        address=now.get("address"),
        allow=now.get("allow"),
        sessions=now.get("sessions", 0),
        certificate_ends=connector.certificate_ends,
        connections=connections,
        created_at=connector.created_at,
    )


def _state(connector: Connector, online: dict[str, Any] | None) -> State:
    if online is not None:
        return "draining" if online["draining"] else "online"
    return "invited" if connector.certificate_ends is None else "offline"
