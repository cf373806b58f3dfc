"""Sessions that have at least one statement of those that are asked for, the newest first.

A session's number grows with its first frame, and all its statements come after that. So blocks are gone
through from the newest on, and it is enough to have reached the beginning of the last session of the page.
"""

from sqlalchemy import Connection, select

from pgwitness.index import tables
from pgwitness.index.blocks import Kind, unpack
from pgwitness.index.filters import Filters
from pgwitness.index.search import Hits, Search

_MARK = tables.marks.c
_SESSION = tables.sessions.c
BLOCKS_AT_A_TIME = 64


def sessions_having(connection: Connection, filters: Filters, limit: int, before: int | None) -> list[int]:
    """Numbers, at most so many, descending, all less than ``before``."""
    search = Search(connection, filters)
    found: set[int] = set()
    waiting: list[Hits] = []
    enough: int | None = None
    for hits in search.hits(backwards=True):
        waiting.append(hits)
        if len(waiting) < min(BLOCKS_AT_A_TIME, 1 + len(found)):
            continue
        _collect(connection, search, waiting, found, before)
        waiting.clear()
        if len(found) >= limit:
            last = sorted(found, reverse=True)[limit - 1]
            query = select(_SESSION.first_position).where(_SESSION.number == last)
            enough = connection.scalar(query)
        if enough is not None and hits.first[0] <= enough:
            break
    _collect(connection, search, waiting, found, before)
    return sorted(found, reverse=True)[:limit]


def _collect(
    connection: Connection, search: Search, waiting: list[Hits], found: set[int], before: int | None
) -> None:
    by_block = {hits.block: hits for hits in waiting}
    query = select(_MARK.block, _MARK.value, _MARK.bits).where(
        _MARK.block.in_(list(by_block)), _MARK.kind == int(Kind.SESSION)
    )
    if before is not None:
        query = query.where(_MARK.value < before)
    exact: dict[int, int] = {}
    for block, session, bits in connection.execute(query):
        if session in found:
            continue
        mine = unpack(bits)
        hits = by_block[block]
        if not mine & hits.bits:
            continue
        if block not in exact:
            exact[block] = search.exact(hits)
        if mine & exact[block]:
            found.add(session)
