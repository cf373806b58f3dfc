"""Verification of a record that is in use: what is erased while it is read is no damage."""

import re
from collections.abc import Callable

from pgwitness.errors import InvalidError, RecordBroken
from pgwitness.record.entries import Session
from pgwitness.record.erasure import erased_since
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.report import Progress, Report
from pgwitness.record.verify import Options, verify_record

_FULL = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def verify_in_use(
    layout: Layout, options: Options, progress: Progress, further: Callable[[Report], None]
) -> Report:
    """As ``verify_record``, then ``further``, which may add to the report. Raises InvalidError if there is no
    record, and what ``further`` raises."""
    check_there(layout)
    while True:
        report = verify_record(layout, options, progress)
        further(report)
        # What was erased while it was read looks broken, and is explained by a later checkpoint.
        if report.result == "sound" or not erased_since(layout, report.size):
            return report


def session_named(layout: Layout, wanted: str) -> str:
    """The full id of the one session of the log whose id begins or ends so. A full id that the log does not
    have is taken as it is, and verification will say so: somebody may have taken the session out. Raises
    InvalidError for a part of an id that names none."""
    check_there(layout)
    found: set[str] = set()
    try:
        for _, entry in LogReader(layout).entries():
            if isinstance(entry, Session) and _names(entry.session, wanted.lower()):
                found.add(entry.session)
    except RecordBroken:
        pass
    if len(found) > 1:
        raise InvalidError(f"{wanted} names {len(found)} sessions", hint="give more of the id")
    if not found and not _FULL.fullmatch(wanted.lower()):
        raise InvalidError(
            f"no session of this record has an id that begins or ends with {wanted!r}",
            hint="pgwitness session list shows ids; verify without one looks at all of the record",
        )
    return found.pop() if found else wanted


def check_there(layout: Layout) -> None:
    """Raises InvalidError."""
    if not layout.log.is_dir():
        raise InvalidError(
            f"there is no sealed record in {layout.directory}",
            hint="--record names the directory that holds log/ and segments/",
        )


def _names(session: str, wanted: str) -> bool:
    return session.startswith(wanted) or session.endswith(wanted)
