"""Who looks at a page, and how a page says who may.

Pages take ``page_router(May.…)``: its routes know their reader (``api.access``), need that permission, and
stand in no API schema.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from pgwitness.api.access import Reader, ReaderHere


def viewer_of(request: Request) -> Reader | None:
    """None before sign-in."""
    return getattr(request.state, "viewer", None)


def _remember(request: Request, reader: ReaderHere) -> None:
    request.state.viewer = reader


def page_router(may: Any) -> APIRouter:
    """For pages that ``may``, one of ``api.access.May``, opens."""
    return APIRouter(include_in_schema=False, dependencies=[Depends(_remember), may])
