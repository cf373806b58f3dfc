"""The route of the blast radius."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from pgwitness.api.access import May, ReaderHere
from pgwitness.api.review import Current, FiltersHere, note_listing
from pgwitness.review.blast import blast_radius

router = APIRouter()


@router.get("/blast", dependencies=[May.read])
def blast(services: Current, reader: ReaderHere, filters: FiltersHere) -> dict[str, Any]:
    """What a session, a run, an identity or a span of time wrote, read and changed (docs/blast-radius.md). It
    takes at least one of ``session``, ``run``, ``identity``, ``connection``, ``since``, ``until``."""
    filters = reader.restrict(filters)
    note_listing(services, reader.actor, filters, action="blast")
    return blast_radius(services.index, filters)
