"""A session's frames, kept on disk while they are read twice: in a file that has no name, so that nobody else
finds it and nothing of it stays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from pgwitness.errors import RecordBroken
from pgwitness.record import stream
from pgwitness.statements.assembler import CLIENT, Frame
from pgwitness.wire.splitter import MalformedMessageError, Message, MessageSplitter

_WHOLE = 1 << 31
"""PostgreSQL's longest message is 1 GiB."""

ClientMessage = tuple[int, int, bytes]
"""(ordinal among all that the client sent, type byte, payload)"""


class Spool:
    """Use as a context manager. ``pieces`` are those of ``record.stream.pack``."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Raises RecordBroken for a stream that was cut off, OSError."""
        self._file = tempfile.TemporaryFile(prefix="pgwitness-")  # noqa: SIM115  closed by our own __exit__
        try:
            for piece in pieces:
                self._file.write(piece)
            self.first = next(self.frames(), None)
        except BaseException:
            self._file.close()
            raise
        if self.first is None:
            self._file.close()
            raise RecordBroken("nothing of this session is on record")

    @property
    def session(self) -> bytes:
        assert self.first is not None
        return self.first[0]

    def frames(self) -> Iterator[Frame]:
        """One reader at a time."""
        self._file.seek(0)
        yield from stream.unpack(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class ClientMessages:
    """The client's messages, whole, out of its frames."""

    def __init__(self) -> None:
        self._splitter = MessageSplitter(_WHOLE)
        self._ordinal = 0

    def feed(self, frame: Frame) -> Iterator[ClientMessage]:
        """Those that the frame completes. Raises MalformedMessageError behind the last one."""
        if frame[2] != CLIENT:
            return
        messages: list[Message] = []
        broken = None
        try:
            self._splitter.feed_into(frame[5], messages)
        except MalformedMessageError as error:
            broken = error
        for kind, payload, _ in messages:
            self._ordinal += 1
            yield self._ordinal, kind, payload
        if broken is not None:
            raise broken
