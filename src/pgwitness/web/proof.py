"""Verification: how far the signed record is, a verification now and what the last one found, and what an
auditor takes away to verify elsewhere.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import ServicesHere
from pgwitness.api.services import Services
from pgwitness.api.verify import VerificationView, VerifyWhat, start, verification_view
from pgwitness.errors import ConflictError
from pgwitness.record.layout import Layout
from pgwitness.review.health import recorder_health
from pgwitness.sealing.status import record_status
from pgwitness.web.filtering import address
from pgwitness.web.rendering import render
from pgwitness.web.viewer import page_router

PROBLEMS_SHOWN: Final = 50

router = page_router(May.review)


@router.get("/record")
def record(request: Request, services: ServicesHere, reader: ReaderHere, session: str = "") -> Response:
    """Of the whole record, or of one session in it: then also for who sees only some connections."""
    chosen = session.strip() or None
    state = services.settings.state
    context: dict[str, Any] = {"health": None, "sealed": None, "verifier": None, "checkpoint": None}
    view = verification_view(services, reader, chosen)
    if reader.sees_all:
        layout = Layout(state / "record")
        context = {
            "health": recorder_health(state, sealing=services.settings.seal.enabled),
            "sealed": record_status(state),
            "verifier": _text(layout.verifier),
            "checkpoint": _text(layout.checkpoint),
        }
    return render(request, "record.html", session=_id(services, reader, chosen), **_of(view), **context)


@router.get("/fragments/verification")
def verification(request: Request, services: ServicesHere, reader: ReaderHere, session: str = "") -> Response:
    chosen = session.strip() or None
    view = verification_view(services, reader, chosen)
    return render(request, "fragments/verification.html", session=_id(services, reader, chosen), **_of(view))


@router.post("/record/verify")
def verify(services: ServicesHere, reader: ReaderHere, session: Annotated[str, Form()] = "") -> Response:
    """That one is under way already is as good."""
    chosen = session.strip() or None
    try:
        start(VerifyWhat(session=chosen), services, reader)
    except ConflictError:
        if services.verifications.running is None:
            raise
    return RedirectResponse(address("/record", {"session": chosen} if chosen else {}), 303)


def _of(view: VerificationView) -> dict[str, Any]:
    return {"running": view.running, "last": view.last, "problems_shown": PROBLEMS_SHOWN}


def _id(services: Services, reader: Reader, session: str | None) -> str | None:
    return None if session is None else reader.check_session(services.index, session)


def _text(path: Any) -> str | None:
    try:
        return str(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
