"""What a testimony holds, and what comparing it with the record finds."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct, field

Status = Literal["ok", "error"]
ClaimedOutcome = Literal["committed", "rolled_back"]
Verdict = Literal["matches", "differs", "incomplete"]
Kind = Literal["altered", "unexecuted", "unclaimed", "outcome", "rows", "reordered", "unstated", "matched"]

KINDS: Final[tuple[Kind, ...]] = (
    "altered",
    "unexecuted",
    "unclaimed",
    "outcome",
    "rows",
    "reordered",
    "unstated",
    "matched",
)
"""The gravest first: a pair with several differences is counted under the first that it has."""


class Unsaid:
    """In place of a value that was not said, or that the record withholds."""

    def __repr__(self) -> str:
        return "…"


UNSAID: Final = Unsaid()


class Result(Struct):
    """What a testimony says came of a call."""

    rows: int | None = None
    partial: bool = False
    """It says itself that it shows only some of the rows."""
    status: Status | None = None
    error: str | None = None


class Said(Struct):
    """One text of SQL that the testimony says was run: one statement or several."""

    place: str
    """Where in the file: ``line 7``, ``messages[3].tool_calls[0]``."""
    sql: str
    parameters: Any = None
    """As they stand there: a list, a dictionary, None if there are none."""
    result: Result = field(default_factory=Result)
    outcome: ClaimedOutcome | None = None


class Problem(Struct):
    """A part of the testimony that cannot be read."""

    place: str
    problem: str


class Testimony(Struct):
    """A file, read."""

    format: str
    said: list[Said] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: int = 0
    """Calls of tools, or spans, in which there is no SQL."""


class Claim(Struct):
    """One statement that the testimony says was run."""

    number: int
    place: str
    sql: str
    """With ``$n`` for whatever the driver's placeholders were."""
    values: list[Any]
    """Of ``$1`` and so on, as JSON gave them; ``UNSAID`` where none was said."""
    result: Result
    outcome: ClaimedOutcome | None
    text: int
    """Which text of the testimony it came from: its statements share a result."""


class Difference(Struct):
    """One thing in which a claim and a recorded statement are not the same."""

    kind: Kind
    what: str
    """``value of region in WHERE``, ``WHERE``, ``rows``, ``order``, ``outcome`` …"""
    claimed: str | None = None
    recorded: str | None = None


class ClaimView(Struct):
    number: int
    place: str
    sql: str
    rows: int | None
    status: Status | None
    outcome: ClaimedOutcome | None


class RecordView(Struct):
    session: str
    seq: int
    at: str
    sql: str
    """With its bound values in place."""
    rows: int | None
    status: str
    outcome: str


class Finding(Struct, kw_only=True):
    """What became of one claim, or of one recorded statement that nobody claimed."""

    kind: Kind
    counts: bool
    """Whether it keeps the testimony from matching."""
    own: bool = False
    """A statement that drivers issue by themselves."""
    claim: ClaimView | None = None
    record: RecordView | None = None
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Summary(Struct, kw_only=True):
    """The answer, and what it rests on."""

    verdict: Verdict
    scope: dict[str, str]
    sessions: list[str]
    format: str
    claims: int
    statements: int
    counts: dict[str, int]
    """Findings that count, by kind, and how many matched."""
    apart: dict[str, int]
    """Findings that do not count, by kind."""
    incomplete: list[str]
    """Why the record itself cannot tell all, in sentences."""
    problems: list[Problem]
    """Parts of the testimony that could not be read."""
    notes: list[str]
    strict: bool = False
