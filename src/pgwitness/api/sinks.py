"""Routes of sinks: how each of them is, and whether its receiver takes something now."""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter

from pgwitness.api.access import May
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.errors import InvalidError, UnavailableError
from pgwitness.index.times import of_nanoseconds
from pgwitness.sinks.items import Item
from pgwitness.sinks.places import Undeliverable
from pgwitness.sinks.places.opening import open_place
from pgwitness.sinks.status import sinks_status

router = APIRouter()


@router.get("/sinks", dependencies=[May.oversee])
def sinks(services: ServicesHere) -> list[dict[str, Any]]:
    """Each sink that is set: what it delivered, how far it is behind, why it fails."""
    settings = services.settings
    return sinks_status(settings.state, settings.sinks)


@router.post("/sinks/{name}/test", dependencies=[May.administer])
def test(name: str, services: ServicesHere, actor: Actor) -> dict[str, Any]:
    """Deliver one item of type ``test`` now, apart from all others."""
    settings = services.settings.sinks.get(name)
    if settings is None:
        known = ", ".join(services.settings.sinks) or "none"
        raise InvalidError(f"there is no sink {name!r}", hint=f"set are: {known}")
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
    return {"sink": name, "place": place.name, "id": item.id, "rejected": place.rejected}
