"""Routes of the watch: what was found around the gateway, and a look now."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from pgwitness.api import schemas
from pgwitness.api.access import May, ReaderHere
from pgwitness.api.context import Actor, ServicesHere
from pgwitness.api.cursors import parse_cursor
from pgwitness.api.schemas import WatchView
from pgwitness.api.services import Services
from pgwitness.errors import UnavailableError
from pgwitness.watch.report import PARTS
from pgwitness.watch.service import document

router = APIRouter()

Part = Literal["session", "statements", "route", "feature"]


class LookNow(BaseModel):
    model_config = ConfigDict(extra="forbid")

    through: str | None = Field(None, description="connection to look with, whose role may see more")
    parts: list[Part] = Field(list(PARTS), description="what to look at")


class Keys(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[str]
    undo: bool = False


def views(services: Services, connections: list[str]) -> dict[str, WatchView]:
    """For listings: of the connections that were looked at."""
    counts = services.catalog.findings.counts()
    found = {}
    for name in connections:
        status = services.watch.status(name) if services.watch is not None else None
        if status is not None or name in counts:
            about = {key: status[key] for key in ("looked_at", "problem")} if status is not None else {}
            found[name] = WatchView.model_validate({**counts.get(name, {}), **about})
    return found


@router.get("/findings", dependencies=[May.review])
def findings(
    services: ServicesHere,
    reader: ReaderHere,
    connection: str | None = None,
    past: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> schemas.Page[dict[str, Any]]:
    """What the watch found around the gateway, a page, the worst first. ``past``: also what is gone."""
    begin = parse_cursor(cursor) or 0
    if connection is not None:
        reader.check_connection(connection)
        services.catalog.connections.get(connection)
    found = [
        one for one in services.catalog.findings.list(connection, past=past) if reader.reaches(one.connection)
    ]
    end = begin + limit
    return schemas.Page(
        items=[document(one) for one in found[begin:end]], next=str(end) if len(found) > end else None
    )


@router.post("/connections/{name}/watch", dependencies=[May.operate])
def look(name: str, wanted: LookNow, services: ServicesHere, reader: ReaderHere) -> dict[str, Any]:
    """Look now: what is found and what cannot be seen."""
    reader.check_connection(name)
    if wanted.through is not None:
        reader.check_connection(wanted.through)
    services.catalog.connections.get(name)
    if services.watch is None:
        raise UnavailableError(
            "only a running gateway can look, since it knows its own sessions",
            hint="start it with: pgwitness gateway",
        )
    return services.watch.look(name, through=wanted.through, parts=wanted.parts)


@router.post("/connections/{name}/findings/accept", dependencies=[May.administer])
def accept(name: str, wanted: Keys, services: ServicesHere, actor: Actor) -> list[dict[str, Any]]:
    """Say that these findings are known and wanted, or with ``undo`` that they are not any more."""
    services.catalog.connections.get(name)
    services.catalog.findings.accept(name, wanted.keys, actor=actor, undo=wanted.undo)
    return [
        document(one) for one in services.catalog.findings.list(name, past=True) if one.key in wanted.keys
    ]
