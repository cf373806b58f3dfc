"""What every route needs: the services, and who is asking."""

from __future__ import annotations

import getpass
from typing import Annotated

from fastapi import Depends, Request

from pgwitness.api.services import Services
from pgwitness.errors import AuthenticationFailed


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def get_actor(request: Request) -> str:
    """Who asks and from where, in words for the audit. Raises AuthenticationFailed, PermissionDenied.

    That an application is local is said where it is made, by who knows on what it will be served;
    nothing in a request can make it so.
    """
    if request.app.state.local:
        return f"local:{_user()}"
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthenticationFailed(
            "a token is needed",
            hint="send the header: Authorization: Bearer TOKEN, with a token of role admin",
        )
    principal = get_services(request).directory.bearer(token.strip())
    address = f" from {request.client.host}" if request.client and request.client.host else ""
    return f"{principal.identity} (token {principal.token_id}){address}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in /etc/passwd, as in some containers
        return "unknown"


ServicesHere = Annotated[Services, Depends(get_services)]
Actor = Annotated[str, Depends(get_actor)]
