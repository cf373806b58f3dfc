"""Sessions, as a person asks for them. An id may be given by a unique head or tail of it: the heads of
sessions that began at about the same time look alike, their tails do not."""

from typing import Any

import msgspec

from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, Page, Session


def list_sessions(
    index: IndexReader, filters: Filters, *, limit: int = 100, cursor: str | None = None
) -> Page[Session]:
    """The newest first. Filters on statements choose sessions with at least one such statement. Raises
    InvalidError."""
    return index.sessions(filters, limit=limit, cursor=cursor)


def show_session(index: IndexReader, session: str) -> dict[str, Any]:
    """All about one session but its statements: counts, ``header`` (identity, claims, client, upstream),
    ``events``.

    Raises NotFoundError, ConflictError.
    """
    found = index.session(session)
    shown: dict[str, Any] = msgspec.to_builtins(found.session)
    shown["header"] = found.header
    shown["events"] = found.events
    return shown


def resolve(index: IndexReader, session: str) -> str:
    """The full id. Raises NotFoundError, ConflictError."""
    return index.resolve(session)
