"""One message at a time on a stream of the core: how every conversation of the tunnel begins."""

from __future__ import annotations

from typing import Final

from pgwitness._core import Stream
from pgwitness.wire import tunnel
from pgwitness.wire.tunnel import Message

IDLE_SECONDS: Final = 15
"""Silence after which the kernel asks whether the peer is there: also what keeps a NAT's memory fresh."""
DEAD_SECONDS: Final = 8
"""How long what was sent may stay unacknowledged before the peer counts as gone."""


async def send(stream: Stream, message: Message) -> None:
    """Raises StreamError."""
    await stream.write(tunnel.encode(message))


async def receive(stream: Stream) -> Message:
    """Nothing is read beyond the message. Raises StreamError, MalformedTunnelMessageError."""
    head = await stream.read_exactly(tunnel.HEAD_BYTES)
    return tunnel.decode(await stream.read_exactly(tunnel.body_length(head)))


async def watch_peer(stream: Stream) -> None:
    """Let the kernel find out when the peer has vanished without a word. Raises StreamError."""
    await stream.keep_alive(IDLE_SECONDS, DEAD_SECONDS)


async def allow_pauses(stream: Stream) -> None:
    """From now on the peer may stop reading for as long as it likes: Linux counts a closed window as silence,
    also while the peer acknowledges (tcp_probe_timer). That it is gone, the heartbeats tell. Raises
    StreamError."""
    await stream.keep_alive(IDLE_SECONDS, 0)
