"""Errors between the API and its client: problem JSON (RFC 9457) with ``message`` and ``hint``, and back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from pgwitness import errors
from pgwitness.errors import WitnessError

MEDIA_TYPE = "application/problem+json"

KINDS: dict[str, tuple[type[WitnessError], int]] = {
    "not_found": (errors.NotFoundError, 404),
    "conflict": (errors.ConflictError, 409),
    "invalid": (errors.InvalidError, 422),
    "forbidden": (errors.ForbiddenError, 403),
    "too_many_requests": (errors.TooManyRequests, 429),
    "unavailable": (errors.UnavailableError, 503),
    "unauthenticated": (errors.AuthenticationFailed, 401),
    "permission_denied": (errors.PermissionDenied, 403),
    "upstream_unreachable": (errors.UpstreamUnreachable, 502),
    "failed": (WitnessError, 500),
}
"""The most telling class of an error is the last in its chain of classes that is here."""


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    title: str
    status: int
    kind: str
    message: str
    hint: str | None = Field(description="what to do about it")


def problem(error: WitnessError) -> dict[str, Any]:
    """The document that says what went wrong."""
    kind = next(name for cls in type(error).__mro__ for name, (known, _) in KINDS.items() if known is cls)
    return {
        "title": kind.replace("_", " "),
        "status": KINDS[kind][1],
        "kind": kind,
        "message": str(error),
        "hint": error.hint,
    }


def error_of(document: Any, status: int) -> WitnessError:
    """The error that the document tells of; a plain one if it is none of ours."""
    if not isinstance(document, dict) or "message" not in document:
        return WitnessError(f"the API answered with HTTP status {status}")
    cls = KINDS.get(str(document.get("kind")), (WitnessError, 0))[0]
    return cls(str(document["message"]), hint=document.get("hint"))
