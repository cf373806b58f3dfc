"""Which claim speaks of which statement: two sequences aligned, by what is the same and by what resembles.

First what is the same, in order: what begins and ends alike, then Myers' difference algorithm. Around each
place where the sequences differ, a weighted alignment of claims and statements that have no equal on the
other side finds those that resemble each other. What is left and has an equal elsewhere is in another order.

Ordinary sequences cost n log n: the differences are few. At most ``STEPS`` steps are spent on finding what is
the same, and ``DIFFERENCES`` at one place; then anchors that occur once on each side, and beyond them
occurrences in turn, keep the rest in order (longest increasing subsequence, n log n). A weighted place has
at most ``CELLS`` pairs, all of them together ``ALL_CELLS``; in a larger one, only equal shapes are paired.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Final

STEPS: Final = 2_000_000
DIFFERENCES: Final = 1_000
CELLS: Final = 250_000
ALL_CELLS: Final = 1_000_000
AROUND: Final = 4
"""So many equal pairs on each side of a difference are aligned again with it, since there may be several
ways to see the same."""
RESEMBLING: Final = 1.0
"""Of two that resemble each other wholly."""
EQUAL: Final = 2.0 * CELLS * RESEMBLING
"""More than all pairs of one place together: no pair of equals is given up for others that resemble."""

Pair = tuple[int, int]
Keys = Sequence[Hashable]
Likeness = Callable[[int, int], float]
"""Of the claim and the statement at these places, 0 to 1; 0 if they are no pair."""


class Aligned:
    """``pairs`` in order, equal or resembling; ``moved``: equal, elsewhere; the places of the others."""

    def __init__(self, pairs: list[Pair], moved: list[Pair], left: Keys, right: Keys) -> None:
        self.pairs = pairs
        self.moved = moved
        taken_left = {a for a, _ in pairs} | {a for a, _ in moved}
        taken_right = {b for _, b in pairs} | {b for _, b in moved}
        self.left_only = [a for a in range(len(left)) if a not in taken_left]
        self.right_only = [b for b in range(len(right)) if b not in taken_right]


def align(left: Keys, right: Keys, shapes: tuple[Keys, Keys], likeness: Likeness) -> Aligned:
    """``left`` are the claims' keys and ``right`` the statements', ``shapes`` what is coarser than those."""
    same = _Same(left, right).find()
    surplus = (Counter(left) - Counter(right), Counter(right) - Counter(left))
    budget = [ALL_CELLS]
    pairs: list[Pair] = []
    for kept, gap in _gaps(same, len(left), len(right)):
        pairs += kept
        pairs += _weigh(gap, left, right, shapes, likeness, surplus, budget)
    pairs.sort()
    return Aligned(pairs, _moved(pairs, left, right), left, right)


class _Same:
    """The longest common subsequence, or nearly."""

    def __init__(self, left: Keys, right: Keys) -> None:
        self.left, self.right = left, right
        self.steps = STEPS
        self.looks = 32 * (len(left) + len(right))
        """Places that may be looked at in search of anchors."""

    def find(self) -> list[Pair]:
        pairs: list[Pair] = []
        todo = [(0, len(self.left), 0, len(self.right))]
        while todo:
            a, b, c, d = todo.pop()
            start, end = self._ends(a, b, c, d)
            pairs += [(a + n, c + n) for n in range(start)]
            pairs += [(b - n, d - n) for n in range(1, end + 1)]
            a, b, c, d = a + start, b - end, c + start, d - end
            if a == b or c == d:
                continue
            found = self._myers(a, b, c, d)
            if found is not None:
                pairs += found
                continue
            self.looks -= b - a + d - c
            anchors = self._anchors(a, b, c, d) if self.looks > 0 else []
            if not anchors:
                pairs += self._in_turn(a, b, c, d)
                continue
            pairs += anchors
            edges = [(a - 1, c - 1), *anchors, (b, d)]
            todo += [(one[0] + 1, two[0], one[1] + 1, two[1]) for one, two in pairwise(edges)]
        return sorted(pairs)

    def _ends(self, a: int, b: int, c: int, d: int) -> tuple[int, int]:
        """How many are the same at the beginning and at the end."""
        left, right = self.left, self.right
        shorter = min(b - a, d - c)
        start = 0
        while start < shorter and left[a + start] == right[c + start]:
            start += 1
        end = 0
        while end < shorter - start and left[b - 1 - end] == right[d - 1 - end]:
            end += 1
        return start, end

    def _myers(self, a: int, b: int, c: int, d: int) -> list[Pair] | None:
        """Greedy search by the number of differences; None if that takes too many steps."""
        left, right = self.left, self.right
        n, m = b - a, d - c
        most = min(n + m, DIFFERENCES)
        middle = most + 1
        furthest = array("i", bytes(4 * (2 * middle + 1)))
        trail: list[array[int]] = []
        for differences in range(most + 1):
            self.steps -= differences + 1
            if self.steps < 0:
                return None
            trail.append(furthest[middle - differences - 1 : middle + differences + 2])
            for k in range(-differences, differences + 1, 2):
                at = middle + k
                x = furthest[at + 1] if _down(furthest, at, k, differences) else furthest[at - 1] + 1
                y = x - k
                while x < n and y < m and left[a + x] == right[c + y]:
                    x += 1
                    y += 1
                furthest[at] = x
                if x >= n and y >= m:
                    return _backtrack(trail, n, m, a, c)
        return None

    def _anchors(self, a: int, b: int, c: int, d: int) -> list[Pair]:
        """Those that occur once on each side, as many as are in one order."""
        left, right = Counter(self.left[a:b]), Counter(self.right[c:d])
        places = {self.right[at]: at for at in range(c, d) if right[self.right[at]] == 1}
        once = [
            (at, places[self.left[at]])
            for at in range(a, b)
            if left[self.left[at]] == 1 and self.left[at] in places
        ]
        return _increasing(once)

    def _in_turn(self, a: int, b: int, c: int, d: int) -> list[Pair]:
        """The n-th of a kind with the n-th of its kind, as many as are in one order."""
        places: defaultdict[Hashable, list[int]] = defaultdict(list)
        for at in range(d - 1, c - 1, -1):
            places[self.right[at]].append(at)
        return _increasing(
            [(at, places[self.left[at]].pop()) for at in range(a, b) if places.get(self.left[at])]
        )


def _down(furthest: array[int], at: int, k: int, differences: int) -> bool:
    """Whether the way to diagonal ``k`` comes from the one above it: a statement that was not claimed."""
    return k == -differences or (k != differences and furthest[at - 1] < furthest[at + 1])


def _backtrack(trail: list[array[int]], n: int, m: int, a: int, c: int) -> list[Pair]:
    pairs: list[Pair] = []
    x, y = n, m
    for differences in range(len(trail) - 1, -1, -1):
        furthest, k = trail[differences], x - y
        at = differences + 1 + k
        if differences == 0:
            start_x, start_y = 0, 0
        else:
            down = _down(furthest, at, k, differences)
            start_x = furthest[at + 1] if down else furthest[at - 1]
            start_y = start_x - (k + 1 if down else k - 1)
        while x > start_x and y > start_y:
            x, y = x - 1, y - 1
            pairs.append((a + x, c + y))
        x, y = start_x, start_y
    return pairs


def _increasing(pairs: list[Pair]) -> list[Pair]:
    """The longest part of them, given by their first, whose second increases too."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for at, (_, value) in enumerate(pairs):
        place = bisect_left(tails, value)
        before.append(ends[place - 1] if place else -1)
        tails[place : place + 1] = [value]
        ends[place : place + 1] = [at]
    chosen: list[Pair] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chosen.append(pairs[at])
        at = before[at]
    return chosen[::-1]


Gap = tuple[int, int, int, int]


def _gaps(same: list[Pair], n: int, m: int) -> list[tuple[list[Pair], Gap]]:
    """The places where the sequences differ, each with the equal pairs that stand before it. The ``AROUND``
    nearest equal pairs belong to the place."""
    edges = [(-1, -1), *same, (n, m)]
    breaks = [
        at
        for at in range(1, len(edges))
        if edges[at][0] - edges[at - 1][0] > 1 or edges[at][1] - edges[at - 1][1] > 1
    ]
    spans: list[list[int]] = []
    for at in breaks:
        first, last = max(0, at - 1 - AROUND), min(len(edges) - 1, at + AROUND)
        if spans and first <= spans[-1][1]:
            spans[-1][1] = last
        else:
            spans.append([first, last])
    found: list[tuple[list[Pair], Gap]] = []
    kept_from = 1
    for first, last in spans:
        (a, c), (b, d) = edges[first], edges[last]
        found.append((edges[kept_from : first + 1], (a + 1, b, c + 1, d)))
        kept_from = last
    found.append((edges[kept_from:-1], (n, n, m, m)))
    return found


def _weigh(
    gap: Gap,
    left: Keys,
    right: Keys,
    shapes: tuple[Keys, Keys],
    likeness: Likeness,
    surplus: tuple[Counter[Hashable], Counter[Hashable]],
    budget: list[int],
) -> list[Pair]:
    """The pairs of the greatest weight that are in one order. Only what has no equal to go with is paired
    with what it resembles: what is the same elsewhere is in another order."""
    a, b, c, d = gap
    cells = (b - a) * (d - c)
    if cells == 0:
        return []
    if cells > CELLS or cells > budget[0]:
        return _by_shape(gap, left, right, shapes, surplus)
    budget[0] -= cells
    width = d - c + 1
    best = [[0.0] * width for _ in range(b - a + 1)]
    for i in range(b - a - 1, -1, -1):
        row, below = best[i], best[i + 1]
        own, lonely = left[a + i], surplus[0][left[a + i]] > 0
        for j in range(d - c - 1, -1, -1):
            weight = 0.0
            if own == right[c + j]:
                weight = EQUAL
            elif lonely and surplus[1][right[c + j]] > 0:
                weight = RESEMBLING * likeness(a + i, c + j)
            most = below[j] if below[j] >= row[j + 1] else row[j + 1]
            if weight > 0 and weight + below[j + 1] > most:
                most = weight + below[j + 1]
            row[j] = most
    return _path(best, gap)


def _path(best: list[list[float]], gap: Gap) -> list[Pair]:
    a, b, c, d = gap
    pairs: list[Pair] = []
    i = j = 0
    while i < b - a and j < d - c:
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            pairs.append((a + i, c + j))
            i, j = i + 1, j + 1
    return pairs


def _by_shape(
    gap: Gap,
    left: Keys,
    right: Keys,
    shapes: tuple[Keys, Keys],
    surplus: tuple[Counter[Hashable], Counter[Hashable]],
) -> list[Pair]:
    """Of a place too large to be weighed: equals, and between them equal shapes, in turn."""
    a, b, c, d = gap
    same = [(a + i, c + j) for i, j in _Same(left[a:b], right[c:d]).find()]
    pairs = list(same)
    edges = [(a - 1, c - 1), *same, (b, d)]
    for one, two in pairwise(edges):
        lonely_left = [at for at in range(one[0] + 1, two[0]) if surplus[0][left[at]] > 0]
        lonely_right = [at for at in range(one[1] + 1, two[1]) if surplus[1][right[at]] > 0]
        found = _Same([shapes[0][at] for at in lonely_left], [shapes[1][at] for at in lonely_right]).find()
        pairs += [(lonely_left[i], lonely_right[j]) for i, j in found]
    return pairs


def _moved(pairs: list[Pair], left: Keys, right: Keys) -> list[Pair]:
    """Equals among what is left over, in turn."""
    taken_left, taken_right = {a for a, _ in pairs}, {b for _, b in pairs}
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for at in range(len(right) - 1, -1, -1):
        if at not in taken_right:
            places[right[at]].append(at)
    return [
        (at, places[key].pop()) for at, key in enumerate(left) if at not in taken_left and places.get(key)
    ]
