"""From a client's first byte to its start-up packet: TLS asked for or at once, plaintext where it is allowed.

The core never reads beyond what is asked, so bytes that somebody put behind an SSLRequest in plaintext are
taken as the TLS handshake that they are not (CVE-2021-23214).
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from pgwitness._core import Stream
from pgwitness.errors import ClientError
from pgwitness.gateway.tls import ServerTls
from pgwitness.wire import codec, startup
from pgwitness.wire.startup import (
    CancelRequest,
    GssRequest,
    SslRequest,
    StartupError,
    StartupMessage,
)

Plaintext = Literal["loopback", "never", "always"]


class EncryptionRequiredError(ClientError):
    """This client may not speak plaintext."""

    sqlstate = "28000"


class NotPostgresError(Exception):
    """The peer does not speak PostgreSQL, or left before it said anything: nothing to answer."""


async def receive(stream: Stream, tls: ServerTls) -> StartupMessage | CancelRequest:
    """What the client is here for. Raises NotPostgresError, StartupError or StreamError."""
    encrypted = False
    first = await stream.peek()
    if first is None:
        raise NotPostgresError("closed without a byte")
    if first == startup.TLS_HANDSHAKE:
        await stream.start_tls_server(tls.config)
        if stream.tls is None or stream.tls.alpn != startup.ALPN:
            raise NotPostgresError("direct TLS without the ALPN protocol postgresql")
        encrypted = True
    return await _negotiate(stream, tls, encrypted)


async def _negotiate(stream: Stream, tls: ServerTls, encrypted: bool) -> StartupMessage | CancelRequest:
    may_ask_tls = may_ask_gss = not encrypted
    while True:
        head = await stream.read_exactly(4)
        packet = startup.parse_packet(await stream.read_exactly(startup.packet_length(head)))
        if isinstance(packet, SslRequest) and may_ask_tls:
            await stream.write(b"S")
            await stream.start_tls_server(tls.config)
            may_ask_tls = may_ask_gss = False
        elif isinstance(packet, GssRequest) and may_ask_gss:
            await stream.write(b"N")
            may_ask_gss = False
        elif isinstance(packet, SslRequest | GssRequest):
            raise StartupError("encryption was negotiated already, or asked for twice", "08P01")
        else:
            return packet


def check_encryption(stream: Stream, plaintext: Plaintext) -> None:
    """Raises EncryptionRequiredError for a session in plaintext where the settings do not allow one."""
    if stream.tls is not None or plaintext == "always":
        return
    if plaintext == "loopback" and is_loopback(stream.peer):
        return
    whom = "every client" if plaintext == "never" else "every client that is not on its own machine"
    raise EncryptionRequiredError(
        f"this gateway requires an encrypted connection of {whom}",
        hint="Connect with sslmode=require, or with verify-full and the gateway's ca.crt as sslrootcert.",
    )


def is_loopback(peer: str) -> bool:
    """Of ``127.0.0.1:51234``, ``[::1]:51234`` or ``unix``."""
    if peer == "unix":
        return True
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def agree_on_protocol(stream: Stream, message: StartupMessage) -> None:
    """Tell a client of a newer protocol, or with options that we do not know, what it gets instead."""
    if message.needs_negotiation:
        await stream.write(codec.negotiate_protocol_version(message.agreed_minor, message.protocol_options))
