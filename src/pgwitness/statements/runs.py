"""The statements of one session: which text, values and names a request runs, and the document when it ends.

Names of prepared statements and portals are looked up when the server takes a request, not when the
client sends it, so that a pipeline that fails half-way leaves the same names behind here as in the
server.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pgwitness.statements import documents, functions, sql
from pgwitness.statements.model import Outcome, Protocol, Statement, Status, TransactionSettled
from pgwitness.statements.names import Names, Path
from pgwitness.statements.state import FUNCTION, QUERY, Portal, Prepared, Request, Run
from pgwitness.statements.transactions import Ledger, Transactions
from pgwitness.wire.messages import python_encoding

_SECOND = 1_000_000_000

Tell = Callable[[int, dict[str, Any]], None]
"""(time, event)"""
Settle = Callable[[TransactionSettled], None]


class Runs:
    """``batch`` gets the statements that are complete; ``settle`` what became of transactions whose
    statements were given out before.
    """

    STATE = (
        *("seq", "prepared", "portals", "cancel_at", "cancel_position", "encoding", "ledger", "path"),
        "backslashes",
    )

    def __init__(self, origin: documents.Origin, keep_results: bool, settle: Settle) -> None:
        self.origin = origin
        self.keep = keep_results
        self.batch: list[Statement] = []
        self._settle = settle
        self.seq = 0
        self.prepared: dict[str, Prepared] = {}
        self.portals: dict[str, Portal] = {}
        self.cancel_at = 0
        self.cancel_position = 0
        self.encoding = "utf-8"
        self.backslashes = False
        """``standard_conforming_strings`` is off: the parser would read strings otherwise than the server."""
        self.ledger = Ledger()
        self.path = Path()
        self.attach()

    def attach(self) -> None:
        """Build what works on the state; again after the state was replaced."""
        self.names = Names(self.path)
        self.transactions = Transactions(self.ledger, self.batch, self._settle, self.origin.session)
        self._join()

    def _join(self) -> None:
        """A portal that is fetched in pages and its statement know each other."""
        for portal in self.portals.values():
            if portal.run is not None:
                portal.run.portal = portal

    @contextmanager
    def parted(self) -> Iterator[None]:
        """Only the portal knows its statement, as a snapshot has no cycles. ``attach`` joins them again."""
        for portal in self.portals.values():
            if portal.run is not None:
                portal.run.portal = None
        try:
            yield
        finally:
            self._join()

    def give_out(self) -> None:
        """What is in the batch leaves it: the ledger remembers which of it is still open."""
        ledger = self.ledger
        if ledger.current:
            for statement in self.batch:
                if statement.transaction.outcome == "open" and statement.transaction.number == ledger.number:
                    ledger.give(statement.seq)

    def cancel(self, at: int, position: int) -> None:
        """Somebody asked the server to cancel what this session runs."""
        self.cancel_at, self.cancel_position = at, position

    def parameter(self, name: str, value: str) -> None:
        """The server reported a parameter, at log-in or later."""
        if name == "client_encoding":
            self.encoding = python_encoding(value)
        elif name == "search_path":
            self.names.report(value)
        elif name == "standard_conforming_strings":
            self.backslashes = value == "off"

    def _describe(self, text: str) -> sql.Meaning:
        return sql.UNKNOWN if self._unclear(text) else sql.describe(text)

    def _unclear(self, text: str) -> bool:
        return self.backslashes and "\\" in text

    def running(self, request: Request) -> Run:
        """The statement that this Query, Execute or FunctionCall runs now; it begins if there is none."""
        run = request.run
        if run is not None:
            return run
        if request.kind == QUERY:
            run = self._new_part(request)
        else:
            portal = request.portal or self.portals.get(request.name)
            run = portal.run if portal is not None else None
            if run is None:
                run = self.new_run(request, portal)
            else:
                run.fetches += 1
        request.run = run
        return run

    def _new_part(self, request: Request) -> Run:
        if request.parts is None:
            self.prepared.pop("", None)  # the server drops the unnamed one, too
            unclear = self._unclear(request.sql)
            request.parts = [request.sql] if unclear else sql.split(request.sql) or [request.sql]
        parts = request.parts
        whole = len(parts) == 1 and request.index == 0 and self._describe(request.sql) is sql.UNKNOWN
        whole = whole or request.index == sql.MAX_PARTS - 1
        body = parts[min(request.index, len(parts) - 1)]
        self.seq += 1
        number = self.ledger.enter(self.seq)
        return Run(
            body,
            request.ordinal,
            request.began,
            request.position,
            self.seq,
            number,
            None,
            whole,
            request.truncated,
        )

    def new_run(self, request: Request, portal: Portal | None) -> Run:
        body, truncated = "", request.truncated
        if request.kind == FUNCTION:
            body = functions.text(request.function[0])
        elif portal is not None:
            truncated = truncated or portal.truncated
            if portal.prepared is not None:
                body = portal.prepared.sql
                truncated = truncated or portal.prepared.truncated
        self.seq += 1
        number = self.ledger.enter(self.seq)
        return Run(
            body, request.ordinal, request.at, request.position, self.seq, number, portal, False, truncated
        )

    def next_part(self, request: Request, at: int) -> None:
        """The request's current statement is over."""
        if request.run is not None and request.run.portal is not None:
            request.run.portal.run = None
        request.run = None
        request.index += 1
        request.began = at

    def finish(
        self,
        request: Request | None,
        run: Run,
        status: Status,
        at: int | None,
        failed: documents.Failed | None = None,
    ) -> None:
        """The statement's document is complete: write it, then draw its consequences."""
        protocol, meaning = self._understood(request, run)
        effect = meaning.effect
        relations = meaning.relations
        if (
            effect is not None
            and effect.kind == "execute"
            and (inner := self.prepared.get(effect.name or ""))
        ):
            relations = sql.describe(inner.sql).relations
        received = None
        if run.copy and request is not None and run.copy_index < len(request.copies):
            received = request.copies[run.copy_index]
        given = documents.parameters(run.portal, self.encoding) if run.portal is not None else []
        result = documents.result(run, self.keep, self.encoding)
        tables = self.names.qualify(relations)
        statement = documents.statement(
            self.origin,
            run,
            protocol,
            meaning.command,
            tables,
            status,
            at,
            failed,
            given,
            result,
            received,
        )
        if self.keep and statement.copy is not None:
            documents.copied(statement.copy, run, received, self.encoding)
            statement.truncated |= bool(received and received.truncated)
        self.batch.append(statement)
        if status == "ok":
            self._consequences(run, effect)
        elif failed is not None:
            if run.whole:  # what its statements before the failing one did, they did
                self._consequences(run, None)
            self.ledger.fail(run.seq, failed.sqlstate)

    def _understood(self, request: Request | None, run: Run) -> tuple[Protocol, sql.Meaning]:
        if request is None:
            return "extended", self._describe(run.sql)
        if request.kind == FUNCTION:
            return "function", functions.MEANING
        return "simple" if request.kind == QUERY else "extended", self._describe(run.sql)

    def _consequences(self, run: Run, effect: sql.Effect | None) -> None:
        if effect is not None:
            self._apply(run, effect)
        if effect is not None and effect.kind == "rollback_to":
            self._close_since(self.transactions.since(effect))
        for tag in run.tags:
            ends = tag in ("COMMIT", "ROLLBACK", "PREPARE TRANSACTION")
            if ends and self.portals and not (effect is not None and effect.kind == "rollback_to"):
                self.close_portals()
            self._transaction_ended(self.transactions.completed(run.seq, tag, effect))

    def _apply(self, run: Run, effect: sql.Effect) -> None:
        name = effect.name or ""
        if effect.kind == "prepare":
            self.prepared[name] = Prepared(name, run.sql)
        elif effect.kind == "deallocate" or (effect.kind == "discard" and name == "all"):
            if effect.kind == "deallocate" and name:
                self.prepared.pop(name, None)
            else:
                self.prepared.clear()
        elif effect.kind == "declare":
            self.portals[name] = Portal(name, "", Prepared("", run.sql))
        self.names.apply(effect)

    def ready(self, payload: bytes, at: int) -> None:
        status = payload[0] if payload else 0x49
        if status == 0x49 and self.portals:
            self.close_portals()
        if self.ledger.current or status != 0x49:
            self._transaction_ended(self.transactions.ready(status))
        else:
            self.ledger.explicit = False

    def _transaction_ended(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.names.transaction_ended(outcome == "committed")

    def failed_status(self, run: Run, sqlstate: str) -> Status:
        """57014 is also a timeout; the event tells whether somebody asked for it. The request to cancel
        may overtake the statement that it hits, but not by long.
        """
        if sqlstate != "57014" or not self.cancel_at:
            return "error"
        if self.cancel_position < run.position and run.at - self.cancel_at >= _SECOND:
            return "error"
        self.cancel_at = self.cancel_position = 0
        return "cancelled"

    def close_portal(self, name: str) -> None:
        """A portal is closed or replaced."""
        portal = self.portals.pop(name, None)
        if portal is not None:
            self._leave(portal)

    def close_portals(self, forget: bool = True) -> None:
        """All portals are closed; not ``forget`` ends their statements only."""
        for portal in list(self.portals.values()):
            self._leave(portal)
        if forget:
            self.portals.clear()

    def _close_since(self, seq: int | None) -> None:
        """Back to a savepoint: the server closes the portals that began to run since."""
        for name, portal in list(self.portals.items()):
            if seq is not None and portal.run is not None and portal.run.seq > seq:
                self.close_portal(name)

    def _leave(self, portal: Portal) -> None:
        """While rows are left, its statement ends here, without a tag."""
        run, portal.run = portal.run, None
        if run is not None:
            self.finish(None, run, "ok", run.until)
