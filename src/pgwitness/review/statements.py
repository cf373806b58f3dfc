"""Statements, within a session and across all, in the order in which they reached the server.

``msgspec.json.encode`` of a statement is the document of docs/statements.md.
"""

from collections.abc import Iterator

from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, Page
from pgwitness.statements.model import Statement


def list_statements(
    index: IndexReader, filters: Filters, *, limit: int = 100, cursor: str | None = None, newest: bool = False
) -> Page[Statement]:
    """The first ones, or with ``newest`` the last ones, ascending either way; the cursor goes away from
    the end at which the first page lies. Raises InvalidError, and NotFoundError and ConflictError for
    ``filters.session``."""
    return index.statements(filters, limit=limit, cursor=cursor, newest=newest)


def iterate_statements(
    index: IndexReader, filters: Filters, *, limit: int | None = None, newest: bool = False
) -> Iterator[Statement]:
    """As ``list_statements``, however many: memory holds one page."""
    return index.iterate(filters, limit=limit, newest=newest)


def show_statement(index: IndexReader, session: str, seq: int) -> Statement:
    """Raises NotFoundError, ConflictError."""
    return index.statement(session, seq)
