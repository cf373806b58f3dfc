"""Numbers to RESULTS.md: medians over the rounds, ratios of the same round."""

import datetime
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Row:
    """One measure on several routes: route → a number a round."""

    name: str
    unit: str
    more_is_better: bool = True
    target: tuple[str, float] | None = None
    """(route, ratio): pgwitness must reach this ratio to that route, or stay below where less is better; or
    (``at most``, number)."""
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, route: str, value: float) -> None:
        self.values.setdefault(route, []).append(value)

    def median(self, route: str) -> float:
        return statistics.median(self.values.get(route) or [math.nan])

    def ratio(self, route: str, to: str) -> float:
        """Median of the rounds' own ratios: a slow minute hits both."""
        pairs = zip(self.values.get(route, []), self.values.get(to, []), strict=False)
        return statistics.median([mine / other for mine, other in pairs if other] or [math.nan])

    def verdict(self) -> str:
        if self.target is None:
            return ""
        what, bound = self.target
        if what == "at most":
            return f"{'holds' if self.median('pgwitness') <= bound else '**misses**'} ≤ {bound:g}"
        reached = self.ratio("pgwitness", what)
        if not self.more_is_better:
            return f"{'holds' if reached <= bound else '**misses**'} ≤ {bound:g} × {what}"
        return f"{'holds' if reached >= bound else '**misses**'} ≥ {bound:g} × {what}"


def write(path: Path, rows: Iterable[Row], facts: dict[str, str], sections: Iterable[list[str]] = ()) -> None:
    """``sections`` are lines of their own, after the rows."""
    rows = list(rows)
    now = datetime.datetime.now(datetime.UTC)
    text = ["# What the gateway costs", ""]
    text += [
        "Written by `make bench`. Every figure is the median of the rounds; each round measures all routes in"
    ]
    text += ["turn, on the same server, and a ratio is the median of the rounds' own ratios.", ""]
    text += [f"- {name}: {value}" for name, value in {"when": f"{now:%Y-%m-%d %H:%M} UTC", **facts}.items()]
    if rows:
        text += _tables(rows)
    for lines in sections:
        text += ["", *lines]
    if rows:
        text += ["", "## Every round", "", *_rounds(rows)]
    path.write_text("\n".join([*text, ""]))


def _tables(rows: list[Row]) -> list[str]:
    text = [
        "",
        "## Comparison",
        "",
        *_comparison([row for row in rows if not (_between(row) or _variants(row))]),
    ]
    text += ["", "## On the way only", "", *_comparison([row for row in rows if _between(row)])]
    text += ["", "## Settings of pgwitness", "", *_settings([row for row in rows if _variants(row)])]
    return text


def _between(row: Row) -> bool:
    return "direct" not in row.values and not _variants(row)


def _variants(row: Row) -> bool:
    return any(", " in route for route in row.values)


def _comparison(rows: list[Row]) -> list[str]:
    lines = ["| | unit | direct | PgBouncer | pgwitness | ÷ direct | ÷ PgBouncer | target |"]
    lines += ["|---|---|--:|--:|--:|--:|--:|---|"]
    for row in rows:
        numbers = [_number(row.median(route)) for route in ("direct", "PgBouncer", "pgwitness")]
        ratios = [_ratio(row.ratio("pgwitness", to)) for to in ("direct", "PgBouncer")]
        lines.append(f"| {row.name} | {row.unit} | {' | '.join(numbers + ratios)} | {row.verdict()} |")
    return lines


def _settings(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows:
        lines += [
            f"{row.name}, {row.unit}:",
            "",
            "| setting | median | ÷ direct | ÷ PgBouncer |",
            "|---|--:|--:|--:|",
        ]
        for route in row.values:
            ratios = " | ".join(_ratio(row.ratio(route, to)) for to in ("direct", "PgBouncer"))
            lines.append(f"| {route} | {_number(row.median(route))} | {ratios} |")
        lines.append("")
    return lines


def _rounds(rows: list[Row]) -> list[str]:
    lines = ["| | route | rounds |", "|---|---|---|"]
    for row in rows:
        for route, values in row.values.items():
            lines.append(f"| {row.name} | {route} | {' · '.join(_number(value) for value in values)} |")
    return lines


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
