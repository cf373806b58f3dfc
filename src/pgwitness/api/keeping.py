"""Routes of keeping: legal holds, erasure of one session, retention."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from pgwitness.api.access import May, ReaderHere
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.review import Current
from pgwitness.api.services import Services
from pgwitness.catalog.keeping import Hold
from pgwitness.errors import InvalidError
from pgwitness.identity.lifetimes import parse_lifetime
from pgwitness.review.keeping import Keeper
from pgwitness.review.sessions import resolve

FOREVER, DEFAULT = "forever", "default"

router = APIRouter()


class Why(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(description="one line, for the record")


class HoldView(BaseModel):
    session: str
    reason: str
    actor: str
    at: datetime


class Keep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keep: str = Field(description="90d, 12h …, forever, or default: as the setting says")


class RuleView(BaseModel):
    connection: str | None = Field(description="null: all others, by the setting")
    keep: str


class DueView(BaseModel):
    session: str
    connection: str | None
    identity: str | None
    ended_at: str | None
    reason: str


def keeper(services: Services) -> Keeper:
    """On what these services have."""
    days = services.settings.retention.days
    keep = timedelta(days=days) if days else None
    return Keeper(services.settings.state, services.catalog, services.index, keep, services.record_event)


@router.get("/holds", dependencies=[May.oversee])
def holds(services: ServicesHere) -> list[HoldView]:
    """The newest first."""
    return [_view(hold) for hold in services.catalog.keeping.holds()]


@router.post("/sessions/{session}/hold", status_code=201, dependencies=[May.operate])
def hold(session: str, why: Why, services: Current, reader: ReaderHere) -> HoldView:
    """Nobody can erase a session that is held, and retention passes it over."""
    id = reader.check_session(services.index, session)
    return _view(services.catalog.keeping.hold(id, why.reason, actor=reader.actor))


@router.post("/sessions/{session}/release", dependencies=[May.administer])
def release(session: str, why: Why, services: Current, actor: Actor) -> dict[str, Any]:
    """End the hold."""
    id = resolve(services.index, session)
    services.catalog.keeping.release(id, why.reason, actor=actor)
    return {"session": id, "held": False}


@router.post("/sessions/{session}/erase", status_code=202, dependencies=[May.administer])
def erase(session: str, why: Why, services: Current, actor: Actor) -> dict[str, Any]:
    """Destroy the content of an ended session for good. That it was, who erased it and why stays."""
    return {"session": keeper(services).erase(session, why.reason, actor=actor), "erasing": True}


@router.get("/retention", dependencies=[May.oversee])
def rules(services: ServicesHere) -> list[RuleView]:
    """The connections' own rules, then the setting."""
    found = services.catalog.keeping.rules()
    listed = [RuleView(connection=name, keep=span(keep)) for name, keep in found.items()]
    return [*listed, RuleView(connection=None, keep=span(keeper(services).keep))]


@router.put("/retention/{connection}", dependencies=[May.administer])
def set_rule(connection: str, rule: Keep, services: ServicesHere, actor: Actor) -> list[RuleView]:
    """How long sessions through this connection are kept."""
    keeping = services.catalog.keeping
    if rule.keep == DEFAULT:
        keeping.drop_rule(connection, actor=actor)
    else:
        services.catalog.connections.get(connection)
        keeping.set_rule(connection, _parse(rule.keep), actor=actor)
    return rules(services)


@router.get("/retention/due", dependencies=[May.oversee])
def due(services: Current) -> list[DueView]:
    """Sessions that the next pass erases."""
    return [
        DueView(
            session=session.session,
            connection=session.connection,
            identity=session.identity,
            ended_at=session.ended_at,
            reason=reason,
        )
        for session, reason in keeper(services).due()
    ]


@router.post("/retention/run", dependencies=[May.administer])
def run(services: Current, actor: Actor) -> dict[str, Any]:
    """Erase what is due now."""
    services.catalog.log(actor, "retention.run", "all connections")
    return {"erased": keeper(services).apply()}


def span(keep: timedelta | None) -> str:
    """As ``parse_lifetime`` reads it."""
    if keep is None:
        return FOREVER
    seconds = int(keep.total_seconds())
    unit, size = next(
        (unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % size == 0
    )
    return f"{seconds // size}{unit}"


def _parse(text: str) -> timedelta | None:
    if text == FOREVER:
        return None
    if text == "never":
        raise InvalidError("keep sessions for a time such as 90d, or forever")
    return parse_lifetime(text)


def _view(hold: Hold) -> HoldView:
    return HoldView(session=hold.session, reason=hold.reason, actor=hold.actor, at=hold.at)
