"""What forms send, as the API takes it: pages that change something hand it the same documents as the
commands do."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from pgwitness.api.schemas import NameList
from pgwitness.catalog.names import parse_names
from pgwitness.errors import InvalidError

Document = TypeVar("Document", bound=BaseModel)


async def entered(request: Request) -> dict[str, str]:
    """The fields of the form that are not empty."""
    form = await request.form()
    return {name: value.strip() for name, value in form.items() if isinstance(value, str) and value.strip()}


Entered = Annotated[dict[str, str], Depends(entered)]


def document(kind: type[Document], given: dict[str, Any]) -> Document:
    """Raises InvalidError that names the fields, never what was in them: that may be a password."""
    try:
        return kind(**given)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, each['loc']))}: {each['msg'].lower()}" for each in error.errors()]
        raise InvalidError("; ".join(parts)) from None


def names(text: str) -> NameList:
    """``A, B`` or ``any``. Raises InvalidError."""
    parsed = parse_names(text)
    return parsed if isinstance(parsed, str) else list(parsed)


def results(text: str) -> int | None:
    """Of ``none``, ``all`` or bytes. Raises InvalidError."""
    known = {"": None, "default": None, "none": 0, "all": -1}
    if text in known:
        return known[text]
    if not (text.isascii() and text.isdigit()):
        raise InvalidError("results: give default, none, all or a number of bytes")
    return int(text)
