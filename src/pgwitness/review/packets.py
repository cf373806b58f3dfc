"""pcapng files of one synthetic TCP connection over IP.

The blocks are those of draft-ietf-opsawg-pcapng: a section header, one interface of link type RAW (packets
begin with their IP header) with times in nanoseconds, and an enhanced packet block a segment. Checksums are
right, so that a tool which verifies them does not complain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import pack
from typing import Final

Address = IPv4Address | IPv6Address

SEGMENT: Final = 16 * 1024
"""Bytes of payload of one packet: larger payloads are split, as TCP splits them."""

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER, _LINKTYPE_RAW, _NANOSECONDS = 0x1A2B3C4D, 101, 9
_END_OF_OPTIONS, _COMMENT, _USER_APPLICATION, _NAME, _RESOLUTION = 0, 1, 4, 2, 9
_FIN, _SYN, _PSH, _ACK = 0x01, 0x02, 0x08, 0x10
_TCP, _HOPS, _WINDOW = 6, 64, 0xFFFF
_LONGEST_OPTION = 0xFFFF


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: Address
    port: int


def head(application: str, name: str, comment: str) -> bytes:
    """What stands before the first packet."""
    section = pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + _options(
        (_COMMENT, comment.encode()), (_USER_APPLICATION, application.encode())
    )
    interface = pack("<HHI", _LINKTYPE_RAW, 0, 0) + _options(
        (_NAME, name.encode()), (_RESOLUTION, bytes([_NANOSECONDS]))
    )
    return _block(_SECTION, section) + _block(_INTERFACE, interface)


class Conversation:
    """The packets of one connection, in the order of the calls. Times are ns since the epoch."""

    def __init__(self, client: Endpoint, server: Endpoint) -> None:
        if client.address.version != server.address.version:
            client, server = _as_v6(client), _as_v6(server)
        self._ends = (client, server)
        self._sent = [0, 0]

    def open(self, at: int) -> Iterator[bytes]:
        """The three packets of the handshake."""
        yield self._packet(0, _SYN, b"", at)
        self._sent[0] += 1
        yield self._packet(1, _SYN | _ACK, b"", at)
        self._sent[1] += 1
        yield self._packet(0, _ACK, b"", at)

    def send(self, from_server: bool, payload: bytes, at: int, comment: str = "") -> Iterator[bytes]:
        """``comment`` stands at the first packet."""
        side = int(from_server)
        for start in range(0, len(payload), SEGMENT):
            part = payload[start : start + SEGMENT]
            last = start + SEGMENT >= len(payload)
            yield self._packet(side, _ACK | (_PSH if last else 0), part, at, "" if start else comment)
            self._sent[side] += len(part)

    def remark(self, from_server: bool, at: int, comment: str) -> bytes:
        """A packet without payload that carries a comment."""
        return self._packet(int(from_server), _ACK, b"", at, comment)

    def close(self, by_server: bool, at: int, comment: str = "") -> Iterator[bytes]:
        side = int(by_server)
        yield self._packet(side, _FIN | _ACK, b"", at, comment)
        self._sent[side] += 1
        yield self._packet(1 - side, _FIN | _ACK, b"", at)
        self._sent[1 - side] += 1
        yield self._packet(side, _ACK, b"", at)

    def _packet(self, side: int, flags: int, payload: bytes, at: int, comment: str = "") -> bytes:
        source, target = self._ends[side], self._ends[1 - side]
        acknowledged = self._sent[1 - side] if flags & _ACK else 0
        sequence, acknowledged = self._sent[side] & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF
        segment = (
            pack("!HHIIBBH", source.port, target.port, sequence, acknowledged, 5 << 4, flags, _WINDOW),
            payload,
        )
        length = 20 + len(payload)
        addresses = source.address.packed + target.address.packed
        checksum = _checksum(addresses + pack("!HH", _TCP, length) + segment[0] + payload)
        tcp = segment[0] + pack("!HH", checksum, 0) + payload
        packet = _ip(source.address.version, addresses, length) + tcp
        body = pack("<IIIII", 0, at >> 32, at & 0xFFFFFFFF, len(packet), len(packet)) + _padded(packet)
        return _block(_PACKET, body + (_options((_COMMENT, comment.encode())) if comment else b""))


def _ip(version: int, addresses: bytes, length: int) -> bytes:
    if version == 6:
        return pack("!IHBB", 6 << 28, length, _TCP, _HOPS) + addresses
    # 0x4000: do not fragment.
    before, after = pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0x4000, _HOPS, _TCP), addresses
    return before + pack("!H", _checksum(before + after)) + after


def _checksum(data: bytes) -> int:
    """RFC 1071. The one's complement sum of 16-bit words is the number modulo 65,535."""
    rest = int.from_bytes(data + bytes(len(data) % 2)) % 0xFFFF
    return 0xFFFF - rest


def _as_v6(end: Endpoint) -> Endpoint:
    if isinstance(end.address, IPv6Address):
        return end
    return Endpoint(IPv6Address(f"::ffff:{end.address}"), end.port)


def _options(*options: tuple[int, bytes]) -> bytes:
    cut = ((code, _whole(value[:_LONGEST_OPTION])) for code, value in options)
    listed = b"".join(pack("<HH", code, len(value)) + _padded(value) for code, value in cut)
    return listed + pack("<HH", _END_OF_OPTIONS, 0)


def _whole(text: bytes) -> bytes:
    """Without the character that a cut went through."""
    return text.decode(errors="ignore").encode()


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return pack("<II", kind, length) + body + pack("<I", length)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
