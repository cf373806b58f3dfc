"""(c) What a comparison of counters and record comes to, as findings that add up over comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pgwitness.catalog.findings import Finding, Found
from pgwitness.watch.compare import Comparison
from pgwitness.watch.report import Report, key

LARGEST: Final = 50
"""Statements that one comparison reports by themselves."""


def describe(comparison: Comparison, known: Mapping[str, Finding], report: Report) -> None:
    """``known``: the findings so far, by key."""
    for one in comparison.unrecorded[:LARGEST]:
        name = key("statements", "calls", one.database, one.shape)
        calls, rows, since = _sum(known.get(name), one.calls, one.rows, comparison.since)
        report.add(
            Found(
                key=name,
                kind="statements",
                level="alarm",
                what=f"{calls} calls that the server counted in {one.database} are not in the record: "
                f"{one.query}",
                details=_details(one.database, one.query, calls, rows, since, comparison.until),
            )
        )
    _further(comparison, known, report)
    for one in comparison.more_rows[:LARGEST]:
        name = key("statements", "rows", one.database, one.shape)
        calls, rows, since = _sum(known.get(name), 0, one.rows, comparison.since)
        report.add(
            Found(
                key=name,
                kind="statements",
                level="weakness",
                what=f"the server counts {rows} more rows than the record in {one.database}: {one.query}",
                details=_details(one.database, one.query, calls, rows, since, comparison.until),
            )
        )
    _lost(comparison, known, report)


def _further(comparison: Comparison, known: Mapping[str, Finding], report: Report) -> None:
    """Those that are too many to be named are counted."""
    rest = comparison.unrecorded[LARGEST:]
    if not rest:
        return
    name = key("statements", "further")
    more_calls, more_rows = sum(one.calls for one in rest), sum(one.rows for one in rest)
    calls, rows, since = _sum(known.get(name), more_calls, more_rows, comparison.since)
    report.add(
        Found(
            key=name,
            kind="statements",
            level="alarm",
            what=f"{calls} calls of further statements that the server counted are not in the record",
            details={"calls": calls, "rows": rows, "since": since, "until": comparison.until},
        )
    )


def _lost(comparison: Comparison, known: Mapping[str, Finding], report: Report) -> None:
    """Counters that were taken away, and with them what they counted."""
    if comparison.reset is not None:
        cause = "the server was started anew" if comparison.restarted else "somebody reset them"
        report.add(
            Found(
                key=key("statements", "reset", comparison.reset),
                kind="statements",
                level="note" if comparison.restarted else "weakness",
                what=f"the server's counters begin anew at {comparison.reset} ({cause}): what ran from "
                f"{comparison.since} until then cannot be compared",
                details={"reset": comparison.reset, "since": comparison.since},
            )
        )
    if comparison.removed:
        name = key("statements", "removed")
        removed, _, since = _sum(known.get(name), comparison.removed, 0, comparison.since)
        report.add(
            Found(
                key=name,
                kind="statements",
                level="weakness",
                what=f"the counters of {removed} statements were removed one by one",
                details={"calls": removed, "rows": 0, "since": since, "until": comparison.until},
            )
        )


def _sum(known: Finding | None, calls: int, rows: int, since: str) -> tuple[int, int, str]:
    """With what was found before."""
    if known is None:
        return calls, rows, since
    details = known.details
    return details["calls"] + calls, details["rows"] + rows, details["since"]


def _details(database: str, query: str, calls: int, rows: int, since: str, until: str) -> dict[str, Any]:
    return {
        "database": database,
        "query": query,
        "calls": calls,
        "rows": rows,
        "since": since,
        "until": until,
    }
