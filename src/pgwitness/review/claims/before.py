"""Of what drivers issue by themselves, what changes nothing for what follows, seen in its session.

RESET, DISCARD and SET of how values are read are harmless where nothing set before is lost by them, where
the value is the one that the session began with, or where nothing follows. A FETCH is harmless where its
cursor was declared by a statement that is claimed: its rows are then counted as that claim's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pgwitness.review.claims.chores import READING
from pgwitness.review.claims.forms import Template
from pgwitness.review.claims.sides import Recorded

LogIn = Callable[[str], Mapping[str, Any]]
"""The parameters that PostgreSQL told the session of this id at its log-in."""


def harmless(records: Sequence[Recorded], log_in: LogIn) -> set[int]:
    """Places of settings, RESET and DISCARD that change nothing."""
    sessions: dict[str, list[int]] = defaultdict(list)
    for at, record in enumerate(records):
        sessions[record.statement.session].append(at)
    found: set[int] = set()
    for session, places in sessions.items():
        templates = [records[at].form.template for at in places]
        acting = [n for n, each in enumerate(templates) if not each.own or (each.portal and each.depends)]
        last = acting[-1] if acting else -1
        touched = False
        for n, each in enumerate(templates):
            asked = each.own and each.depends and not each.portal
            if asked and (n > last or (not touched and _as_it_was(each, session, log_in))):
                found.add(places[n])
                continue
            touched = touched or each.sets
    return found


def _as_it_was(template: Template, session: str, log_in: LogIn) -> bool:
    if template.setting is None or template.setting[1] is None:
        return True
    name, value = template.setting
    if value in READING[name]:
        return True
    return any(name == each.lower() and value == str(told).lower() for each, told in log_in(session).items())


class Fetched:
    """The rows of FETCHes, by the statement that declared their cursor."""

    def __init__(self, records: Sequence[Recorded], paired: Collection[int]) -> None:
        self.rows: dict[int, int] = {}
        self.own: set[int] = set()
        """FETCHes of a cursor whose DECLARE is claimed."""
        placed = {
            record.statement.session for record in records if "CurrentOfExpr" in record.form.template.skeleton
        }
        cursors: dict[tuple[str, str], int] = {}
        for at, record in enumerate(records):
            template, statement = record.form.template, record.statement
            key = (statement.session, template.portal)
            if template.cursor:
                if statement.status == "ok":
                    cursors[key] = at
                    self.rows[at] = 0
            elif template.portal and template.depends and at not in paired:
                declared = cursors.get(key)
                if declared is None:
                    continue
                if not template.moves and statement.status == "ok":
                    self.rows[declared] += statement.rows or 0
                if declared in paired and statement.session not in placed:
                    self.own.add(at)
