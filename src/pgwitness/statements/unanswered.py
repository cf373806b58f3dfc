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
from pgwitness.statements.transactions import IMMEDIATE
from pgwitness.wire.codec import ErrorFields

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
    fate = _Fate(runs, reason)
    for request in waiting:
        if request.kind == PARSE and request.prepared is not None:
            runs.prepared[request.name] = request.prepared
        elif request.kind == BIND and request.portal is not None:
            request.portal.prepared = runs.prepared.get(request.portal.source)
            runs.portals[request.name] = request.portal
        elif request.kind in (QUERY, EXECUTE, FUNCTION):
            while not request.answered():
                run = runs.running(request)
                runs.next_part(request, request.at)
                runs.finish(request, run, "unfinished", None)
                if not lost:
                    fate.pass_statement(run.sql)
        if request.kind in (QUERY, SYNC, FUNCTION) and not lost:
            fate.pass_boundary()
    runs.close_portals(forget=not lost)
    if lost:
        runs.transactions.abandon("in_doubt", reason)
    else:
        fate.conclude()


class _Fate:
    """What can be known of transactions whose end was not seen. What the server may have committed is in
    doubt; only what it cannot have committed, since nothing on its way would have, was rolled back when the
    session ended."""

    def __init__(self, runs: Runs, reason: str) -> None:
        self._transactions = runs.transactions
        self._reason = reason
        self._failed = runs.ledger.failed
        self._block = runs.ledger.explicit
        self._known = True
        """The transaction is the one that the server told of, not one that began unseen."""

    def pass_statement(self, sql_text: str) -> None:
        meaning = sql.describe(sql_text)
        kind = meaning.effect.kind if meaning.effect else ""
        if kind == "rollback_to":
            self._failed = False
        elif kind == "rollback":
            self._end("rolled_back" if self._known else "in_doubt", "at ROLLBACK")
        elif kind in ("commit", "prepare_transaction"):
            self._end(self._committed(), "at COMMIT")
        elif meaning is sql.UNKNOWN or (
            (meaning.command in IMMEDIATE or kind == "immediate") and not self._block
        ):
            self._end(self._committed(), "before the server's answer")

    def pass_boundary(self) -> None:
        """Where the server commits what is in no block."""
        if not self._block:
            self._end(self._committed(), "before the server's answer")

    def conclude(self) -> None:
        if not self._known:
            self._end("in_doubt", "before the server's answer")
        elif self._block or self._failed:
            self._end("rolled_back", "in mid-transaction")
        else:
            self._end("rolled_back", "before Sync")

    def _committed(self) -> Outcome:
        return "rolled_back" if self._known and self._failed else "in_doubt"

    def _end(self, outcome: Outcome, when: str) -> None:
        self._transactions.abandon(outcome, f"the session ended {when} ({self._reason})")
        self._known = self._failed = self._block = False


def beyond_first(whole: str, first: str, fields: ErrorFields) -> bool:
    """A syntax error that the server found behind the first statement, before it ran any."""
    position = fields.fields.get("P", "")
    if fields.sqlstate != "42601" or not position.isdecimal():
        return False
    return int(position) > whole.find(first) + len(first)
