"""Routes of sinks: how each of them is, and whether its receiver takes something now."""

from __future__ import annotations

import secrets
import time
from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from pgwitness.api.access import May
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.errors import NotFoundError, UnavailableError
from pgwitness.index.times import of_nanoseconds
from pgwitness.sinks.items import Item
from pgwitness.sinks.places import Undeliverable
from pgwitness.sinks.places.opening import open_place
from pgwitness.sinks.status import sinks_status

router = APIRouter()


class SinkView(BaseModel):
    sink: str = Field(description="its name in the settings")
    kind: str
    place: str = Field(description="where it delivers, without anything secret")
    format: str
    sql: str
    parameters: bool
    delivered: int = Field(description="items, since the gateway started")
    rejected: int = Field(description="of them, that the receiver said it threw away")
    delivered_at: datetime | None
    lag_seconds: float = Field(description="age of the first item that should have arrived")
    error: str | None = Field(description="why the latest attempt failed; null if it did not")
    failing_since: datetime | None


class SinkTested(BaseModel):
    sink: str
    place: str
    id: str = Field(description="of the document that was delivered")
    rejected: int


@router.get("/sinks", dependencies=[May.oversee])
def sinks(services: ServicesHere) -> list[SinkView]:
    """Each sink that is set: what it delivered, how far it is behind, why it fails."""
    settings = services.settings
    found = sinks_status(settings.state, settings.sinks)
    return [SinkView.model_validate(one) for one in found]


@router.post("/sinks/{name}/test", dependencies=[May.administer])
def test(name: str, services: ServicesHere, actor: Actor) -> SinkTested:
    """Deliver one item of type ``test`` now, apart from all others."""
    settings = services.settings.sinks.get(name)
    if settings is None:
        known = ", ".join(services.settings.sinks) or "none"
        raise NotFoundError(f"there is no sink {name!r}", hint=f"set are: {known}")
    services.catalog.log(actor, "sink.test", name)
    item = Item(f"test/{secrets.token_hex(8)}", "test", of_nanoseconds(time.time_ns()))
    place = open_place(settings)
    try:
        place.deliver([item])
    except Undeliverable as error:
        raise UnavailableError(
            f"sink {name!r}, {place.name}: {error}", hint="docs/sinks.md tells what each kind needs"
        ) from None
    finally:
        place.close()
    return SinkTested(sink=name, place=place.name, id=item.id, rejected=place.rejected)
