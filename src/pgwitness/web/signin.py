"""Sign-in and sign-out. A token is posted once, in a form's body; from then on a cookie stands for it."""

from __future__ import annotations

import math
from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from pgwitness.api.access import Counted, May
from pgwitness.api.gate import Gate
from pgwitness.api.problems import problem
from pgwitness.api.signin import clear_cookie, set_cookie
from pgwitness.errors import AuthenticationFailed, PermissionDenied, TooManyRequests, WitnessError
from pgwitness.web.going import within
from pgwitness.web.problems import SIGN_IN
from pgwitness.web.rendering import render
from pgwitness.web.viewer import page_router

LONGEST_TOKEN: Final = 1000

open_router = APIRouter(include_in_schema=False)
"""For who is not signed in."""
router = page_router(May.read)


@open_router.get(SIGN_IN)
def show_sign_in(
    request: Request, _: Counted, next: Annotated[str, Query(max_length=4000)] = "/"
) -> Response:
    return render(request, "sign_in.html", next=within(next), problem=None)


@open_router.post(SIGN_IN)
def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=LONGEST_TOKEN)] = "",
    next: Annotated[str, Form(max_length=4000)] = "/",
) -> Response:
    gate: Gate = request.app.state.gate
    try:
        signed_in = gate.sign_in(request, token)
    except (AuthenticationFailed, PermissionDenied, TooManyRequests) as error:
        return _refused(request, next, error)
    answer = RedirectResponse(within(next), 303)
    set_cookie(answer, request, signed_in)
    return answer


@open_router.get("/sign-in/state")
def state(request: Request) -> JSONResponse:
    """Whether the browser is signed in after all. A browser that comes by another site's link does not send
    its cookie with that request, but does with those of the page that it gets."""
    try:
        request.app.state.gate.admit(request)
    except WitnessError:
        return JSONResponse({"signed_in": False})
    return JSONResponse({"signed_in": True})


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    request.app.state.gate.sign_out(request)
    answer = RedirectResponse(SIGN_IN, 303)
    clear_cookie(answer, request)
    return answer


def _refused(request: Request, next: str, error: WitnessError) -> Response:
    document = problem(error)
    if isinstance(error, AuthenticationFailed):
        document |= {
            "message": "This token is not known, has expired or was revoked.",
            "hint": "On the gateway's machine: pgwitness token issue YOU --role auditor",
        }
    answer = render(request, "sign_in.html", document["status"], next=within(next), problem=document)
    if isinstance(error, TooManyRequests):
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return answer
