"""What every route needs: the services, and who is asking."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from pgwitness.api.access import ReaderHere
from pgwitness.api.services import Services


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def get_actor(reader: ReaderHere) -> str:
    """Who asks and from where, in words for the audit."""
    return reader.actor


ServicesHere = Annotated[Services, Depends(get_services)]
Actor = Annotated[str, Depends(get_actor)]
