"""Dates, times and intervals from their binary to their text form: DateStyle ISO, IntervalStyle postgres,
time zone UTC.

Whatever the session's settings were: the same bytes always give the same text. Source: PostgreSQL's
datetime.c.
"""

from struct import Struct

from pgwitness.statements.types.scalars import Decoder

_DATE = Struct("!i")
_TIME = Struct("!q")
_TIMETZ = Struct("!qi")
_INTERVAL = Struct("!qii")

_MAX4, _MIN4 = (1 << 31) - 1, -(1 << 31)
_MAX8, _MIN8 = (1 << 63) - 1, -(1 << 63)
_DAY = 86_400_000_000
_JULIAN_2000 = 2_451_545


def _calendar(days: int) -> tuple[int, int, int]:
    """(year, month, day) of a day counted from 2000-01-01; year 0 is 1 BC. PostgreSQL's ``j2date``."""
    julian = days + _JULIAN_2000 + 32044
    quad, extra = divmod(julian, 146097)
    julian += 60 + quad * 3 + (extra * 4 + 3) // 146097
    quad, julian = divmod(julian, 1461)
    year = julian * 4 // 1461
    julian = ((julian + 305) % 365 if year else (julian + 306) % 366) + 123
    month = julian * 2141 // 65536
    return year + quad * 4 - 4800, (month + 10) % 12 + 1, julian - 7834 * month // 256


def _day(days: int) -> tuple[str, str]:
    """The day, and the era that goes to the very end."""
    year, month, day = _calendar(days)
    era = "" if year > 0 else " BC"
    return f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day:02d}", era


def _clock(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    shown = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{shown}"


def date(value: bytes, encoding: str) -> str:
    (days,) = _DATE.unpack(value)
    if days in (_MAX4, _MIN4):
        return "infinity" if days > 0 else "-infinity"
    return "".join(_day(days))


def _timestamp(value: bytes, zone: str) -> str:
    (microseconds,) = _TIME.unpack(value)
    if microseconds in (_MAX8, _MIN8):
        return "infinity" if microseconds > 0 else "-infinity"
    days, rest = divmod(microseconds, _DAY)
    day, era = _day(days)
    return f"{day} {_clock(rest)}{zone}{era}"


def timestamp(value: bytes, encoding: str) -> str:
    return _timestamp(value, "")


def timestamptz(value: bytes, encoding: str) -> str:
    return _timestamp(value, "+00")


def time(value: bytes, encoding: str) -> str:
    return _clock(_TIME.unpack(value)[0])


def timetz(value: bytes, encoding: str) -> str:
    microseconds, west = _TIMETZ.unpack(value)
    minutes, seconds = divmod(abs(west), 60)
    zone = f"{'-' if west > 0 else '+'}{minutes // 60:02d}"
    if minutes % 60 or seconds:
        zone += f":{minutes % 60:02d}"
    return _clock(microseconds) + zone + (f":{seconds:02d}" if seconds else "")


def _truncated(number: int, divisor: int) -> tuple[int, int]:
    """Division that rounds towards zero, as in C."""
    quotient = abs(number) // divisor
    quotient = quotient if number >= 0 else -quotient
    return quotient, number - quotient * divisor


def interval(value: bytes, encoding: str) -> str:
    microseconds, days, months = _INTERVAL.unpack(value)
    if (microseconds, days, months) == (_MAX8, _MAX4, _MAX4):
        return "infinity"
    if (microseconds, days, months) == (_MIN8, _MIN4, _MIN4):
        return "-infinity"
    years, months = _truncated(months, 12)
    parts: list[str] = []
    negative = False  # the part before this one
    for number, unit in ((years, "year"), (months, "mon"), (days, "day")):
        if number:
            plus = "+" if negative and number > 0 else ""
            parts.append(f"{plus}{number} {unit}{'' if number == 1 else 's'}")
            negative = number < 0
    if microseconds or not parts:
        sign = "-" if microseconds < 0 else "+" if negative else ""
        parts.append(sign + _clock(abs(microseconds)))
    return " ".join(parts)


DECODERS: dict[int, Decoder] = {
    1082: date,
    1083: time,
    1114: timestamp,
    1184: timestamptz,
    1186: interval,
    1266: timetz,
}
"""By type OID."""
