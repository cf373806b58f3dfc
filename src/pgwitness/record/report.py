"""What verification found: steps in order, problems that name what is broken, remarks that do not count
against the record."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec

Outcome = Literal["sound", "broken", "skipped"]
Progress = Callable[[str, int, int], None]
"""Told (step, done, in all)."""

MOST, MOST_OF_A_FILE = 500, 20
"""Problems kept of one step, and of one file in it; the others are counted."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is not as it must be. What does not apply is null."""

    step: str
    text: str
    file: str | None = None
    entry: int | None = None
    session: str | None = None


class Remark(msgspec.Struct, frozen=True):
    """One thing that who reads the result should know."""

    about: str
    text: str
    session: str | None = None


class Step(msgspec.Struct):
    name: str
    outcome: Outcome
    detail: str
    problems: int = 0


class Report(msgspec.Struct):
    """Of a record or of a bundle."""

    of: str
    result: Literal["sound", "broken"] = "sound"
    origin: str | None = None
    size: int | None = None
    root: str | None = None
    signed: str | None = None
    key: str | None = None
    session: str | None = None
    steps: list[Step] = []
    problems: list[Problem] = []
    remarks: list[Remark] = []
    numbers: dict[str, int] = {}

    @property
    def erased(self) -> set[str | None]:
        return {remark.session for remark in self.remarks if remark.about == "erased"}

    def arrange(self) -> "Report":
        """Problems in the order of the steps."""
        order = [step.name for step in self.steps]
        self.problems.sort(key=lambda problem: order.index(problem.step))
        return self

    def document(self) -> dict[str, Any]:
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made

    def step(self, name: str) -> "Findings":
        return Findings(self, name)

    def remark(self, about: str, text: str, session: str | None = None) -> None:
        self.remarks.append(Remark(about, text, session))

    def count(self, name: str, number: int = 1) -> None:
        self.numbers[name] = self.numbers.get(name, 0) + number


class Findings:
    """One step under way."""

    def __init__(self, report: Report, name: str) -> None:
        self._report = report
        self._name = name
        self.problems = 0
        self._of_file: Counter[str | None] = Counter()

    def broken(
        self, text: str, *, file: str | None = None, entry: int | None = None, session: str | None = None
    ) -> None:
        self.problems += 1
        self._report.result = "broken"
        self._of_file[file] += 1
        if self.problems <= MOST and (file is None or self._of_file[file] <= MOST_OF_A_FILE):
            self._report.problems.append(Problem(self._name, text, file, entry, session))

    def end(self, detail: str) -> bool:
        """Whether all was well."""
        outcome: Outcome = "broken" if self.problems else "sound"
        self._report.steps.append(Step(self._name, outcome, detail, self.problems))
        return outcome == "sound"

    def skip(self, why: str) -> None:
        self._report.steps.append(Step(self._name, "skipped", why))
