"""Frames of the tape in, events out: a pure function over one session's frames.

The same frames give the same events, whenever and in whatever portions they are read: what is between
two frames can be stored (``snapshot``) and continued (``restore``). What is held is bounded by a limit
for each message and by what the client keeps open in the server: its prepared statements, its portals,
its unanswered requests.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any, Literal
from uuid import UUID

import msgspec

from pgwitness.statements import snapshot
from pgwitness.statements.conversation import Conversation
from pgwitness.statements.documents import Origin, rfc3339
from pgwitness.statements.model import (
    Event,
    SessionEnded,
    SessionEvent,
    SessionStarted,
    StatementRecorded,
)
from pgwitness.statements.names import Path
from pgwitness.statements.runs import Runs
from pgwitness.statements.state import STRUCTS
from pgwitness.statements.transactions import Ledger
from pgwitness.wire.messages import python_encoding
from pgwitness.wire.splitter import MalformedMessageError, Message, MessageSplitter

Frame = tuple[bytes, int, int, int, int, bytes]
"""(session id, sequence, kind, time in ns since the epoch, position, payload), as ``_core.Frame``"""

SESSION_STARTED, CLIENT, SERVER, ELIDED, EVENT, SESSION_ENDED = range(1, 7)

DEFAULT_LIMIT = 32 << 20
_ELIDED = Struct("<QQ")
_COPY_DATA, _DATA = b"d", b"dD"  # messages that are counted, not read
_BATCH = 256  # statements whose outcome is set in place; of earlier ones it is told by an event
_NOBODY = bytes(16)
_STRUCTS = (*STRUCTS, Ledger, Path, Origin)


class SessionAssembler:
    """The reader of one session. ``limit`` is how many bytes of a message are kept; beyond it, the head
    is, and the statement is flagged as truncated. ``keep_results`` gives statements their decoded rows and
    the data of COPY.
    """

    def __init__(self, keep_results: bool = False, limit: int = DEFAULT_LIMIT) -> None:
        self._keep = keep_results
        self._client = MessageSplitter(limit, b"" if keep_results else _COPY_DATA)
        self._server = MessageSplitter(limit, b"" if keep_results else _DATA)
        self._deaf: list[int] = []
        """Directions whose message boundaries are lost."""
        self._sequence = -1
        self._ended = False
        self._session = ""
        self._position = 0
        self._events: list[Event] = []
        self._open(Origin(""))

    def _open(self, origin: Origin) -> None:
        self._conversation = Conversation(origin, self._keep, self._tell, self._events.append)

    @property
    def ended(self) -> bool:
        """The session's last frame was read."""
        return self._ended

    @property
    def awaits(self) -> Literal["", "answer", "data"]:
        """What is due after what was read so far: an answer of the server, which may be waiting for Sync or
        Flush; data of the client, which a COPY asked for; or nothing."""
        queue = self._conversation.queue
        if not queue:
            return ""
        request = queue[0]
        run, copies = request.run, request.copies
        if run is None or run.copy != "in":
            return "answer"
        return "answer" if run.copy_index < len(copies) and copies[run.copy_index].end else "data"

    @property
    def in_block(self) -> bool:
        """Between BEGIN and its end, as far as the server has answered."""
        return self._conversation.runs.ledger.explicit

    @property
    def encoding(self) -> str:
        """Python's name of the session's ``client_encoding``."""
        return self._conversation.runs.encoding

    def at_message(self, ordinal: int) -> None:
        """The client's next message is that one, for who does not feed all of them."""
        self._conversation.ordinal = ordinal - 1

    def feed(self, frame: Frame) -> list[Event]:
        """What became known with this frame."""
        session, sequence, kind, at, position, payload = frame
        self._position = self._conversation.runs.transactions.position = position
        if sequence != self._sequence + 1 and not self._in_sequence(session, sequence, kind, at):
            return self._take()
        self._sequence = sequence
        if kind == SERVER:
            self._server_chunk(payload, at)
        elif kind == CLIENT:
            self._client_chunk(payload, at)
        elif kind == ELIDED:
            messages, size = _ELIDED.unpack(payload)
            self._conversation.elided(messages, size)
        else:
            self._other(session, kind, at, payload)
        return self._take()

    def _client_chunk(self, chunk: bytes, at: int) -> None:
        messages = self._split(self._client, CLIENT, chunk, at)
        client, position = self._conversation.client, self._position
        for kind, payload, length in messages:
            client(kind, payload, length, at, position)

    def _server_chunk(self, chunk: bytes, at: int) -> None:
        messages = self._split(self._server, SERVER, chunk, at)
        server, batch = self._conversation.server, self._conversation.runs.batch
        for kind, payload, length in messages:
            server(kind, payload, length, at)
            if len(batch) >= _BATCH:
                self._flush()

    def _split(self, splitter: MessageSplitter, direction: int, chunk: bytes, at: int) -> list[Message]:
        messages: list[Message] = []
        if direction in self._deaf:
            return messages
        try:
            splitter.feed_into(chunk, messages)
        except MalformedMessageError as error:
            self._deaf.append(direction)
            side = "client" if direction == CLIENT else "server"
            self._tell(at, {"event": "malformed", "direction": side, "detail": str(error)})
        return messages

    def _other(self, session: bytes, kind: int, at: int, payload: bytes) -> None:
        if kind == SESSION_STARTED:
            self._start(session, at, _document(payload))
        elif kind == EVENT:
            event = _document(payload)
            if event.get("event") == "cancel_requested":
                self._conversation.runs.cancel(at, self._position)
            self._tell(at, event)
        elif kind == SESSION_ENDED:
            ending = _document(payload)
            reason = str(ending.get("reason", "unknown"))
            self._conversation.end(reason)
            self._flush()
            self._events.append(
                SessionEnded(self._session, self._position, rfc3339(at), reason, ending.get("detail"))
            )
            self._ended = True

    def _start(self, session: bytes, at: int, header: dict[str, Any]) -> None:
        self._session = str(header.get("session") or UUID(bytes=session))
        self._open(Origin.of(self._session, header))
        runs = self._conversation.runs
        asked = (header.get("client") or {}).get("parameters") or {}
        runs.encoding = python_encoding(str(asked.get("client_encoding", "UTF8")))
        if path := asked.get("search_path"):
            runs.names.start(str(path))
        for name, value in ((header.get("upstream") or {}).get("parameters") or {}).items():
            runs.parameter(str(name), str(value))
        self._events.append(SessionStarted(self._session, self._position, rfc3339(at), header))

    def _in_sequence(self, session: bytes, sequence: int, kind: int, at: int) -> bool:
        """What a sequence that is not the next one means; False if the frame was read before."""
        if not self._session:  # the reader joins in the middle: the segment with the header is gone
            self._session = str(UUID(bytes=session))
            self._open(Origin(self._session))
            self._conversation.runs.transactions.position = self._position
            self._sequence = sequence - 1
            return True
        if sequence <= self._sequence:
            return False
        gap = {"event": "sequence_gap", "expected": self._sequence + 1, "found": sequence}
        self._tell(at, gap)
        if kind != SESSION_ENDED:
            self._conversation.lose()
            self._client.resynchronise()
            self._server.resynchronise()
        return True

    def _tell(self, at: int, event: dict[str, Any]) -> None:
        self._events.append(SessionEvent(self._session, self._position, rfc3339(at), event))

    def _flush(self) -> None:
        batch = self._conversation.runs.batch
        if batch:
            self._conversation.runs.give_out()
            session, position = self._session, self._position
            self._events.extend([StatementRecorded(session, position, statement) for statement in batch])
            batch.clear()

    def _take(self) -> list[Event]:
        self._flush()
        events = self._events[:]
        self._events.clear()
        return events

    # --- between frames ---

    _STATE = ("_keep", "_sequence", "_ended", "_session", "_position", "_deaf")

    def snapshot(self) -> bytes:
        """Everything that the frames so far left behind, for ``restore``."""
        conversation, runs = self._conversation, self._conversation.runs
        roots = [getattr(self, name) for name in self._STATE]
        roots += [self._client.snapshot(), self._server.snapshot(), runs.origin]
        roots += [getattr(conversation, name) for name in Conversation.STATE]
        roots += [getattr(runs, name) for name in Runs.STATE]
        with runs.parted():
            return snapshot.freeze(roots, _STRUCTS)

    @classmethod
    def restore(cls, data: bytes) -> "SessionAssembler":
        """The assembler that ``snapshot`` was called on. ValueError if ``data`` is no snapshot of this
        version.
        """
        roots = snapshot.thaw(data, _STRUCTS)
        if len(roots) != len(cls._STATE) + 3 + len(Conversation.STATE) + len(Runs.STATE):
            raise ValueError("a snapshot of another version")
        assembler = cls()
        values = iter(roots)
        for name in cls._STATE:
            setattr(assembler, name, next(values))
        assembler._client = MessageSplitter.restore(next(values))
        assembler._server = MessageSplitter.restore(next(values))
        assembler._open(next(values))
        conversation = assembler._conversation
        for part in (conversation, conversation.runs):
            for name in part.STATE:
                setattr(part, name, next(values))
        conversation.runs.attach()
        return assembler


def _document(payload: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return {"event": "unreadable"}
    return document if isinstance(document, dict) else {"event": "unreadable"}


def assemble(frames: Iterable[Frame], keep_results: bool = False) -> Iterator[Event]:
    """The events of many sessions whose frames are interleaved, in the order of the frames."""
    sessions: dict[bytes, SessionAssembler] = {}
    for frame in frames:
        session = frame[0]
        if session == _NOBODY:
            continue
        assembler = sessions.get(session)
        if assembler is None:
            assembler = sessions[session] = SessionAssembler(keep_results)
        yield from assembler.feed(frame)
        if assembler.ended:
            del sessions[session]
