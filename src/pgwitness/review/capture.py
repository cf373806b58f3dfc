"""A session as a packet capture, for Wireshark and whatever else reads pcapng.

The payloads are the wire as it was recorded, byte for byte and at its times; IP and TCP around them are made
up, with the addresses that the session's header names. The server's port is always 5432, by which Wireshark
knows the protocol. The log-in is not on the tape: the capture begins with one made from the header, without
any secret, and says so. What is not a byte of the wire (results that were not kept, events, how it ended) is
a comment at a packet without payload.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, ip_address
from struct import unpack
from typing import Any, Final

import msgspec

from pgwitness._core import KIND_CLIENT, KIND_ELIDED, KIND_EVENT, KIND_SERVER, KIND_SESSION_ENDED
from pgwitness.index.store import SessionDetail
from pgwitness.review.packets import Conversation, Endpoint, head
from pgwitness.statements.assembler import Frame
from pgwitness.wire import codec

SERVER_PORT: Final = 5432
_CLIENT_PORT: Final = 49152
_SOMEWHERE: Final = (IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"))
"""For ends without an IP address: names and Unix sockets. Addresses for documentation (RFC 5737)."""
_BY_SERVER: Final = frozenset({"server_closed", "server_lost", "killed", "idle", "shutdown", "tape_error"})
_PROTOCOL_3: Final = 196608


def capture(found: SessionDetail, frames: Iterable[Frame]) -> Iterator[bytes]:
    """The file in pieces."""
    session, header = found.session, found.header
    client = _endpoint(header.get("client"), 0)
    server = _endpoint(header.get("upstream"), 1)
    yield head("pgwitness", session.connection or "session", _about(found))
    talk = Conversation(client, Endpoint(server.address, SERVER_PORT))
    opened = False
    for _, _, kind, at, _, payload in frames:
        if not opened:
            opened = True
            yield from talk.open(at)
            yield from _login(talk, found, at)
        if kind in (KIND_CLIENT, KIND_SERVER):
            yield from talk.send(kind == KIND_SERVER, payload, at)
        elif kind == KIND_ELIDED:
            messages, size = unpack("<QQ", payload)
            yield talk.remark(True, at, f"{messages} messages of {size} bytes passed here and were not kept")
        elif kind == KIND_EVENT:
            yield talk.remark(True, at, payload.decode(errors="replace"))
        elif kind == KIND_SESSION_ENDED:
            reason = str(_document(payload).get("reason", "unknown"))
            yield from talk.close(reason in _BY_SERVER, at, f"session ended: {reason}")


def _login(talk: Conversation, found: SessionDetail, at: int) -> Iterator[bytes]:
    session, header = found.session, found.header
    asked = {"user": session.identity or "", "database": session.connection or ""}
    given = (header.get("client") or {}).get("parameters") or {}
    asked |= {str(name): str(value) for name, value in given.items() if name not in asked}
    note = "not recorded: made from the session's header"
    yield from talk.send(False, codec.startup_message(_PROTOCOL_3, asked), at, note)
    status = (header.get("upstream") or {}).get("parameters") or {}
    answer = codec.authentication_ok()
    answer += b"".join(codec.parameter_status(str(name), str(value)) for name, value in status.items())
    yield from talk.send(True, answer + codec.ready_for_query(), at, note)


def _about(found: SessionDetail) -> str:
    session, header = found.session, found.header
    behalf = f" on behalf of {session.on_behalf_of}" if session.on_behalf_of else ""
    ends = [str((header.get(side) or {}).get("address") or "unknown") for side in ("client", "upstream")]
    return (
        f"pgwitness session {session.session}: {session.identity}{behalf} through {session.connection}, "
        f"client {ends[0]}, server {ends[1]}. IP, TCP and log-in are made up; the rest is the recorded wire."
    )


def _endpoint(side: dict[str, Any] | None, which: int) -> Endpoint:
    """Of a header's ``HOST:PORT``, ``[IPv6]:PORT`` or path."""
    host, _, port = str((side or {}).get("address") or "").rpartition(":")
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        address = _SOMEWHERE[which]
    number = int(port) if port.isdecimal() and 0 < int(port) <= 0xFFFF else _CLIENT_PORT
    return Endpoint(address, number)


def _document(payload: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return {}
    return document if isinstance(document, dict) else {}
