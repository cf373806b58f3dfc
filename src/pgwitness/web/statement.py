"""One statement with an address of its own, ``/sessions/ID/statements/SEQ``: as a page, as a part of a
replay, as JSON; what it answered, and what stood around it.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Request, Response
from fastapi.responses import RedirectResponse

from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.review import Current
from pgwitness.api.services import Services
from pgwitness.index.filters import Filters
from pgwitness.review.around import Around, in_session, on_connection
from pgwitness.review.contents import with_contents
from pgwitness.statements.model import Statement
from pgwitness.web import readings
from pgwitness.web.rendering import is_fragment, render
from pgwitness.web.showing import panel_of, results_of, row_of, rows_of
from pgwitness.web.viewer import page_router

NEIGHBOURS: Final = 5
PAGE: Final = "/sessions/{session}/statements/{seq}"

router = page_router(May.read)
Seq = Annotated[int, Path(ge=1, le=2**53)]


@router.get(PAGE + ".json")
def as_json(session: str, seq: Seq, request: Request, services: Current, reader: ReaderHere) -> Response:
    """The document, as the API gives it."""
    statement = _read(request, services, reader, session, seq, part=False)
    return Response(
        msgspec.json.format(msgspec.json.encode(statement), indent=2), media_type="application/json"
    )


@router.get(PAGE)
def page(session: str, seq: Seq, request: Request, services: Current, reader: ReaderHere) -> Response:
    part = is_fragment(request)
    statement = _read(request, services, reader, session, seq, part=part)
    panel = panel_of(statement)
    if part:
        return render(request, "fragments/panel.html", panel=panel)
    if statement.session != session:
        return RedirectResponse(f"/sessions/{statement.session}/statements/{seq}", 307)
    return render(
        request,
        "statement.html",
        panel=panel,
        started_at=services.index.session(statement.session).session.started_at,
        **_around(request, services, reader, statement),
    )


@router.get(PAGE + "/around")
def around(session: str, seq: Seq, request: Request, services: Current, reader: ReaderHere) -> Response:
    """The statements before and after it, in its session and on its connection."""
    statement = _read(request, services, reader, session, seq, part=True)
    if not is_fragment(request):
        return RedirectResponse(f"/sessions/{statement.session}/statements/{seq}#around", 303)
    return render(
        request, "fragments/around.html", one=statement, **_around(request, services, reader, statement)
    )


@router.get(PAGE + "/result")
def result(session: str, seq: Seq, request: Request, services: Current, reader: ReaderHere) -> Response:
    """The recorded rows, or what was copied: read from the tape or the sealed record."""
    id = reader.check_session(services.index, session)
    note = readings.note_part if is_fragment(request) else readings.note
    note(request, reader, "replay", id, results=True)
    found = services.index.session(id)
    one = services.index.statement(id, seq)
    (with_rows,) = islice(with_contents(iter([one]), services.settings.tape_directory, found), 1)
    part = is_fragment(request)
    return render(
        request,
        "fragments/result.html" if part else "result.html",
        one=with_rows,
        results=results_of(with_rows),
        level="h3" if part else "h2",
    )


def _read(
    request: Request, services: Services, reader: Reader, session: str, seq: int, *, part: bool
) -> Statement:
    """Raises NotFoundError, ConflictError, UnavailableError."""
    id = reader.check_session(services.index, session)
    if part:
        readings.note_part(request, reader, "replay", id, results=False)
    else:
        readings.note(request, reader, "statement", id, seq=seq)
    return services.index.statement(id, seq)


def _around(request: Request, services: Services, reader: Reader, statement: Statement) -> dict[str, Any]:
    """For the templates: rows, the chosen one among them. Sessions of others that are shown are noted, too.
    Raises UnavailableError."""
    own = in_session(services.index, statement, NEIGHBOURS + 1)  # one more tells where a transaction ends
    shared = on_connection(services.index, statement, NEIGHBOURS, reader.restrict(Filters()))
    others = {each.session for each in (*shared.before, *shared.after)} - {statement.session}
    for other in sorted(others):
        readings.note_part(request, reader, "around", other, beside=statement.session)
    return {
        "own": [
            row
            for row in rows_of(_all(own, statement), statement.started_at)
            if abs(row.statement.seq - statement.seq) <= NEIGHBOURS
        ],
        "shared": [row_of(each) for each in _all(shared, statement)] if others else [],
        "others": len(others),
    }


def _all(around: Around, statement: Statement) -> list[Statement]:
    return [*around.before, statement, *around.after]
