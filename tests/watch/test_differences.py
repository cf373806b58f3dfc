"""Findings of a comparison add up, and none of the statements is left out."""

from __future__ import annotations

from datetime import UTC, datetime

from pgwitness.catalog.findings import Finding, Found
from pgwitness.watch.compare import Comparison, Difference
from pgwitness.watch.differences import LARGEST, describe
from pgwitness.watch.report import Report


def look(comparison: Comparison, *known: Found) -> dict[str, Found]:
    report = Report()
    now = datetime.now(UTC)
    before = {
        one.key: Finding(
            key=one.key,
            kind=one.kind,
            level=one.level,
            what=one.what,
            details=one.details,
            connection="shop",
            first_seen=now,
            last_seen=now,
        )
        for one in known
    }
    describe(comparison, before, report)
    return {one.key: one for one in report.found}


def unrecorded(count: int, calls: int) -> Comparison:
    found = [Difference("shop", f"fp:{n}", f"SELECT {n}", calls, 0) for n in range(count)]
    return Comparison("noon", "one", unrecorded=found)


def test_calls_add_up_since_the_first_time() -> None:
    ((name, first),) = look(unrecorded(1, 10)).items()
    second = look(Comparison("one", "two", unrecorded=unrecorded(1, 5).unrecorded), first)[name]
    assert (second.details["calls"], second.details["since"], second.details["until"]) == (15, "noon", "two")
    assert second.what.startswith("15 calls that the server counted in shop")


def test_too_many_to_name_are_counted() -> None:
    found = look(unrecorded(LARGEST + 30, 2))
    assert len(found) == LARGEST + 1
    assert found["statements-further"].details["calls"] == 60
    assert found["statements-further"].level == "alarm"


def test_a_reset_is_worse_when_somebody_did_it() -> None:
    (reset,) = look(Comparison("noon", "one", reset="12:30")).values()
    (restart,) = look(Comparison("noon", "one", reset="12:30", restarted=True)).values()
    assert (reset.level, restart.level) == ("weakness", "note")
    assert reset.key == restart.key
    (removed,) = look(Comparison("noon", "one", removed=3)).values()
    assert removed.key == "statements-removed"
    assert removed.details["calls"] == 3
