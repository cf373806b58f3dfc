"""Routes of verification: begin one in the background, and see how far it is and what the last one found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.context import ServicesHere
from pgwitness.api.review import Current
from pgwitness.api.services import Services
from pgwitness.api.verifying import Running
from pgwitness.errors import ForbiddenError

router = APIRouter()


class VerifyWhat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    session: str | None = Field(None, description="one session; null: the whole record")


class VerificationRunning(BaseModel):
    session: str | None
    asked_by: str
    started_at: datetime
    step: str | None = Field(description="the step under way; null: it has just begun")
    done: int = Field(description="of that step")
    in_all: int


class VerificationResult(BaseModel):
    session: str | None
    asked_by: str
    started_at: datetime
    ended_at: datetime
    report: dict[str, Any] | None = Field(
        description="as `pgwitness verify --format json` prints it; `size`, `root` and `signed` name the "
        "checkpoint that it is about"
    )
    failed: str | None = Field(description="why there is no report")


class VerificationView(BaseModel):
    running: VerificationRunning | None
    last: VerificationResult | None


@router.post("/verify", status_code=202, dependencies=[May.review])
def start(what: VerifyWhat, services: Current, reader: ReaderHere) -> VerificationRunning:
    """Verify the record, or one session of it, in the background. There is one at a time."""
    session = _session(services, reader, what.session)
    running = services.verifications.start(session, asked_by=reader.actor)
    services.catalog.log(reader.actor, "verify", session or "the whole record")
    return _running(running)


@router.get("/verify", dependencies=[May.review])
def state(services: ServicesHere, reader: ReaderHere, session: str | None = None) -> VerificationView:
    """The verification under way, if there is one, and the last result: of the record, or of a session."""
    return verification_view(services, reader, session)


def verification_view(services: Services, reader: Reader, session: str | None) -> VerificationView:
    """For pages, too. Raises NotFoundError, ConflictError, ForbiddenError."""
    wanted = _session(services, reader, session)
    running = services.verifications.running
    if running is not None and not reader.sees_all and running.session != wanted:
        running = None
    last = services.verifications.last(wanted)
    return VerificationView(
        running=None if running is None else _running(running),
        last=None if last is None else VerificationResult.model_validate(last),
    )


def _running(running: Running) -> VerificationRunning:
    return VerificationRunning.model_validate(running, from_attributes=True)


def _session(services: Services, reader: Reader, session: str | None) -> str | None:
    if session is not None:
        return reader.check_session(services.index, session)
    if not reader.sees_all:
        raise ForbiddenError(
            "a token for some connections may not verify the whole record", hint="name a session of them"
        )
    return None
