"""The route of the claims check: a testimony in, what differs from the record out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from pgwitness.api.access import May, ReaderHere
from pgwitness.api.review import JSON_LINES, Current, note_listing
from pgwitness.errors import InvalidError, TooManyRequests
from pgwitness.index.filters import Filters
from pgwitness.index.status import index_status
from pgwitness.review.claims.check import Rules, compare
from pgwitness.review.claims.model import Finding, Summary
from pgwitness.review.claims.reading import AUTO, FORMATS, MAX_BYTES, read_testimony

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_encoder = msgspec.json.Encoder()

router = APIRouter()
_one = threading.Lock()
"""A comparison takes a processor that the gateway needs: one at a time."""


async def _testimony(request: Request) -> bytes:
    return await request.body()


@router.post("/claims", dependencies=[May.read], openapi_extra=_BODY, max_body_size=MAX_BYTES)
def claims(
    services: Current,
    reader: ReaderHere,
    content: Annotated[bytes, Depends(_testimony)],
    session: Annotated[
        str | None, Query(description="Against this session: its id, or a head or tail of it.")
    ] = None,
    run: Annotated[str | None, Query(description="Against all sessions of this run.")] = None,
    format: Annotated[str, Query(description=f"One of {', '.join(FORMATS)}.")] = AUTO,
    field: Annotated[str | None, Query(description="Where the SQL is, in JSON Lines and CSV.")] = None,
    strict: Annotated[
        bool, Query(description="Count also what drivers issue, and what is not said.")
    ] = False,
    without_values: Annotated[
        bool, Query(description="The testimony need not say the values that were bound.")
    ] = False,
) -> StreamingResponse:
    """Compare what an agent says it ran with the record of a session or a run (docs/claims.md). The body is
    the testimony's file; the answer JSON Lines: the summary, then every finding in the record's order."""
    if (session is None) == (run is None):
        raise InvalidError("a session or a run is compared", hint="give one of the two")
    if session is not None:
        session = reader.check_session(services.index, session)
    filters = reader.restrict(Filters(session=session, run=run))
    note_listing(services, reader.actor, filters, action="claims")
    if not _one.acquire(blocking=False):
        raise TooManyRequests("another testimony is being compared: one at a time", retry_after=5)
    try:
        testimony = read_testimony(content, format, field)
        behind = index_status(services.settings.state)["lag_seconds"] if run is not None else 0.0
        rules = Rules(strict, without_values)
        summary, findings = compare(services.index, filters, testimony, rules, behind=behind)
    finally:
        _one.release()
    return StreamingResponse(_lines(summary, findings), media_type=JSON_LINES)


def _lines(summary: Summary, findings: list[Finding]) -> Iterator[bytes]:
    yield _encoder.encode({"type": "summary", **msgspec.to_builtins(summary)}) + b"\n"
    for finding in findings:
        yield _encoder.encode({"type": "finding", **msgspec.to_builtins(finding)}) + b"\n"
