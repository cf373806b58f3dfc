"""Search over all statements: every filter of the index, in the address, so that an address is the search."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Annotated, Final, Literal

from fastapi import Query, Request, Response
from fastapi.responses import StreamingResponse

from pgwitness.api.access import May, ReaderHere
from pgwitness.api.problems import problem
from pgwitness.api.review import Current, note_listing
from pgwitness.errors import InvalidError, NotFoundError
from pgwitness.index.counting import count
from pgwitness.index.filters import Filters
from pgwitness.index.store import Page
from pgwitness.review.export import as_csv, as_jsonl
from pgwitness.review.statements import iterate_statements, list_statements
from pgwitness.statements.model import Statement
from pgwitness.web import filtering
from pgwitness.web.formats import iso
from pgwitness.web.rendering import render
from pgwitness.web.showing import row_of
from pgwitness.web.viewer import page_router

PAGE: Final = 100
_WRITERS: Final = {"jsonl": as_jsonl, "csv": as_csv}
_MEDIA: Final = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}

Order = Literal["newest", "first"]

router = page_router(May.read)
Cursor = Annotated[str | None, Query(max_length=64)]


@router.get("/search")
def search(
    request: Request,
    services: Current,
    reader: ReaderHere,
    order: Order = "newest",
    cursor: Cursor = None,
) -> Response:
    """``newest`` shows the last ones, the newest on top; ``first`` the first ones, as they ran."""
    page: Page[Statement] = Page([])
    refused = asked = None
    try:
        asked = filtering.filters(request)
        wanted = reader.restrict(asked)
        note_listing(services, reader.actor, wanted)
        page = list_statements(services.index, wanted, limit=PAGE, cursor=cursor, newest=order == "newest")
    except (InvalidError, NotFoundError) as error:
        refused = problem(error)
    found = page.items[::-1] if order == "newest" else page.items
    given = filtering.given(request)
    return render(
        request,
        "search.html",
        refused["status"] if refused else 200,
        form=filtering.form(request, reader),
        given=given,
        rows=[row_of(each) for each in found],
        order=order,
        cursor=cursor,
        following=page.next,
        problem=refused,
        fixed=filtering.address("/search", given, **_fixed_times(asked)) if asked else None,
        address=filtering.address,
    )


@router.get("/search/count")
def counted(request: Request, services: Current, reader: ReaderHere) -> Response:
    """How many the filters find. It shows nothing of them, but a number tells whether a text is there."""
    wanted = reader.restrict(filtering.filters(request))
    note_listing(services, reader.actor, wanted, action="count")
    found = count(services.index, wanted)
    return render(request, "fragments/count.html", count=found)


@router.get("/search/download/{format}")
def download(format: str, request: Request, services: Current, reader: ReaderHere) -> Response:
    """All that the filters find, in the order in which it reached the server."""
    if format not in _WRITERS:
        raise NotFoundError(f"there is no download as {format!r}")
    wanted = reader.restrict(filtering.filters(request))
    note_listing(services, reader.actor, wanted)
    pieces = _WRITERS[format](iterate_statements(services.index, wanted))
    return StreamingResponse(
        _begun(pieces),
        media_type=_MEDIA[format],
        headers={"Content-Disposition": f'attachment; filename="statements.{format}"'},
    )


def _fixed_times(asked: Filters) -> dict[str, str | None]:
    """Spans before now as times, so that the address finds the same tomorrow."""
    return {
        name: iso(moment)
        for name in ("since", "until")
        if isinstance(moment := getattr(asked, name), datetime)
    }


def _begun(pieces: Iterator[str]) -> Iterator[bytes]:
    """The first piece is made before the answer begins, so that an error is still a page."""
    first = next(pieces, "")
    return (piece.encode() for piece in chain([first], pieces))
