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
    if reader.sees_all:
        layout = Layout(state / "record")
        context = {
            "health": recorder_health(state, sealing=services.settings.seal.enabled),
            "sealed": record_status(state),
            "verifier": _text(layout.verifier),
            "checkpoint": _text(layout.checkpoint),
        }
    return render(request, "record.html", **_verification(services, reader, chosen), **context)


@router.get("/fragments/verification")
def verification(request: Request, services: ServicesHere, reader: ReaderHere, session: str = "") -> Response:
    found = _verification(services, reader, session.strip() or None)
    return render(request, "fragments/verification.html", **found)


@router.post("/record/verify")
def verify(services: ServicesHere, reader: ReaderHere, session: Annotated[str, Form()] = "") -> Response:
    """That one is under way already is as good. Who may not ask for the whole record is told so by its
    page."""
    chosen = session.strip() or None
    try:
        if chosen is not None or reader.sees_all:
            start(VerifyWhat(session=chosen), services, reader)
    except ConflictError:
        if services.verifications.running is None:
            raise
    return RedirectResponse(address("/record", {"session": chosen} if chosen else {}), 303)


def _verification(services: Services, reader: Reader, session: str | None) -> dict[str, Any]:
    """Who sees only some connections has nothing to see of the whole record."""
    if session is None and not reader.sees_all:
        view = VerificationView(running=None, last=None)
    else:
        view = verification_view(services, reader, session)
    return {
        "session": None if session is None else reader.check_session(services.index, session),
        "running": view.running,
        "last": view.last,
        "problems_shown": PROBLEMS_SHOWN,
    }


def _text(path: Any) -> str | None:
    try:
        return str(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
