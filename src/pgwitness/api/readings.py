"""The route by which a tool that reads for somebody says so, under its own name, before it reads."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pgwitness.api.access import May, ReaderHere
from pgwitness.api.context import ServicesHere

router = APIRouter()

_Short = Annotated[str, StringConstraints(max_length=200)]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,39}$")]


class Reading(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tool: _Name
    subject: _Short = Field("", description="the session, as it is asked for; empty: none in particular")
    asked: dict[_Name, bool | int | _Short] = Field(default_factory=dict, max_length=20)


@router.post("/readings", status_code=204, dependencies=[May.read])
def note(reading: Reading, services: ServicesHere, reader: ReaderHere) -> None:
    """Note in the audit and on the tape that the reader is about to read by means of this tool. What is then
    read is noted by itself, too."""
    asked = {f"asked_{name}": value for name, value in reading.asked.items()}
    services.note_reading(reader.actor, f"by_tool.{reading.tool}", reading.subject, **asked)
