"""One session as a replay: ``/sessions/ID``, and the pieces that its page loads as one goes along.

The first answer holds the time line, the statements around the chosen one and that one itself, however long
the session is; all else is loaded when it is looked at. Without scripts the same addresses are whole pages.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Final

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from pgwitness.api.access import May, ReaderHere
from pgwitness.api.review import Current, export_answer
from pgwitness.api.services import Services
from pgwitness.errors import NotFoundError
from pgwitness.index.outline import Outline, Stop, outline, stop_after
from pgwitness.web import readings, session_view
from pgwitness.web.rendering import render
from pgwitness.web.session_view import CHUNK, SessionView
from pgwitness.web.showing import Panel, panel_of
from pgwitness.web.timeline import SCALES, Scale, draw
from pgwitness.web.viewer import page_router

SPEEDS: Final = ("1", "4", "16", "64", "max")
BUCKETS: Final = 600
REMEMBERED: Final = 32
FORMATS: Final = ("jsonl", "csv", "sql", "pcapng")
"""Of exports; the bundle has a page of its own."""

router = page_router(May.read)
At = Annotated[int | None, Query(ge=1, le=2**53)]


@router.get("/sessions/{session}")
def replay_page(
    session: str,
    request: Request,
    services: Current,
    reader: ReaderHere,
    at: At = None,
    scale: Scale = "order",
) -> Response:
    """``at`` is the statement that is looked at."""
    id = reader.check_session(services.index, session)
    if id != session:
        return RedirectResponse(
            f"/sessions/{id}" + (f"?{request.url.query}" if request.url.query else ""), 307
        )
    readings.note(request, reader, "replay", id, results=False)
    view = session_view.view(services, reader, id)
    outlined = _outline(request, view)
    last = outlined.statements
    chosen = min(at if at is not None else _beginning(view, last), last)
    return render(
        request,
        "replay.html",
        view=view,
        outline=outlined,
        timeline=draw(outlined, scale),
        scales=SCALES,
        speeds=SPEEDS,
        chunk_size=CHUNK,
        at=chosen,
        number=(chosen - 1) // CHUNK if chosen else 0,
        chunk=session_view.chunk(services, view.detail, (chosen - 1) // CHUNK) if chosen else None,
        panel=_panel(services, id, chosen),
        described=session_view.described,
        formats=FORMATS,
    )


@router.get("/sessions/{session}/deck")
def deck(
    session: str, request: Request, services: Current, reader: ReaderHere, scale: Scale = "order"
) -> Response:
    """What stands above the statements: header, remarks and time line, as they are now."""
    id = reader.check_session(services.index, session)
    readings.note_part(request, reader, "replay", id, results=False)
    view = session_view.view(services, reader, id)
    outlined = _outline(request, view)
    return render(
        request,
        "fragments/deck.html",
        view=view,
        outline=outlined,
        timeline=draw(outlined, scale),
        scales=SCALES,
    )


@router.get("/sessions/{session}/rows/{number}")
def rows(session: str, number: int, request: Request, services: Current, reader: ReaderHere) -> Response:
    """A chunk of statements. Raises NotFoundError."""
    id = reader.check_session(services.index, session)
    readings.note_part(request, reader, "replay", id, results=False)
    if not 0 <= number < 2**53 // CHUNK:
        raise NotFoundError(f"session {id} has no such statements")
    found = session_view.chunk(services, services.index.session(id), number)
    return render(request, "fragments/rows.html", chunk=found, described=session_view.described, at=None)


@router.get("/sessions/{session}/state")
def state(session: str, services: Current, reader: ReaderHere) -> Response:
    """No content: whether there is anything new."""
    view = session_view.view(services, reader, reader.check_session(services.index, session))
    return JSONResponse({"version": view.version, "statements": view.session.statements, "state": view.state})


@router.get("/sessions/{session}/next")
def next_stop(
    session: str,
    request: Request,
    services: Current,
    reader: ReaderHere,
    after: At = 1,
    stop: Stop = "write",
    backwards: bool = False,
) -> Response:
    """The seq of the next statement of this kind, or null."""
    id = reader.check_session(services.index, session)
    readings.note_part(request, reader, "replay", id, results=False)
    return JSONResponse({"seq": stop_after(services.index, id, after or 1, stop, backwards=backwards)})


@router.get("/sessions/{session}/export/{format}")
def export(session: str, format: str, services: Current, reader: ReaderHere) -> Response:
    """The session as a file."""
    if format not in FORMATS:
        raise NotFoundError(f"there is no export as {format!r}")
    return export_answer(services, reader, session, format)


def _outline(request: Request, view: SessionView) -> Outline:
    """Remembered for some sessions, as long as there is nothing new of them."""
    state = request.app.state
    known: OrderedDict[tuple[str, str], Outline] | None = getattr(state, "outlines", None)
    if known is None:
        known = state.outlines = OrderedDict()
    key = (view.session.session, view.version)
    found = known.get(key)
    if found is None:
        found = known[key] = outline(state.services.index, view.session.session, buckets=BUCKETS)
        while len(known) > REMEMBERED:
            known.popitem(last=False)
    return found


def _beginning(view: SessionView, last: int) -> int:
    """A live session is looked at where it is now."""
    return last if view.state == "live" else 1


def _panel(services: Services, session: str, seq: int) -> Panel | None:
    return panel_of(services.index.statement(session, seq)) if seq else None
