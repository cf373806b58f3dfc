"""What a re-enactment came to: the document that ``pgwitness reenact --format json`` prints."""

from typing import Literal

from msgspec import Struct, field

Ended = Literal["end", "until", "divergence", "interrupted", "lost", "timeout"]
"""``end``: of what is on record; ``lost``: the connection to the copy."""

LISTED = 100
"""Divergences that are told in full; all are counted."""


class Difference(Struct):
    """One property of a statement, on record and here."""

    what: str
    recorded: str | None
    here: str | None


class Divergence(Struct):
    """A statement that did not do here what it did then."""

    seq: int
    sql: str
    differences: list[Difference]
    hints: list[str] = []


class Explained(Struct):
    """Statements that differ in what must differ."""

    why: str
    statements: int
    first_seq: int


class StoodIn(Struct):
    """A statement that something from outside stopped; here an error of the same kind stands in its place."""

    seq: int
    sqlstate: str


class NotComparable(Struct):
    """A read that found other rows here. Whether for that reason, or because the copy is another, cannot be
    told."""

    seq: int
    why: str
    differences: list[Difference]


class State(Struct):
    """What the copy is left with."""

    text: str
    committed: int
    """Transactions that committed there."""
    open: str | None = None
    """What became of the one that was open at the end: ``committed`` or ``rolled back``; null: none was."""


class Report(Struct):
    session: str
    into: str
    """The copy, without its password."""
    ended: Ended
    until: int | None
    committed_only: bool
    recorded: int
    """Statements of the session on record."""
    run: int
    """Those that were sent and answered here."""
    same: int
    differ_by_nature: int
    diverged: int
    left_out: int
    """Not sent: their transactions did not commit, or they come after the end."""
    first: Divergence | None
    divergences: list[Divergence]
    """The first ``LISTED`` of them, that one included."""
    explained: list[Explained]
    stood_in: list[StoodIn]
    not_comparable: list[NotComparable]
    """The first ``LISTED`` reads that found other rows here, and whose rows depend on what is another each
    time; ``not_compared`` counts all."""
    not_compared: int
    in_doubt: list[int]
    """Statements of which the record does not say what became of them."""
    circumstances: list[str]
    """How copy and server differ, as far as it can be seen, and what cannot be compared."""
    state: State
    seconds: float = 0.0
    problem: str | None = None
    """What ended it early."""

    @property
    def sound(self) -> bool:
        """All that was to be run was run and could be compared, and nothing diverged."""
        return self.diverged == 0 and not self.not_compared and self.ended in ("end", "until")


class Progress(Struct):
    """Told while it runs."""

    done: int
    total: int
    seq: int = 0
    diverged: int = 0
    sql: str = field(default="")
