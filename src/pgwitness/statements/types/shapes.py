"""Geometric types from their binary to their text form. Source: PostgreSQL's geo_ops.c."""

from struct import Struct, unpack, unpack_from

from pgwitness.statements.types.scalars import Decoder, float8_text

_PATH = Struct("!bi")
_COUNT = Struct("!i")


def _points(numbers: tuple[float, ...]) -> str:
    shown = list(map(float8_text, numbers))
    return ",".join(f"({x},{y})" for x, y in zip(shown[::2], shown[1::2], strict=True))


def point(value: bytes, encoding: str) -> str:
    return _points(unpack("!2d", value))


def lseg(value: bytes, encoding: str) -> str:
    return f"[{_points(unpack('!4d', value))}]"


def box(value: bytes, encoding: str) -> str:
    return _points(unpack("!4d", value))


def line(value: bytes, encoding: str) -> str:
    return f"{{{','.join(map(float8_text, unpack('!3d', value)))}}}"


def circle(value: bytes, encoding: str) -> str:
    x, y, radius = map(float8_text, unpack("!3d", value))
    return f"<({x},{y}),{radius}>"


def _counted(value: bytes, at: int, count: int) -> str:
    if count < 0 or len(value) != at + 16 * count:
        raise ValueError("points of a wrong length")
    return _points(unpack_from(f"!{2 * count}d", value, at))


def path(value: bytes, encoding: str) -> str:
    closed, count = _PATH.unpack_from(value)
    points = _counted(value, 5, count)
    return f"({points})" if closed else f"[{points}]"


def polygon(value: bytes, encoding: str) -> str:
    (count,) = _COUNT.unpack_from(value)
    return f"({_counted(value, 4, count)})"


DECODERS: dict[int, Decoder] = {
    600: point,
    601: lseg,
    602: path,
    603: box,
    604: polygon,
    628: line,
    718: circle,
}
"""By type OID."""
