"""One session's conversation: requests joined with their answers.

The rule: whatever the server answers belongs to the oldest request that is not answered yet. Requests
queue up as the client sends them; ``runs`` knows what they run.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from pgwitness.statements import functions, unanswered
from pgwitness.statements.documents import Failed, Origin
from pgwitness.statements.requests import COPY_DATA, COPY_DONE, COPY_FAIL, copy_in, request_of
from pgwitness.statements.runs import Runs, Settle
from pgwitness.statements.state import (
    BIND,
    CLOSE,
    DESCRIBE,
    EXECUTE,
    FUNCTION,
    PARSE,
    QUERY,
    SYNC,
    Failure,
    Request,
    Run,
)
from pgwitness.wire.codec import ErrorFields, MalformedPayloadError, parse_error
from pgwitness.wire.messages import parse_notification, parse_parameter_description, string, text

_MAX_TAGS = 1000
_MAX_WAITING, _SMALL = 128 << 20, 64 << 10
"""Once that many bytes of requests wait for an answer, a further one is held up to a small head."""
_MAX_RESULT = 64 << 20  # bytes of rows, or of COPY data, that are held of one statement for who asks for them

Tell = Callable[[int, dict[str, Any]], None]
"""(time, event)"""


class Conversation:
    """``tell`` gets what happens beside statements."""

    STATE = ("ordinal", "queue", "failure", "sink")

    def __init__(self, origin: Origin, keep_results: bool, tell: Tell, settle: Settle) -> None:
        self.runs = Runs(origin, keep_results, settle)
        self.tell = tell
        self.ordinal = 0
        self.queue: deque[Request] = deque()
        self.failure: Failure | None = None
        self.sink: Request | None = None
        """The last Query or Execute: CopyData belongs to it."""
        self._handlers: dict[int, Callable[[bytes, int, int], None]] = {
            0x31: self._parse_complete,
            0x32: self._bind_complete,
            0x33: self._close_complete,
            0x74: self._parameter_description,
            0x54: self._row_description,
            0x6E: self._no_data,
            0x44: self._data_row,
            0x43: self._command_complete,
            0x49: self._empty_query,
            0x73: self._portal_suspended,
            0x45: self._error,
            0x47: self._copy_begins,
            0x48: self._copy_out_begins,
            0x57: self._copy_both_begins,
            0x64: self._copy_data,
            0x56: self._function_response,
            0x5A: self._ready,
            0x53: self._parameter_status,
            0x41: self._notification,
        }

    # --- the client ---

    def client(self, kind: int, payload: bytes, length: int, at: int, position: int) -> None:
        self.ordinal += 1
        if kind in (COPY_DATA, COPY_DONE, COPY_FAIL):
            if self.sink is not None:
                most = _MAX_RESULT if self.runs.keep else 0
                copy_in(self.sink.copies, kind, length, self.ordinal, payload, most)
            return
        if len(payload) > _SMALL and sum(waiting.size for waiting in self.queue) > _MAX_WAITING:
            payload = payload[:_SMALL]
        whole = len(payload) == length
        request = request_of(kind, payload, whole, self.ordinal, at, position, self.runs.encoding)
        if request is None:
            return
        if kind in (EXECUTE, QUERY):
            self.sink = request
        if self.failure is not None:
            if kind != SYNC:
                unanswered.skip(self.runs, self.failure, request)
                return
            self._conclude()
        self.queue.append(request)

    # --- the server ---

    def server(self, kind: int, payload: bytes, length: int, at: int) -> None:
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(payload, length, at)

    def elided(self, messages: int, size: int) -> None:
        """Data messages of the server that passed and were not kept."""
        if (run := self._current()) is None:
            return
        if run.copy:
            run.copy_messages += messages
            run.copy_bytes += size - 5 * messages
            run.copy_elided = True
        else:
            run.rows_elided += messages
            run.row_bytes += size

    def _head(self, *kinds: int) -> Request | None:
        """The oldest request, if it is of one of these kinds."""
        if self.queue and self.queue[0].kind in kinds:
            return self.queue[0]
        return None

    def _current(self) -> Run | None:
        """The statement that the server works on."""
        request = self._head(QUERY, EXECUTE)
        if request is None or (request.kind == QUERY and request.answered()):
            return None
        return self.runs.running(request)

    def _parse_complete(self, payload: bytes, length: int, at: int) -> None:
        if request := self._head(PARSE):
            self.queue.popleft()
            assert request.prepared is not None
            self.runs.prepared[request.name] = request.prepared

    def _bind_complete(self, payload: bytes, length: int, at: int) -> None:
        if request := self._head(BIND):
            self.queue.popleft()
            portal = request.portal
            assert portal is not None
            portal.prepared = self.runs.prepared.get(portal.source)
            self.runs.close_portal(request.name)
            self.runs.portals[request.name] = portal

    def _close_complete(self, payload: bytes, length: int, at: int) -> None:
        if request := self._head(CLOSE):
            self.queue.popleft()
            if request.of_portal:
                self.runs.close_portal(request.name)
            else:
                self.runs.prepared.pop(request.name, None)

    def _parameter_description(self, payload: bytes, length: int, at: int) -> None:
        if (request := self._head(DESCRIBE)) and (prepared := self.runs.prepared.get(request.name)):
            try:
                prepared.oids = parse_parameter_description(payload)
            except MalformedPayloadError:
                return

    def _row_description(self, payload: bytes, length: int, at: int) -> None:
        if request := self._head(DESCRIBE):
            self.queue.popleft()
            self._described(request, payload)
        elif run := self._current():
            run.columns = payload

    def _no_data(self, payload: bytes, length: int, at: int) -> None:
        if request := self._head(DESCRIBE):
            self.queue.popleft()
            self._described(request, b"")

    def _described(self, request: Request, columns: bytes) -> None:
        target = (self.runs.portals if request.of_portal else self.runs.prepared).get(request.name)
        if target is not None:
            target.columns = columns

    def _data_row(self, payload: bytes, length: int, at: int) -> None:
        if run := self._current():
            run.rows += 1
            run.row_bytes += length + 5
            if not self.runs.keep:
                return
            if run.row_bytes <= _MAX_RESULT:
                run.data.append(payload)
            else:
                run.truncated = True

    def _copy_begins(self, payload: bytes, length: int, at: int) -> None:
        run = self._current()
        if run is None or run.copy:  # a message that the parser did not understand may copy twice
            return
        request = self.queue[0]
        run.copy, run.copy_binary = "in", payload[:1] == b"\1"
        run.copy_index = request.copies_begun
        request.copies_begun += 1

    def _copy_out_begins(self, payload: bytes, length: int, at: int) -> None:
        if run := self._current():
            run.copy, run.copy_binary = "out", payload[:1] == b"\1"

    def _copy_both_begins(self, payload: bytes, length: int, at: int) -> None:
        if run := self._current():
            run.copy = "both"

    def _copy_data(self, payload: bytes, length: int, at: int) -> None:
        if run := self._current():
            run.copy_bytes += length
            run.copy_messages += 1
            if not self.runs.keep:
                return
            if run.copy_bytes <= _MAX_RESULT and len(payload) == length:
                run.data.append(payload)
            else:
                run.truncated = True

    def _command_complete(self, payload: bytes, length: int, at: int) -> None:
        if (request := self._head(QUERY, EXECUTE)) is None:
            return
        run = self.runs.running(request)
        tag = text(payload, self.runs.encoding)
        if len(run.tags) < _MAX_TAGS:
            run.tags.append(tag)
        elif tag in ("COMMIT", "ROLLBACK"):  # how a transaction ended matters more than what is told of it
            run.tags[-1] = tag
        if request.kind == EXECUTE:
            self._executed(request, run)
            self.runs.finish(request, run, "ok", at)
        elif not run.whole:
            self.runs.next_part(request, at)
            self.runs.finish(request, run, "ok", at)

    def _empty_query(self, payload: bytes, length: int, at: int) -> None:
        if (request := self._head(QUERY, EXECUTE)) is None:
            return
        run = self.runs.running(request)
        if request.kind == EXECUTE:
            self._executed(request, run)
        else:
            self.runs.next_part(request, at)
        self.runs.finish(request, run, "ok", at)

    def _executed(self, request: Request, run: Run) -> None:
        self.queue.popleft()
        if run.portal is not None:
            run.portal.run = None
        if run.copy == "in":
            copies = request.copies
            self._swallow_syncs(copies[run.copy_index].end if run.copy_index < len(copies) else 0)

    def _swallow_syncs(self, before: int) -> None:
        """While it copies in, the server ignores Sync: those that the client sent before the copy's end
        get no answer.
        """
        while self.queue and self.queue[0].kind == SYNC and self.queue[0].ordinal < before:
            self.queue.popleft()

    def _portal_suspended(self, payload: bytes, length: int, at: int) -> None:
        if request := self._head(EXECUTE):
            run = self.runs.running(request)
            self.queue.popleft()
            run.until = at
            if run.portal is None:
                self.runs.finish(request, run, "ok", at)
            else:
                run.portal.run = run

    def _function_response(self, payload: bytes, length: int, at: int) -> None:
        if (request := self._head(FUNCTION)) and request.index == 0:
            run = self.runs.running(request)
            run.columns = functions.description(*request.function)
            run.rows, run.row_bytes = 1, length
            if self.runs.keep:
                run.data.append(b"\0\1" + payload)
            request.index = 1
            self.runs.finish(request, run, "ok", at)

    def _ready(self, payload: bytes, length: int, at: int) -> None:
        """What has no answer by now will get none: frames were lost, or the server broke the protocol."""
        while self.queue:
            request = self.queue.popleft()
            if request.kind == QUERY and request.run is not None and request.run.tags:
                run = request.run
                self.runs.next_part(request, at)
                self.runs.finish(request, run, "ok", at)
            if request.kind in (QUERY, EXECUTE, FUNCTION):
                unanswered.leave(self.runs, request, "unfinished")
            if request.kind in (SYNC, QUERY, FUNCTION):
                break
        self.runs.ready(payload, at)

    def _error(self, payload: bytes, length: int, at: int) -> None:
        fields = parse_error(payload, self.runs.encoding)
        if not self.queue:
            self.tell(at, _event("server_error", fields))
            return
        request = self.queue[0]
        if request.kind in (QUERY, FUNCTION) and request.answered():
            self.tell(at, _event("server_error", fields))
        elif request.kind in (QUERY, FUNCTION):
            self._query_failed(request, fields, at)
        elif request.kind == SYNC:
            self.runs.ledger.fail(0, fields.sqlstate)
            self.tell(at, _event("commit_failed", fields))
        else:
            self.queue.popleft()
            self._extended_failed(request, fields, at)

    def _query_failed(self, request: Request, fields: ErrorFields, at: int) -> None:
        run = self.runs.running(request)
        parts = request.parts
        if (
            request.index == 0
            and parts
            and len(parts) > 1
            and unanswered.beyond_first(request.sql, parts[0], fields)
        ):
            # The server's grammar refused the whole message, so none of it ran.
            run.sql, run.whole = request.sql, True
            request.parts = [request.sql]
        self.runs.next_part(request, at)
        self._finish_failed(request, run, fields, at)
        unanswered.leave(self.runs, request, "skipped")

    def _finish_failed(self, request: Request, run: Run, fields: ErrorFields, at: int) -> None:
        failed = Failed(fields.sqlstate, fields.message, fields.detail)
        self.runs.finish(request, run, self.runs.failed_status(run, fields.sqlstate), at, failed)

    def _extended_failed(self, request: Request, fields: ErrorFields, at: int) -> None:
        failure = Failure(fields.sqlstate, fields.message, fields.detail, request, at)
        if request.kind == EXECUTE:
            self._execute_failed(request, fields, at)
            failure.told = True
        elif request.kind in (PARSE, BIND):
            failure.culprit, failure.culprit_portal = request.prepared, request.portal
            unanswered.skip(self.runs, failure, request)
            if request.kind == PARSE and not request.name:
                self.runs.prepared.pop("", None)  # dropped before the server looks at the new one
        elif request.of_portal:
            failure.culprit_portal = self.runs.portals.get(request.name)
        else:
            failure.culprit = self.runs.prepared.get(request.name)
        self.failure = failure
        while self.queue and self.queue[0].kind != SYNC:
            unanswered.skip(self.runs, failure, self.queue.popleft())
        if self.queue:
            self._conclude()

    def _execute_failed(self, request: Request, fields: ErrorFields, at: int) -> None:
        run = self.runs.running(request)
        if run.portal is not None:
            run.portal.run = None
        if run.copy == "in":
            # A Sync before the data was swallowed by the copy; one behind the data that failed ends the
            # skipping.
            copies = request.copies
            begun = run.copy_index < len(copies)
            self._swallow_syncs(copies[run.copy_index].first if begun else self.ordinal + 1)
        self._finish_failed(request, run, fields, at)

    def _conclude(self) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            unanswered.conclude(self.runs, failure)

    # --- the end ---

    def end(self, reason: str) -> None:
        """The session is over: every request without an answer stays without."""
        self._conclude()
        waiting, self.queue = list(self.queue), deque()
        unanswered.abandon(self.runs, waiting, reason, lost=False)
        self.runs.transactions.abandon_prepared()

    def lose(self) -> None:
        """Frames were lost: what waits is unfinished, and what becomes of its transaction is unknown."""
        self._conclude()
        explicit = self.runs.ledger.explicit
        waiting, self.queue = list(self.queue), deque()
        unanswered.abandon(self.runs, waiting, "frames were lost", lost=True)
        self.runs.ledger.explicit = explicit
        self.sink = None

    # --- at any time ---

    def _parameter_status(self, payload: bytes, length: int, at: int) -> None:
        name, end = string(payload, 0, self.runs.encoding)
        value = text(payload[end:], self.runs.encoding)
        self.runs.parameter(name, value)
        self.tell(at, {"event": "parameter", "name": name, "value": value})

    def _notification(self, payload: bytes, length: int, at: int) -> None:
        try:
            pid, channel, body = parse_notification(payload, self.runs.encoding)
        except MalformedPayloadError:
            return
        self.tell(at, {"event": "notification", "channel": channel, "payload": body, "pid": pid})


def _event(name: str, fields: ErrorFields) -> dict[str, Any]:
    return {
        "event": name,
        "severity": fields.severity,
        "sqlstate": fields.sqlstate,
        "message": fields.message,
        "detail": fields.detail,
    }
