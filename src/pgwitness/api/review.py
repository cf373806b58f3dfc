"""Routes of review: sessions and statements. Long answers are JSON Lines and stream, so they may be of
any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from inspect import Parameter, Signature
from itertools import chain
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import ServicesHere
from pgwitness.api.openapi import document, streams
from pgwitness.api.services import Services
from pgwitness.errors import NotFoundError, UnavailableError
from pgwitness.index.events import list_events
from pgwitness.index.filters import FILTERS, Filters, parse
from pgwitness.index.status import index_status
from pgwitness.index.store import Page, Session
from pgwitness.review.export import FORMATS, MEDIA_TYPES, export_session, file_name
from pgwitness.review.replay import replay
from pgwitness.review.sessions import list_sessions, show_session
from pgwitness.review.statements import iterate_statements, list_statements, show_statement
from pgwitness.sealing.offer import Heads
from pgwitness.sealing.status import record_status
from pgwitness.statements.model import Statement

JSON_LINES = "application/jsonl"
_PIECE = 64 * 1024

router = APIRouter()
_encoder = msgspec.json.Encoder()


def _filters(**given: str | None) -> Filters:
    return parse(given)


_filters.__signature__ = Signature(  # type: ignore[attr-defined]
    [
        Parameter(
            each.name,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, Query(description=each.help, examples=[each.example])],
        )
        for each in FILTERS
    ]
)


def _current(services: ServicesHere) -> Services:
    """Where no gateway keeps the index up to date, whoever reads it does."""
    if services.live is None:
        from pgwitness.index.catchup import (
            catch_up,
        )  # loads PostgreSQL's parser, which administration needs not

        catch_up(services.settings.state, text=services.settings.index.text)
    return services


FiltersHere = Annotated[Filters, Depends(_filters)]
Current = Annotated[Services, Depends(_current)]
ExportFormat = Annotated[str, Query(json_schema_extra={"enum": list(FORMATS)})]
Limit = Annotated[int, Query(ge=1, le=10_000)]


@router.get("/sessions", dependencies=[May.read], **document(Page[Session]))
def sessions(
    services: Current, reader: ReaderHere, filters: FiltersHere, limit: Limit = 100, cursor: str | None = None
) -> Response:
    """A page, the newest first: ``items``, and the cursor of the ``next`` page or null."""
    filters = reader.restrict(filters)
    if filters.on_statements:
        note_listing(services, reader.actor, filters, action="sessions")
    return _json(list_sessions(services.index, filters, limit=limit, cursor=cursor))


@router.get("/sessions/{session}", dependencies=[May.read])
def session(session: str, services: Current, reader: ReaderHere) -> Response:
    """All about one session but its statements."""
    id = reader.check_session(services.index, session)
    services.note_reading(reader.actor, "session", id)
    shown = show_session(services.index, id)
    # Who holds a session, and why, is not for whom it may be held against.
    hold = services.catalog.keeping.held(id) if reader.may("auditor") else None
    shown["hold"] = hold and {"by": hold.actor, "reason": hold.reason, "at": hold.at}
    return _json(shown)


@router.get("/sessions/{session}/replay", dependencies=[May.read], **streams(JSON_LINES))
def session_replay(session: str, services: Current, reader: ReaderHere, results: bool = False) -> Response:
    """JSON Lines: the header, statements and events in order, the end."""
    id = reader.check_session(services.index, session)
    services.note_reading(reader.actor, "replay", id, results=results)
    documents = replay(services.index, services.settings.tape_directory, id, results=results)
    return _stream((_encoder.encode(document) + b"\n" for document in documents), JSON_LINES)


@router.get("/sessions/{session}/export", dependencies=[May.read], **streams(*MEDIA_TYPES.values()))
def session_export(
    session: str, services: Current, reader: ReaderHere, format: ExportFormat = "jsonl"
) -> Response:
    """The session as a file of that format."""
    return export_answer(services, reader, session, format)


@router.get("/sessions/{session}/bundle", dependencies=[May.read], **streams("application/zip"))
def session_bundle(session: str, services: Current, reader: ReaderHere) -> Response:
    """The session as an evidence bundle, which proves itself: the same as an export of format bundle."""
    return export_answer(services, reader, session, "bundle")


def export_answer(services: Services, reader: Reader, session: str, format: str) -> Response:
    """The file, for a page, too. Raises NotFoundError, ConflictError, InvalidError, UnavailableError."""
    id = reader.check_session(services.index, session)
    services.note_reading(reader.actor, "export", id, format=format)
    pieces = export_session(services.index, services.settings.tape_directory, id, format)
    answer = _stream(pieces, MEDIA_TYPES[format])
    answer.headers["Content-Disposition"] = f'attachment; filename="{file_name(id, format)}"'
    return answer


@router.post("/sessions/{session}/kill", dependencies=[May.operate])
def session_kill(session: str, services: ServicesHere, reader: ReaderHere) -> dict[str, Any]:
    """End a live session. Its id, or a unique head or tail of it."""
    if services.live is None:
        raise UnavailableError(
            "no gateway is running on this state directory, so no session is open",
            hint="start it with: pgwitness gateway",
        )
    found = _live(services, session, reader)
    if not services.live.kill(found, reader.actor):
        raise NotFoundError(f"session {found} is not open any more")
    services.catalog.log(reader.actor, "session.kill", found)
    return {"session": found, "killed": True}


@router.get("/statements", dependencies=[May.read], **document(Page[Statement]))
def statements(
    services: Current,
    reader: ReaderHere,
    filters: FiltersHere,
    limit: Limit = 100,
    cursor: str | None = None,
    newest: bool = False,
) -> Response:
    """A page, in the order in which they reached the server: ``items``, and the cursor of the ``next``
    page.
    """
    filters = reader.restrict(filters)
    note_listing(services, reader.actor, filters)
    return _json(list_statements(services.index, filters, limit=limit, cursor=cursor, newest=newest))


@router.get("/statements/stream", dependencies=[May.read], **streams(JSON_LINES))
def statements_stream(
    services: Current,
    reader: ReaderHere,
    filters: FiltersHere,
    limit: Annotated[int | None, Query(ge=1)] = None,
    newest: bool = False,
) -> Response:
    """JSON Lines: all of them, in the order in which they reached the server."""
    filters = reader.restrict(filters)
    note_listing(services, reader.actor, filters)
    found = iterate_statements(services.index, filters, limit=limit, newest=newest)
    return _stream((_encoder.encode(statement) + b"\n" for statement in found), JSON_LINES)


@router.get("/statements/{session}/{seq}", dependencies=[May.read], **document(Statement))
def statement(session: str, seq: int, services: Current, reader: ReaderHere) -> Response:
    """One statement."""
    id = reader.check_session(services.index, session)
    services.note_reading(reader.actor, "statement", id, seq=seq)
    return _json(show_statement(services.index, id, seq))


@router.get("/events", dependencies=[May.oversee])
def events(
    services: Current,
    filters: FiltersHere,
    event: str | None = None,
    limit: Limit = 100,
    cursor: str | None = None,
) -> Response:
    """A page of what the recorder said outside of sessions, the newest first."""
    return _json(list_events(services.index, filters, event, limit=limit, cursor=cursor))


@router.get("/record", dependencies=[May.oversee])
def record(services: ServicesHere) -> dict[str, Any]:
    """How far the sealed record is behind the tape, its latest checkpoint, and where heads are sent."""
    return record_status(services.settings.state)


@router.get("/record/head", dependencies=[May.oversee], response_class=PlainTextResponse)
def record_head(services: ServicesHere) -> str:
    """The latest checkpoint that may leave the house: a signed note, to be kept elsewhere."""
    return _there(lambda: Heads(services.settings.state).latest().decode())


@router.get("/record/key", dependencies=[May.oversee], response_class=PlainTextResponse)
def record_key(services: ServicesHere) -> str:
    """The public key that checkpoints are signed with, to verify on another machine."""
    return _there(lambda: Heads(services.settings.state).verifier()) + "\n"


@router.get("/index", dependencies=[May.read])
def index(services: ServicesHere, reader: ReaderHere) -> dict[str, Any]:
    """How far the index is behind the tape. Who may not see all gets null for counts, and of problems only
    whether there are any.
    """
    status = index_status(services.settings.state)
    if reader.sees_all:
        return status
    some = [{"problem": "a part of the tape could not be read"}] if status["problems"] else []
    return status | {"position": None, "sessions": None, "statements": None, "problems": some}


def _there(read: Callable[[], str]) -> str:
    """What the sealer has made. Raises UnavailableError if it has not yet."""
    try:
        found = read()
    except OSError:
        found = ""
    if not found.strip():
        raise UnavailableError(
            "there is no sealed record yet", hint="the gateway makes it: pgwitness gateway"
        )
    return found


def note_listing(services: Services, actor: str, filters: Filters, *, action: str = "statements") -> None:
    """Note that what these filters find is read. ``match`` and ``words`` are told without their text, which
    may be somebody's data: the log is never erased.
    """
    session = services.index.resolve(filters.session, filters.scope) if filters.session else ""
    given = {
        name: value
        for name, value in asdict(filters).items()
        if value is not None and name not in ("session", "scope")
    }
    if filters.scope is not None and filters.scope.connections is not None:
        given["connections"] = list(filters.scope.connections)
    for private in {"match", "words"} & given.keys():
        given[private] = True
    told = {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()
    }
    services.note_reading(actor, action, session or "all sessions", **told)


def _live(services: Services, text: str, reader: Reader) -> str:
    """The full id of a live session, which the index may not know yet."""
    assert services.live is not None
    open_now = [str(each["session"]) for each in services.live.list() if reader.reaches(each["connection"])]
    wanted = text.lower().replace("-", "")
    matching = [each for each in open_now if wanted in (each, each.replace("-", ""))]
    matching = (
        matching
        or [each for each in open_now if wanted and each.replace("-", "").startswith(wanted)]
        or [each for each in open_now if wanted and each.replace("-", "").endswith(wanted)]
    )
    if len(matching) == 1:
        return matching[0]
    found = reader.check_session(services.index, text)
    if found in open_now:
        return found
    raise NotFoundError(f"session {found} is not open any more")


def _json(document: Any) -> Response:
    return Response(_encoder.encode(document), media_type="application/json")


def _stream(lines: Iterable[bytes], media_type: str) -> StreamingResponse:
    """The first piece is made before the answer begins, so that an error in the question is still an
    error.
    """
    pieces = _pieces(lines)
    first = next(pieces, b"")
    return StreamingResponse(chain([first], pieces), media_type=media_type)


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Joined to pieces that are worth sending."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
