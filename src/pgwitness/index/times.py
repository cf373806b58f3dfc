"""Times in the index: text as in a statement's document, ``2026-11-22T06:45:31.000123Z``."""

from datetime import UTC, datetime

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def of_nanoseconds(ns: int) -> str:
    """A tape frame's time."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000).strftime(_FORMAT)


def of_datetime(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_FORMAT)


def to_datetime(text: str) -> datetime:
    return datetime.fromisoformat(text)


def minute_of(moment: datetime) -> int:
    """Since the epoch."""
    return int(moment.timestamp() // 60)
