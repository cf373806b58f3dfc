"""What the numbers of a blast radius leave out, as sentences: each is there because something in the scope
makes it true, and says how much of the scope that is."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, or_, select

from pgwitness.index import queries, tables
from pgwitness.index.filters import FILTERS, Filters
from pgwitness.review.blast.tally import TEXTS_READ, Tally
from pgwitness.review.text import counted

NAMES_SHOWN = 8

_SESSION = tables.sessions.c


class Circumstances(NamedTuple):
    """What the index says of the scope beside its statements."""

    open: int
    erased: int
    erased_anywhere: int
    """In all of what the reader may see: an erased session has lost its run."""
    problems: int
    text: str
    """How much of texts the index keeps."""


def circumstances(connection: Connection, filters: Filters) -> Circumstances:
    def count(*conditions: ColumnElement[bool]) -> int:
        return connection.scalar(select(func.count()).select_from(tables.sessions).where(*conditions)) or 0

    scope = [*queries.of_sessions(connection, filters), *queries.session_times(filters)]
    meta = tables.meta.c
    erased = _SESSION.erased.is_not(None)
    return Circumstances(
        count(*scope, _SESSION.ended.is_(None)),
        count(*scope, erased),
        count(*queries.within(filters.scope), *queries.session_times(filters), erased),
        _problems(connection, scope),
        connection.scalar(select(meta.value).where(meta.name == "text")) or "all",
    )


def _problems(connection: Connection, scope: list[ColumnElement[bool]]) -> int:
    """Places of the tape that cannot be read, where they may hold something of the scope."""
    first, last = connection.execute(
        select(func.min(_SESSION.first_position), func.max(_SESSION.last_position)).where(*scope)
    ).one()
    if first is None:
        return 0
    problem = tables.problems.c
    theirs = select(_SESSION.id).where(*scope)
    near = (problem.session == "") & problem.position.between(first, last)
    query = select(func.count()).select_from(tables.problems)
    return connection.scalar(query.where(or_(problem.session.in_(theirs), near))) or 0


def unseen(tally: Tally, around: Circumstances, filters: Filters) -> list[str]:
    return [
        *_of_the_record(tally, around, filters),
        *_of_outcomes(tally, around),
        *_of_counts(tally),
        *_behind_names(tally),
    ]


def _of_the_record(tally: Tally, around: Circumstances, filters: Filters) -> Iterator[str]:
    narrowed = [
        f"--{each.option}"
        for each in FILTERS
        if each.on_statements and getattr(filters, each.name) is not None
    ]
    if narrowed:
        yield f"Only statements that match {', '.join(narrowed)} are counted here."
    if around.erased:
        yield f"{counted(around.erased, 'session')} of this scope erased: what they did is not here any more."
    elif around.erased_anywhere and filters.run:
        erased = counted(around.erased_anywhere, "session")
        yield f"{erased} of that time erased: whether they were of this run is not known any more."
    if around.problems:
        yield (
            f"The tape cannot be read at {counted(around.problems, 'place')} within the time of this scope: "
            "statements may be missing (pgwitness index status)."
        )
    if around.text != "all" and tally.statements:
        yield (
            f"The index keeps no full texts (index.text = {around.text}): where a text does not tell, "
            "a write counts for the first table that its command names."
        )
    elif tally.marks["truncated"]:
        yield _marked(tally, "truncated", "statement", "not whole in the index: the rest of it is not seen")
    for mark, what, sentence in _UNREAD:
        if tally.marks[mark]:
            yield _marked(tally, mark, what, sentence)


_UNREAD = (
    (
        "not understood",
        "statement",
        "not understood by PostgreSQL's parser: the server's tags count, for no table where none is known",
    ),
    (
        "unread",
        "statement",
        f"beyond the first {TEXTS_READ:,} texts: the server's tags count, for the first table named",
    ),
)


def _marked(tally: Tally, mark: str, what: str, sentence: str) -> str:
    return f"{counted(tally.marks[mark], what)} {sentence}."


def _of_outcomes(tally: Tally, around: Circumstances) -> Iterator[str]:
    outcomes = {outcome for _, outcome in tally.not_committed}
    if around.open:
        yield f"{counted(around.open, 'session')} still open: more may come."
    if "in_doubt" in outcomes:
        yield (
            "Writes in doubt: the connection was lost at COMMIT, or another session may have committed what "
            "was prepared. Only the database knows."
        )
    if "open" in outcomes:
        yield "Writes of open transactions: their outcome is not known yet."


def _of_counts(tally: Tally) -> Iterator[str]:
    for name, text in _UNCOUNTED.items():
        if tally.uncounted[name]:
            yield f"Rows not known: {counted(tally.uncounted[name], 'write')} {text}."
    if any(key[3] == "MERGE" for key in tally.writes):
        yield "MERGE: rows inserted, updated and deleted are one number."
    for mark, what, sentence in _ONE_NUMBER:
        if tally.marks[mark]:
            yield _marked(tally, mark, what, sentence)
    if tally.fetched:
        yield f"FETCH brought {tally.fetched:,} rows out of cursors: they are in no table's number."
    if any(not read.columns_known for read in tally.reads.values()):
        yield (
            "Columns are not named where the text does not say whose they are (subqueries, joins without "
            "aliases). The tape has the server's numbers of tables and columns; the names are in its catalog."
        )


_UNCOUNTED = {
    "TRUNCATE": "by TRUNCATE, whose tag has no count",
    "REFRESH MATERIALIZED VIEW": "by REFRESH MATERIALIZED VIEW",
    "CREATE TABLE AS": "by CREATE TABLE AS without data",
    "part": "by a part of a statement (WITH, EXPLAIN ANALYZE, COPY of a query): the tag counts other rows",
    "left": "by statements that ended without a tag, as when a portal is left before its end",
    "unfinished": "by statements that have no answer",
}
"""By ``tally._why``."""

_ONE_NUMBER = (
    ("upsert", "INSERT", "with ON CONFLICT DO UPDATE: rows inserted and rows updated are one number"),
    (
        "execute",
        "EXECUTE",
        "of what was prepared in SQL: counted by the server's tag, for the first table that it names",
    ),
    ("copy unknown", "COPY", "in a direction that is not known: not counted"),
)


def _behind_names(tally: Tally) -> Iterator[str]:
    written = {key[3] for key in tally.writes} | {key[3] for key, _ in tally.not_committed}
    if written & {"UPDATE", "DELETE", "MERGE"} or tally.marks["upsert"]:
        yield "Foreign keys with ON DELETE or ON UPDATE actions: rows of other tables are not counted."
    if written:
        yield (
            "Triggers, rules and views on the tables written: what they changed is not seen. A partitioned "
            "table is counted under the name that was used."
        )
    if tally.functions:
        names = [f"{name} ({count:,})" for name, count in tally.functions.most_common(NAMES_SHOWN)]
        more = len(tally.functions) - NAMES_SHOWN
        others = f" and {more} more" if more > 0 else ""
        yield f"Functions called, which may have done anything: {', '.join(names)}{others}."
    for mark, what, sentence in _HIDDEN:
        if tally.marks[mark]:
            yield _marked(tally, mark, what, sentence)


_HIDDEN = (
    ("cascade", "statement", "with CASCADE: what went with it is not named"),
    ("do", "DO block", "ran: what is inside is not seen"),
    ("call", "CALL", "of a procedure: what it did, and what it committed itself, is not seen"),
    ("protocol", "function call", "of the protocol (large objects): not counted as rows"),
    ("program", "COPY", "with PROGRAM: it ran a program on the server"),
)
