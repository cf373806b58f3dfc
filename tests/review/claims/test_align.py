"""Two sequences aligned: the same found as any way finds it, at any size in bounded time."""

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgwitness.review.claims import align as module
from pgwitness.review.claims.align import Aligned, align

SEQUENCES = st.lists(st.integers(0, 5), max_size=14)


def longest(left: Sequence[int], right: Sequence[int]) -> int:
    """The length of the longest common subsequence, by the textbook."""
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def aligned(left: Sequence[int], right: Sequence[int], likeness: float = 0.0) -> Aligned:
    found = align(left, right, (left, right), lambda i, j: likeness)
    pairs = [*found.pairs, *found.moved]
    assert sorted([*(a for a, _ in pairs), *found.left_only]) == list(range(len(left)))
    assert sorted([*(b for _, b in pairs), *found.right_only]) == list(range(len(right)))
    assert all(a < c and b < d for (a, b), (c, d) in zip(found.pairs, found.pairs[1:], strict=False))
    return found


@given(SEQUENCES, SEQUENCES)
def test_as_many_equals_as_there_can_be_in_one_order(left: list[int], right: list[int]) -> None:
    found = aligned(left, right)
    assert all(left[a] == right[b] for a, b in [*found.pairs, *found.moved])
    assert len(found.pairs) == longest(left, right)
    assert not {left[a] for a in found.left_only} & {right[b] for b in found.right_only}


@given(SEQUENCES, SEQUENCES)
@example([1, 0, 0, 0], [2, 2, 2, 1])
def test_no_equal_is_given_up_for_what_resembles(left: list[int], right: list[int]) -> None:
    found = aligned(left, right, 0.9)
    assert sum(left[a] == right[b] for a, b in found.pairs) + len(found.moved) <= min(len(left), len(right))
    altered = [(a, b) for a, b in found.pairs if left[a] != right[b]]
    assert len(found.pairs) - len(altered) == longest(left, right)


@pytest.mark.parametrize(
    ("left", "right", "pairs"),
    [
        ([2, 2, 3], [1, 2, 3], [(0, 0), (1, 1), (2, 2)]),  # the first 2 is the altered 1
        ([1, 9, 3], [1, 2, 3], [(0, 0), (1, 1), (2, 2)]),
        ([3, 2, 1], [1, 2, 3], None),  # another order, not three alterations
    ],
)
def test_what_is_taken_for_altered(
    left: list[int], right: list[int], pairs: list[tuple[int, int]] | None
) -> None:
    found = aligned(left, right, 0.9)
    if pairs is not None:
        assert found.pairs == pairs
    else:
        assert (len(found.pairs), len(found.moved)) == (1, 2)


@given(SEQUENCES, SEQUENCES)
def test_beyond_the_bounds_nothing_is_lost(left: list[int], right: list[int]) -> None:
    bounds = pytest.MonkeyPatch()
    with bounds.context() as patch:
        patch.setattr(module, "STEPS", 3)
        patch.setattr(module, "CELLS", 1)
        found = aligned(left, right, 0.9)
    assert not {left[a] for a in found.left_only} & {right[b] for b in found.right_only}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["few", "shuffled", "repeated", "two", "other", "many"])
def test_a_hundred_thousand(kind: str) -> None:
    _bounded(kind, 100_000, 30)


@pytest.mark.parametrize("kind", ["few", "shuffled", "repeated", "two"])
def test_two_thousand(kind: str) -> None:
    _bounded(kind, 2_000, 15)


def _bounded(kind: str, size: int, seconds: float) -> None:
    chance = random.Random(7)
    left = list(range(size))
    right = {
        "few": [each for each in left if each % 1000],
        "shuffled": chance.sample(left, size),
        "repeated": [1] * size,
        "two": [chance.randrange(2) for _ in left],
        "other": list(range(size, 2 * size)),
        "many": [chance.randrange(300) for _ in left],
    }[kind]
    if kind in ("repeated", "two", "many"):
        left = [1 if kind == "repeated" else chance.randrange(2 if kind == "two" else 300) for _ in left]
    begun = time.monotonic()
    aligned(left, right, 0.6)
    assert time.monotonic() - begun < seconds
