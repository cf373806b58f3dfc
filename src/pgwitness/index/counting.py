"""How many statements some filters find, as far as that can be said soon."""

import time
from typing import Final, NamedTuple

from pgwitness.index.filters import Filters
from pgwitness.index.search import Search
from pgwitness.index.store import IndexReader

SECONDS: Final = 1.0


class Count(NamedTuple):
    statements: int
    complete: bool
    """False: there are at least so many; time was up."""


def count(index: IndexReader, filters: Filters, *, seconds: float = SECONDS) -> Count:
    """Counts for so long, and a block's time more. Raises NotFoundError, ConflictError."""
    deadline = time.monotonic() + seconds
    found = 0
    with index.connection() as connection:
        if connection is None:
            return Count(0, True)
        search = Search(connection, filters)
        for hits in search.hits():
            found += search.exact(hits).bit_count()
            if time.monotonic() > deadline:
                return Count(found, False)
    return Count(found, True)
