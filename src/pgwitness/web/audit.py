"""The audit: what administrators did, and who read what, the newest first."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query, Request, Response

from pgwitness.api.access import May
from pgwitness.api.context import ServicesHere
from pgwitness.web.filtering import address
from pgwitness.web.rendering import render
from pgwitness.web.viewer import page_router

PAGE: Final = 100
KINDS: Final = {
    "": "everything",
    "read.": "readings",
    "session.": "sessions ended",
    "sign-": "sign-ins",
    "connection.": "connections",
    "connector.": "connectors",
    "identity.": "identities",
    "token.": "tokens",
    "watch.": "findings accepted",
}
"""By what an action begins with."""

router = page_router(May.oversee)


@router.get("/audit")
def audit(
    request: Request,
    services: ServicesHere,
    action: Annotated[str, Query(max_length=100)] = "",
    subject: Annotated[str, Query(max_length=200)] = "",
    before: int | None = None,
) -> Response:
    entries = services.catalog.audit(
        limit=PAGE + 1, before=before, action=action.strip(), subject=subject.strip() or None
    )
    given = {name: value for name, value in (("action", action), ("subject", subject)) if value.strip()}
    return render(
        request,
        "audit.html",
        entries=entries[:PAGE],
        next=entries[PAGE - 1].id if len(entries) > PAGE else None,
        first=before is None,
        given=given,
        kinds=KINDS,
        address=address,
    )
