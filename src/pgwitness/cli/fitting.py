"""How wide the columns of a table are, on a terminal of any width.

What can be cut is cut first, the widest column before the others; then what is to spare is left out.
Ids, numbers and outcomes are neither: where they do not fit, the lines are longer than the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
"""Between two columns."""


@dataclass(frozen=True, slots=True)
class Span:
    """What one column wants."""

    natural: int
    """Room for its widest cell."""
    least: int
    """So narrow may it become; ``natural`` or more if it may not be cut."""
    spare: int = 0
    """It may be left out, 1 before 2; 0: never."""


def fit(spans: Sequence[Span], room: int) -> list[int]:
    """Widths; 0 for a column that is left out."""
    shown = list(range(len(spans)))
    spare = sorted((place for place in shown if spans[place].spare), key=lambda place: spans[place].spare)
    for left_out in [None, *spare]:
        if left_out is not None:
            shown.remove(left_out)
        widths = _shrunk([spans[place] for place in shown], room - GAP * (len(shown) - 1))
        if sum(widths) + GAP * (len(shown) - 1) <= room:
            break
    by_place = dict(zip(shown, widths, strict=True))
    return [by_place.get(place, 0) for place in range(len(spans))]


def _shrunk(spans: Sequence[Span], room: int) -> list[int]:
    """The widest that may still be cut gives way, down to the next widest, until all have room."""
    widths = [span.natural for span in spans]
    while sum(widths) > room:
        cuttable = [place for place, span in enumerate(spans) if widths[place] > span.least]
        if not cuttable:
            break
        widest = max(cuttable, key=lambda place: widths[place])
        next_width = max((widths[place] for place in cuttable if widths[place] < widths[widest]), default=0)
        enough = widths[widest] - (sum(widths) - room)
        widths[widest] = max(spans[widest].least, enough, min(next_width, widths[widest] - 1))
    return widths
