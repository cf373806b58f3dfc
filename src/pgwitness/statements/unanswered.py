"""Requests that get no answer of their own: skipped after an error, cut off by the session's end, lost
with frames.
"""

from pgwitness.statements import sql
from pgwitness.statements.documents import Failed
from pgwitness.statements.model import Outcome, Status
from pgwitness.statements.runs import Runs
from pgwitness.statements.state import (
    BIND,
    EXECUTE,
    FUNCTION,
    PARSE,
    QUERY,
    SYNC,
    Failure,
    Portal,
    Prepared,
    Request,
    Run,
)

MAX_HELD, MAX_NAMES = 64 << 20, 10_000
"""A client that errs and then never says Sync can make a reader hold no more bytes and names than these."""


def skip(runs: Runs, failure: Failure, request: Request) -> None:
    """The server throws this request away, since it skips to the next Sync."""
    if request.kind in (PARSE, BIND):
        failure.held += request.size
        _name(runs, failure, request, failure.held <= MAX_HELD)
    elif request.kind == EXECUTE:
        target = failure.portals.get(request.name) or runs.portals.get(request.name)
        run = runs.new_run(request, target)
        if not failure.told and _blamed(failure, target):
            _tell(runs, failure, request, run)
        else:
            runs.finish(request, run, "skipped", None)
    elif request.kind in (QUERY, FUNCTION):
        leave(runs, request, "skipped")


def _name(runs: Runs, failure: Failure, request: Request, whole: bool) -> None:
    """What a skipped Parse or Bind would have made, without its content where too much of that is held."""
    if len(failure.prepared) + len(failure.portals) >= MAX_NAMES:
        return
    if request.prepared is not None:
        failure.prepared[request.name] = (
            request.prepared if whole else Prepared(request.name, "", truncated=True)
        )
    elif request.portal is not None:
        portal = (
            request.portal if whole else Portal(request.name, request.portal.source, None, truncated=True)
        )
        portal.prepared = failure.prepared.get(portal.source) or runs.prepared.get(portal.source)
        failure.portals[request.name] = portal


def _blamed(failure: Failure, portal: Portal | None) -> bool:
    """The Execute of this portal would have run what failed in its Parse, Bind or Describe."""
    if portal is None:
        return False
    return portal is failure.culprit_portal or (
        failure.culprit is not None and portal.prepared is failure.culprit
    )


def conclude(runs: Runs, failure: Failure) -> None:
    """The client's Sync: all that was to be skipped is known. An error of which no Execute told is told
    now.
    """
    if not failure.told:
        portal = failure.culprit_portal or Portal("", "", failure.culprit)
        _tell(runs, failure, failure.request, runs.new_run(failure.request, portal))


def _tell(runs: Runs, failure: Failure, request: Request, run: Run) -> None:
    failure.told = True
    failed = Failed(failure.sqlstate, failure.message, failure.detail)
    runs.finish(request, run, runs.failed_status(run, failure.sqlstate), failure.at, failed)


def leave(runs: Runs, request: Request, status: Status) -> None:
    """What is left of this request's statements ends without an answer."""
    while not request.answered():
        run = runs.running(request)
        runs.next_part(request, request.at)
        runs.finish(request, run, status, None)


def abandon(runs: Runs, waiting: list[Request], reason: str, lost: bool) -> None:
    """The session is over, or frames were lost: nothing of what waits will be answered any more."""
    ledger = runs.ledger
    failed, explicit = ledger.failed, ledger.explicit
    committing = ending = False
    for request in waiting:
        ending = ending or (request.kind in (QUERY, SYNC, FUNCTION) and not request.answered())
        if request.kind == PARSE and request.prepared is not None:
            runs.prepared[request.name] = request.prepared
        elif request.kind == BIND and request.portal is not None:
            request.portal.prepared = runs.prepared.get(request.portal.source)
            runs.portals[request.name] = request.portal
        elif request.kind in (QUERY, EXECUTE, FUNCTION):
            committing = committing or _may_commit(runs, request)
            leave(runs, request, "unfinished")
    runs.close_portals(forget=not lost)
    outcome, why = _outcome(failed, explicit, committing, ending, reason)
    runs.transactions.abandon("in_doubt" if lost else outcome, reason if lost else why)


def _outcome(
    failed: bool, explicit: bool, committing: bool, ending: bool, reason: str
) -> tuple[Outcome, str]:
    """What became of the transaction that was open when the session ended."""
    if failed:
        return "rolled_back", "the transaction had failed when the session ended"
    if committing:
        return "in_doubt", f"the session ended at COMMIT ({reason})"
    if explicit:
        return "rolled_back", f"the session ended in mid-transaction ({reason})"
    if ending:
        return "in_doubt", f"the session ended before the server's answer ({reason})"
    return "rolled_back", f"the session ended before Sync ({reason})"


def _may_commit(runs: Runs, request: Request) -> bool:
    if request.kind == QUERY:
        bodies = (request.parts or sql.split(request.sql))[request.index :]
    else:
        portal = runs.portals.get(request.name)
        bodies = [portal.prepared.sql] if portal is not None and portal.prepared is not None else []
    meanings = [sql.describe(body) for body in bodies]
    return any(
        meaning is sql.UNKNOWN
        or (meaning.effect and meaning.effect.kind in ("commit", "prepare_transaction"))
        for meaning in meanings
    )
