"""Errors as pages, where a page was asked for; the API's answers stay problem JSON.

Who is not signed in goes to the sign-in page, which leads back to where they wanted to go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from pgwitness.api.app import PREFIX as API
from pgwitness.api.problems import problem
from pgwitness.errors import AuthenticationFailed, InvalidError, NotFoundError, WitnessError
from pgwitness.identity.tokens import redacted
from pgwitness.web.assets import PREFIX as STATIC
from pgwitness.web.headers import harden
from pgwitness.web.rendering import is_fragment, render

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]

SIGN_IN: Final = "/sign-in"
_PLAIN: Final = (f"{API}/", "/metrics", "/health", STATIC)


def install(app: FastAPI) -> None:
    """Put pages before the application's own answers to errors."""
    for kind in (WitnessError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _page_or(app.exception_handlers[kind]))


def _page_or(plain: Any) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        if request.url.path.startswith(_PLAIN):
            answered = plain(request, error)
            answer: Response = await answered if isawaitable(answered) else answered
        else:
            answer = answer_with_page(request, error)
        harden(answer.headers)
        return answer

    return handle


def answer_with_page(request: Request, error: Exception) -> Response:
    if isinstance(error, AuthenticationFailed):
        return to_sign_in(request)
    found = _explained(request, error)
    document = problem(found)
    template = "fragments/problem.html" if is_fragment(request) else "problem.html"
    return render(request, template, document["status"], problem=document)


def to_sign_in(request: Request) -> Response:
    back = redacted(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
    where = SIGN_IN if back == "/" or request.method != "GET" else f"{SIGN_IN}?next={quote(back, safe='/')}"
    if is_fragment(request):
        # A part of a page that outlived its sign-in: the whole page goes.
        return Response(status_code=204, headers={"HX-Redirect": SIGN_IN})
    return RedirectResponse(where, 303)


def _explained(request: Request, error: Exception) -> WitnessError:
    if isinstance(error, WitnessError):
        return error
    if isinstance(error, RequestValidationError):
        names = sorted({str(each["loc"][-1]) for each in error.errors()})
        return InvalidError(f"this does not make sense: {', '.join(names)}")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return NotFoundError(f"there is nothing at {request.url.path}")
    return WitnessError("pgwitness failed to make this page", hint="its log says why")
