"""From a template and its values to a page.

Everything that a template puts out is escaped, and ``formats.shown`` makes an agent's text harmless to the
eye; a name that a template does not know is an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import pgwitness
from pgwitness.api.access import Reader
from pgwitness.api.problems import problem
from pgwitness.errors import WitnessError
from pgwitness.web import formats, highlight
from pgwitness.web.assets import asset
from pgwitness.web.navigation import navigation
from pgwitness.web.viewer import viewer_of

TEMPLATES: Final = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=formats.shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(formats.FILTERS)
    made.filters.update(highlight.FILTERS)
    made.globals.update(asset=asset, version=pgwitness.__version__)
    return made


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """The page, or the fragment of one, that a template makes of ``context``. Templates also know ``viewer``
    (None before sign-in), ``path``, ``navigation`` and ``csrf_field()``, which every form that posts
    holds."""
    viewer = viewer_of(request)
    text = (
        environment()
        .get_template(template)
        .render(
            viewer=viewer,
            path=request.url.path,
            navigation=navigation(viewer, request.url.path),
            csrf_field=lambda: _csrf_field(viewer),
            **context,
        )
    )
    return HTMLResponse(text, status)


def render_after(request: Request, template: str, error: WitnessError | None, **context: Any) -> HTMLResponse:
    """The page on which something was tried, with what was refused as ``problem``; None: nothing was."""
    refused = None if error is None else problem(error)
    return render(request, template, refused["status"] if refused else 200, problem=refused, **context)


def _csrf_field(viewer: Reader | None) -> Markup:
    """Nothing for who did not come by a cookie: then nobody else can ask in their name."""
    if viewer is None or viewer.csrf is None:
        return Markup("")
    return Markup('<input type="hidden" name="csrf" value="{}">').format(viewer.csrf)


def is_fragment(request: Request) -> bool:
    """Whether htmx asks for a part of the page that it has."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-boosted") != "true"
