"""How pages write times, numbers and names: the filters of the templates. The words are those of
``review.text``.

All times are UTC, as in the record. What is cut or shortened has the whole of it in its title.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from pgwitness.review.text import count, duration, ending, lasted, one_line, short, visible

_ACTOR: Final = re.compile(r"(.+?) \(token (\S+)\)(?: from (.+))?")
_SESSION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def iso(moment: datetime | str) -> str:
    """RFC 3339 in UTC with six digits, as in the record's documents."""
    if isinstance(moment, str):
        return moment
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def time(moment: datetime | str | None, digits: int = 0) -> Markup:
    """``2026-11-22 06:45:31``, with ``digits`` of the second's fraction."""
    return _time(moment, lambda text: f"{text[:10]} {text[11 : 20 + digits if digits else 19]}")


def day(moment: datetime | str | None) -> Markup:
    """``11-22 06:45:31``: for lists, where the year goes without saying."""
    return _time(moment, lambda text: f"{text[5:10]} {text[11:19]}")


def clock(moment: datetime | str | None, digits: int = 3) -> Markup:
    """``06:45:31.000``: where the day is known."""
    return _time(moment, lambda text: text[11 : 20 + digits if digits else 19])


def ago(moment: datetime | str | None, now: datetime | None = None) -> Markup:
    """``3 min ago``, ``in 2 h``; a title says when exactly."""
    if moment is None:
        return Markup("")
    seconds = ((now or datetime.now(UTC)) - _moment(moment)).total_seconds()
    words = "now" if abs(seconds) < 1 else span(abs(seconds))
    if words != "now":
        words = f"{words} ago" if seconds > 0 else f"in {words}"
    return _time(moment, lambda _: words)


def _moment(text: datetime | str) -> datetime:
    """A time of the record, to reckon with."""
    return text if isinstance(text, datetime) else datetime.fromisoformat(text)


def span(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``2 h``, ``5 d``: in its largest unit."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    size, unit = next((size, unit) for size, unit in _SPANS if seconds >= size)
    return f"{int(seconds // size)} {unit}"


def size(number: int | None) -> str:
    """``512 bytes``, ``64.0 MiB``."""
    if number is None:
        return ""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{number:,} bytes"


def words(name: str | None) -> str:
    """``rolled_back`` as words."""
    return (name or "").replace("_", " ")


def who(actor: str) -> Markup:
    """An actor of the audit: the name, and on a line of its own by which token and from where."""
    found = _ACTOR.fullmatch(actor)
    if found is None:
        return escape(visible(actor))
    name, *rest = (visible(each) for each in found.groups(""))
    about = ", ".join(each for each in (f"token {rest[0]}", rest[1]) if each)
    return Markup('{}<br><span class="muted small nowrap">{}</span>').format(name, about)


def is_session(text: str) -> bool:
    """Whether a subject of the audit is a session's full id."""
    return _SESSION.fullmatch(text) is not None


def plain(value: Any) -> str:
    """A detail of the audit: times without their fractions, lists with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(plain(each) for each in value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{text[:10]} {text[11:19]}" if _TIME.fullmatch(text) else text


def shown(value: Any) -> Any:
    """Applied to all that a template puts out: an agent's text shows what would hide or turn its direction;
    None is nothing."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _time(moment: datetime | str | None, form: Callable[[str], str]) -> Markup:
    if moment is None:
        return Markup("")
    text = iso(moment)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        text, text.replace("T", " ").rstrip("Z"), form(text)
    )


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "time": time,
    "clock": clock,
    "day": day,
    "ago": ago,
    "moment": _moment,
    "span": span,
    "size": size,
    "words": words,
    "count": count,
    "duration": duration,
    "ending": ending,
    "lasted": lasted,
    "one_line": one_line,
    "short": short,
    "iso": iso,
    "is_session": is_session,
    "plain": plain,
    "who": who,
}
