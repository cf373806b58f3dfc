"""Numbers, text, bytes, addresses and identifiers from their binary to their text form.

A decoder takes a value and the session's encoding. On malformed input it raises ValueError, IndexError or
struct.error. Source of the binary forms: the ``*_send`` functions in PostgreSQL's src/backend/utils/adt, of
the text forms ``*_out``.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from uuid import UUID

from pgwitness.wire.messages import UNDECODABLE

Decoder = Callable[[bytes, str], str]

_INT2 = Struct("!h")
_INT4 = Struct("!i")
_INT8 = Struct("!q")
_UINT4 = Struct("!I")
_UINT8 = Struct("!Q")
_FLOAT4 = Struct("!f")
_FLOAT8 = Struct("!d")
_TID = Struct("!IH")
_NUMERIC = Struct("!hhHH")

_EXACT = 2.0**53  # from here on, a short decimal may lie exactly between two neighbours


def _plain(packer: Struct) -> Decoder:
    return lambda value, encoding: str(packer.unpack(value)[0])


def boolean(value: bytes, encoding: str) -> str:
    (octet,) = value
    return "t" if octet else "f"


def text(value: bytes, encoding: str) -> str:
    return value.decode(encoding, UNDECODABLE)


def versioned_text(value: bytes, encoding: str) -> str:
    """jsonb, jsonpath: a version byte, then text."""
    if value[0] != 1:
        raise ValueError("unknown version")
    return value[1:].decode(encoding, UNDECODABLE)


def char(value: bytes, encoding: str) -> str:
    """The one-byte type "char": printed as itself, in octal if it is not ASCII, as nothing if it is zero."""
    (octet,) = value
    return f"\\{octet:03o}" if octet > 127 else "" if octet == 0 else chr(octet)


def bytea(value: bytes, encoding: str) -> str:
    return "\\x" + value.hex()


def void(value: bytes, encoding: str) -> str:
    if value:
        raise ValueError("void is empty")
    return ""


# --- numbers ---


def _shortest(number: float, digits: str, fixed_below: int) -> str:
    """``digits`` is the shortest ``d.ddde±x`` that reads back as ``number``; PostgreSQL prints it in fixed
    notation for exponents from -4 to ``fixed_below`` - 1."""
    sign = "-" if math.copysign(1, number) < 0 else ""
    mantissa, _, exponent = digits.lstrip("-").partition("e")
    figures, power = mantissa.replace(".", "").rstrip("0") or "0", int(exponent)
    if not -4 <= power < fixed_below:
        point = f".{figures[1:]}" if len(figures) > 1 else ""
        return f"{sign}{figures[0]}{point}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{figures}"
    whole, rest = figures[: power + 1].ljust(power + 1, "0"), figures[power + 1 :]
    return f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}"


def _special(number: float) -> str | None:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return None


def _within(digits: str, number: float, below: float, above: float) -> bool:
    """The decimal is nearer to ``number`` than to its neighbours. Half-way does not count in PostgreSQL, as
    it does in Python."""
    exact, middle = Fraction(digits), Fraction(number)
    return (Fraction(below) + middle) / 2 < exact < (middle + Fraction(above)) / 2


def float8_text(number: float) -> str:
    special = _special(number)
    if special:
        return special
    figures = len(repr(number).lstrip("-").partition("e")[0].replace(".", "").strip("0")) or 1
    digits = f"{number:.{figures - 1}e}"
    if abs(number) >= _EXACT:
        neighbours = math.nextafter(number, -math.inf), math.nextafter(number, math.inf)
        while (
            figures < 17 and not any(map(math.isinf, neighbours)) and not _within(digits, number, *neighbours)
        ):
            figures += 1
            digits = f"{number:.{figures - 1}e}"
    return _shortest(number, digits, 15)


def float8(value: bytes, encoding: str) -> str:
    return float8_text(_FLOAT8.unpack(value)[0])


def float4(value: bytes, encoding: str) -> str:
    number: float = _FLOAT4.unpack(value)[0]
    special = _special(number)
    if special:
        return special
    (pattern,) = _UINT4.unpack(value)
    if pattern & 0x7FFFFFFF in (0, 0x7F7FFFFF):  # zero and the largest have one neighbour
        return _shortest(number, f"{number:.7e}", 6)
    neighbours = sorted(_FLOAT4.unpack(_UINT4.pack(pattern + step))[0] for step in (-1, 1))
    precision = next(p for p in range(9) if p == 8 or _within(f"{number:.{p}e}", number, *neighbours))
    return _shortest(number, f"{number:.{precision}e}", 6)


def numeric(value: bytes, encoding: str) -> str:
    count, weight, sign, scale = _NUMERIC.unpack_from(value)
    if sign >= 0xC000:
        return {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}[sign]
    if count < 0 or len(value) != 8 + 2 * count:
        raise ValueError("numeric of a wrong length")
    groups = [f"{_INT2.unpack_from(value, 8 + 2 * at)[0]:04d}" for at in range(count)]
    if weight >= count:
        groups += ["0000"] * (weight + 1 - count)
    point = max(weight + 1, 0)  # how many groups stand before it
    whole = "".join(groups[:point]).lstrip("0") or "0"
    rest = "0000" * (-weight - 1) + "".join(groups[point:])
    fraction = f".{rest[:scale].ljust(scale, '0')}" if scale else ""
    return f"{'-' if sign else ''}{whole}{fraction}"


def money(value: bytes, encoding: str) -> str:
    """As the C locale prints it; the server's lc_monetary may print it otherwise."""
    (cents,) = _INT8.unpack(value)
    return f"{'-' if cents < 0 else ''}${abs(cents) // 100:,}.{abs(cents) % 100:02d}"


# --- addresses, identifiers, bits ---


def uuid(value: bytes, encoding: str) -> str:
    return str(UUID(bytes=value))


def inet(value: bytes, encoding: str) -> str:
    family, bits, is_cidr, length = value[:4]
    octets = value[4:]
    if len(octets) != length or (family, length) not in ((2, 4), (3, 16)):
        raise ValueError("not an address")
    address = str(IPv4Address(octets)) if length == 4 else _ipv6(octets)
    return address if bits == 8 * length and not is_cidr else f"{address}/{bits}"


def _ipv6(octets: bytes) -> str:
    if octets[:12] in (bytes(10) + b"\xff\xff", bytes(12)) and any(octets[12:14]):
        prefix = "::ffff:" if octets[10] else "::"
        return prefix + str(IPv4Address(octets[12:]))
    address = str(IPv6Address(octets))
    if octets[:12] == bytes(10) + b"\xff\xff":  # ::ffff:0.0.0.1
        return "::ffff:" + str(IPv4Address(octets[12:]))
    return address


def macaddr(value: bytes, encoding: str) -> str:
    if len(value) not in (6, 8):
        raise ValueError("not a MAC address")
    return value.hex(":")


def bits(value: bytes, encoding: str) -> str:
    (length,) = _INT4.unpack_from(value)
    if length < 0 or len(value) != 4 + (length + 7) // 8:
        raise ValueError("bits of a wrong length")
    return "".join(f"{octet:08b}" for octet in value[4:])[:length]


def tid(value: bytes, encoding: str) -> str:
    block, offset = _TID.unpack(value)
    return f"({block},{offset})"


def pg_lsn(value: bytes, encoding: str) -> str:
    (position,) = _UINT8.unpack(value)
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def pg_snapshot(value: bytes, encoding: str) -> str:
    (count,) = _UINT4.unpack_from(value)
    if len(value) != 20 + 8 * count:
        raise ValueError("snapshot of a wrong length")
    numbers = [_UINT8.unpack_from(value, 4 + 8 * at)[0] for at in range(count + 2)]
    return f"{numbers[0]}:{numbers[1]}:{','.join(map(str, numbers[2:]))}"


DECODERS: dict[int, Decoder] = {
    16: boolean,
    17: bytea,
    18: char,
    19: text,
    20: _plain(_INT8),
    21: _plain(_INT2),
    23: _plain(_INT4),
    25: text,
    27: tid,
    114: text,
    142: text,
    194: text,
    650: inet,
    700: float4,
    701: float8,
    705: text,
    774: macaddr,
    790: money,
    829: macaddr,
    869: inet,
    1042: text,
    1043: text,
    1560: bits,
    1562: bits,
    1700: numeric,
    1790: text,
    2275: text,
    2278: void,
    2950: uuid,
    2970: pg_snapshot,
    3220: pg_lsn,
    3802: versioned_text,
    4072: versioned_text,
    5038: pg_snapshot,
    5069: _plain(_UINT8),
}
"""By type OID."""

# oid, xid, cid, and the reg* types, whose names only the server knows
DECODERS |= dict.fromkeys((24, 26, 28, 29, 2202, 2203, 2204, 2205, 2206), _plain(_UINT4))
DECODERS |= dict.fromkeys((3734, 3769, 4089, 4096, 4191), _plain(_UINT4))
