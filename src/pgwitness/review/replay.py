"""One session, statement by statement, as it happened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgwitness.index.store import IndexReader


def replay(
    index: IndexReader, tape: Path, session: str, *, results: bool = False
) -> Iterator[dict[str, Any]]:
    """The session's header, its statements and events in order, its end, each with its ``kind``:
    ``session``, ``statement``, ``event``, ``end``. Memory holds one page of it.

    ``results`` reads the tape again, and a statement's ``result`` then has the recorded rows as ``data``.
    Raises NotFoundError, ConflictError.
    """
    raise NotImplementedError
