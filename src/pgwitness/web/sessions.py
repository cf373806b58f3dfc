"""The list of sessions, the end of a live one, and the evidence bundle of one as a file."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import ServicesHere
from pgwitness.api.problems import problem
from pgwitness.api.review import export_answer, session_kill
from pgwitness.api.services import Services
from pgwitness.errors import InvalidError
from pgwitness.index.store import Page, Session
from pgwitness.review.sessions import list_sessions
from pgwitness.web import filtering, readings
from pgwitness.web.going import within
from pgwitness.web.live import live_ids
from pgwitness.web.rendering import is_fragment, render
from pgwitness.web.viewer import page_router

PAGE: Final = 50

router = page_router(May.read)
operating = page_router(May.operate)


@router.get("/sessions")
def sessions(
    request: Request, services: ServicesHere, reader: ReaderHere, cursor: str | None = None
) -> Response:
    """The newest first. Only sessions' own facts are shown, and no content; but who asks which of them have
    a text reads it, and that is noted."""
    page, refused = _page(request, services, reader, cursor)
    context: dict[str, Any] = {
        "page": page,
        "cursor": cursor,
        "live": live_ids(services, reader),
        "given": filtering.given(request),
        "address": filtering.address,
    }
    if is_fragment(request):
        return render(request, "fragments/sessions.html", **context)
    form = filtering.form(request, reader, leave_out=("session",))
    return render(
        request, "sessions.html", refused["status"] if refused else 200, form=form, problem=refused, **context
    )


@router.get("/sessions/{session}/bundle")
def bundle(session: str, services: ServicesHere, reader: ReaderHere) -> Response:
    """As ``session export --format bundle``."""
    return export_answer(services, reader, session, "bundle")


@operating.post("/sessions/{session}/end")
def end(
    session: str, services: ServicesHere, reader: ReaderHere, next: Annotated[str, Form()] = ""
) -> Response:
    ended = session_kill(session, services, reader)
    return RedirectResponse(within(next, f"/sessions/{ended['session']}"), 303)


def _page(
    request: Request, services: Services, reader: Reader, cursor: str | None
) -> tuple[Page[Session], dict[str, Any] | None]:
    """And what is wrong with the question, if something is."""
    try:
        filters = reader.restrict(filtering.filters(request))
        if filters.on_statements:
            part, asked = is_fragment(request), filtering.given(request)
            readings.note_listing(request, reader, "sessions", filters, part=part, **asked)
        return list_sessions(services.index, filters, limit=PAGE, cursor=cursor), None
    except InvalidError as error:
        return Page([]), problem(error)
