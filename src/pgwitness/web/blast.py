"""The blast radius of a session, a run, an identity or a span of time, as text, picture and tables."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request, Response

from pgwitness.api.access import May, ReaderHere
from pgwitness.api.problems import problem
from pgwitness.api.review import Current, note_listing
from pgwitness.errors import InvalidError, NotFoundError
from pgwitness.index.filters import FILTERS
from pgwitness.review.blast import SCOPES, blast_radius
from pgwitness.review.blast.telling import tell
from pgwitness.web import filtering
from pgwitness.web.blast_picture import bars, link
from pgwitness.web.rendering import render
from pgwitness.web.viewer import page_router

router = page_router(May.read)
_OTHERS: Final = tuple(each.name for each in FILTERS if each.name not in SCOPES)


@router.get("/blast")
def blast(request: Request, services: Current, reader: ReaderHere) -> Response:
    given = {name: value for name, value in filtering.given(request).items() if name in SCOPES}
    document: dict[str, Any] | None = None
    refused = None
    if given:
        try:
            wanted = reader.restrict(filtering.filters(request))
            note_listing(services, reader.actor, wanted, action="blast")
            document = blast_radius(services.index, wanted)
        except (InvalidError, NotFoundError) as error:
            refused = problem(error)
    return render(
        request,
        "blast.html",
        refused["status"] if refused else 200,
        form=filtering.form(request, reader, leave_out=_OTHERS),
        given=given,
        document=document,
        bars=bars(document) if document else [],
        text="\n".join(line for _, line in tell(document)) if document else "",
        problem=refused,
        link=link,
        address=filtering.address,
    )
