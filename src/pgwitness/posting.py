"""A write that nobody waits for: a stream's operations wait in line, so what is awaited next comes after it.

A log-in is a chain of small writes and reads. Not to wait for each write saves a way to the relay thread and
back each time.
"""

import asyncio

from pgwitness._core import Stream


def post(stream: Stream, data: bytes) -> None:
    """Write ``data``. When it fails the stream is closed, and so the next operation fails too."""
    stream.write(data).add_done_callback(_take_note)


def _take_note(written: asyncio.Future[None]) -> None:
    """A failure is told by the next operation, not by the loop."""
    if not written.cancelled():
        written.exception()
