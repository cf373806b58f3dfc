"""Chunks of the wire back to messages, in bounded memory.

A chunk is what one read brought: it may hold many messages, and a message may span many chunks.
"""

from collections.abc import Iterable
from struct import Struct

_HEADER = Struct("!BI")

Message = tuple[int, bytes, int]
"""(type byte, payload or its head, length of the whole payload); a payload shorter than that was cut."""


class MalformedMessageError(ValueError):
    """A length field below 4: the stream has no message boundaries from here on."""


class MessageSplitter:
    """One direction of one session. Holds at most ``limit`` bytes of payload, and five of header. Of the
    types in ``counted`` only the length is wanted: their payload is given as empty."""

    __slots__ = ("_counted", "_header", "_kept", "_length", "_limit", "_missing", "_type")

    def __init__(self, limit: int, counted: Iterable[int] = ()) -> None:
        self._limit = limit
        self._counted = frozenset(counted)
        self._header = b""  # an incomplete header
        self._type = 0
        self._length = 0
        self._missing = 0  # payload bytes still to come; 0 also when between messages
        self._kept = bytearray()

    @property
    def at_boundary(self) -> bool:
        """True if the last chunk ended with the end of a message."""
        return not self._missing and not self._header

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that ``chunk`` completes. Raises MalformedMessageError."""
        messages: list[Message] = []
        self.feed_into(chunk, messages)
        return messages

    def feed_into(self, chunk: bytes, messages: list[Message]) -> None:
        """As ``feed``, appending to ``messages``, so that what precedes a malformed header is not lost."""
        at, end = 0, len(chunk)
        if self._missing:
            at = self._continue(chunk, messages)
        elif self._header:
            chunk = self._header + chunk
            end = len(chunk)
            self._header = b""
        header, limit, counted = _HEADER.unpack_from, self._limit, self._counted
        while end - at >= 5:
            kind, length = header(chunk, at)
            if length < 4:
                raise MalformedMessageError(f"message type {kind:#04x} with length {length}")
            length -= 4
            at += 5
            stop = at + length
            if stop > end:
                self._type, self._length, self._missing = kind, length, length - (end - at)
                if kind not in counted:
                    self._kept += memoryview(chunk)[at : min(end, at + limit)]
                return
            if kind in counted:
                messages.append((kind, b"", length))
            else:
                messages.append((kind, chunk[at:stop] if length <= limit else chunk[at : at + limit], length))
            at = stop
        if at < end:
            self._header = chunk[at:]

    def _continue(self, chunk: bytes, messages: list[Message]) -> int:
        """Take what is missing of the open message; returns where the next one begins."""
        taken = min(self._missing, len(chunk))
        room = self._limit - len(self._kept)
        if room > 0 and self._type not in self._counted:
            self._kept += memoryview(chunk)[: min(taken, room)]
        self._missing -= taken
        if not self._missing:
            messages.append((self._type, bytes(self._kept), self._length))
            self._kept = bytearray()
        return taken

    def resynchronise(self) -> None:
        """Chunks were lost: the next one is taken to begin with a message."""
        self._header, self._missing, self._kept = b"", 0, bytearray()

    def snapshot(self) -> list[object]:
        """State as plain values, for ``restore``."""
        kept = bytes(self._kept)
        return [
            self._limit,
            sorted(self._counted),
            self._header,
            self._type,
            self._length,
            self._missing,
            kept,
        ]

    @classmethod
    def restore(cls, state: list[object]) -> "MessageSplitter":
        splitter = cls(state[0], state[1])  # type: ignore[arg-type]
        splitter._header = state[2]  # type: ignore[assignment]
        splitter._type, splitter._length, splitter._missing = state[3:6]  # type: ignore[assignment]
        splitter._kept = bytearray(state[6])  # type: ignore[call-overload]
        return splitter
