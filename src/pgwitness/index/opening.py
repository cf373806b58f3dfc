"""Which index to write: the current one, or a new one where that cannot be used."""

import json
import sys
from pathlib import Path

from sqlalchemy import inspect, select
from sqlalchemy.exc import DatabaseError

from pgwitness.index import tables
from pgwitness.index.database import connect
from pgwitness.index.discretion import TEXTS, Text
from pgwitness.index.location import Location
from pgwitness.index.tape import instance, segments
from pgwitness.index.tracked import Tracked
from pgwitness.index.writer import IndexWriter, Resume


def open_writer(location: Location, tape: Path, text: Text = "all") -> tuple[Path, IndexWriter]:
    """The index file and its writer. If the current index cannot be used, or was made with another setting of
    ``text``: a new one, and the log says why."""
    current = location.current()
    reason = _unusable(current, tape, text) if current else None
    if current is None or reason:
        current = location.next()
        writer = IndexWriter(current, text)
        location.publish(current)
        if reason:
            log("index_rebuilt", reason=reason, index=current.name)
        return current, writer
    return current, IndexWriter(current, text)


def text_of(location: Location, otherwise: Text) -> Text:
    """How much of statements' texts the current index holds; ``otherwise`` if there is none to ask."""
    current = location.current()
    try:
        found = _meta(current).get("text") if current else None
    except DatabaseError:
        found = None
    return next((text for text in TEXTS if text == found), otherwise)


def log(event: str, **values: str) -> None:
    """A line of JSON on standard error."""
    sys.stderr.write(json.dumps({"event": event, **values}) + "\n")
    sys.stderr.flush()


def _unusable(current: Path, tape: Path, text: Text) -> str | None:
    try:
        meta = _meta(current)
    except DatabaseError as error:
        return f"it cannot be read: {error.orig}"
    schema = meta.get("schema")
    if schema != str(tables.SCHEMA):
        return f"it has schema {schema or 'none'} and this pgwitness has {tables.SCHEMA}"
    if meta.get("text") != text:
        return f"it was made with index.text = {meta.get('text')}, the setting is now {text}"
    writer = IndexWriter(current, text)
    resume = writer.resume()
    writer.close()
    if resume.position and not _continues(resume, tape):
        return "it was made from another tape, or from one that went on further"
    try:
        for number, (session, state) in resume.sessions.items():
            Tracked.restore(number, session, state)
    except ValueError as error:
        return f"another version of pgwitness made it: {error}"
    return None


def _continues(resume: Resume, tape: Path) -> bool:
    """Whether the tape still holds, or will hold, the position at which the index goes on."""
    present = segments(tape)
    number = resume.position >> 32
    if number in present:
        return resume.instance in ("", instance(tape, resume.position))
    if not present:
        return True  # It is lost, and the index is the last account of what was not sealed.
    if number > present[-1]:
        return resume.instance == "" and number == present[-1] + 1
    return True  # An old segment was removed: the follower notes that and goes on after it.


def _meta(current: Path) -> dict[str, str]:
    engine = connect(current, writer=False)
    try:
        with engine.begin() as connection:
            if not inspect(connection).has_table("meta"):
                return {}
            return {row.name: row.value for row in connection.execute(select(tables.meta))}
    finally:
        engine.dispose()
