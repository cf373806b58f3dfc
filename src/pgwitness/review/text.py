"""Text, times and numbers from the record, as people read them in a terminal or a page. An agent chose the
text, so nothing in it may move the cursor, colour a line, turn its direction or hide.
"""

from __future__ import annotations

import re
from datetime import datetime

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_BREAK = re.compile(r"\s*\n\s*")
TAIL = 8


def visible(text: str) -> str:
    """Control and direction characters as escapes; line breaks and tabs stay."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """As ``visible``, without line breaks. They are marked where the text may hold a comment that ends
    with its line.
    """
    mark = " ⏎ " if "--" in text else " "
    return _BREAK.sub(mark, visible(text).strip()).replace("\t", " ")


_ENDS = {
    "terminated": "closed by client",
    "client_closed": "client hung up",
    "server_closed": "closed by server",
}
"""Where the record's own word would be taken for something else: pg_terminate_backend, for one."""


def ending(reason: str) -> str:
    """Why a session ended, in a few words."""
    return _ENDS.get(reason, reason.replace("_", " "))


def short(session: str) -> str:
    """The tail that tells sessions apart; any command takes it."""
    return session[-TAIL:]


def clock(time: str, *, day: bool = False) -> str:
    """``06:45:31.000``, with the day where it is wanted."""
    return f"{time[5:10]} {time[11:23]}" if day else time[11:23]


def count(rows: int | None) -> str:
    return "" if rows is None else f"{rows:,}"


def counted(number: int, what: str) -> str:
    """``1 place``, ``2 places``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(us: int | None) -> str:
    """``0.3 ms``, ``41 ms``, ``2.5 s``, ``3 min 20 s``."""
    if us is None:
        return ""
    if us < 10_000:
        return f"{us / 1000:.1f} ms"
    if us < 1_000_000:
        return f"{us / 1000:.0f} ms"
    if us < 120_000_000:
        return f"{us / 1_000_000:.1f} s"
    minutes, seconds = divmod(us // 1_000_000, 60)
    return f"{minutes} min {seconds} s"


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def lasted(earlier: str, later: str) -> str:
    """``2.5 s``, ``3 min 20 s``."""
    return duration(int(seconds_between(earlier, later) * 1_000_000))
