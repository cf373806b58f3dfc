"""Which claim speaks of which recorded statement.

What the agent ran is aligned first, by itself; what drivers issue by themselves (``chores``) only within the
places that this leaves, so that a COMMIT more or less never hides or makes a difference.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

from msgspec import Struct

from pgwitness.review.claims.align import Aligned, Pair, align
from pgwitness.review.claims.judging import likeness
from pgwitness.review.claims.sides import Claimed, Recorded


class Pairing(Struct):
    """By places in the two sequences."""

    pairs: list[Pair]
    moved: list[Pair]
    unexecuted: list[int]
    unclaimed: list[int]


def pair_up(claims: Sequence[Claimed], records: Sequence[Recorded]) -> Pairing:
    keys = _keys(claims, records)
    own = _align(
        claims,
        records,
        keys,
        [at for at, each in enumerate(claims) if not each.form.template.own],
        [at for at, each in enumerate(records) if not each.form.template.own],
    )
    found = Pairing(own.pairs, own.moved, own.unexecuted, own.unclaimed)
    edges = [(-1, -1), *own.pairs, (len(claims), len(records))]
    lefts = _chores(claims, [a for a, _ in edges])
    rights = _chores(records, [b for _, b in edges])
    left_over: tuple[list[int], list[int]] = ([], [])
    for left, right in zip(lefts, rights, strict=True):
        if left and right:
            inner = _align(claims, records, keys, left, right)
            found.pairs += inner.pairs
            left, right = (
                [a for a, _ in inner.moved] + inner.unexecuted,
                [b for _, b in inner.moved] + inner.unclaimed,
            )
        left_over[0].extend(left)
        left_over[1].extend(right)
    rest = _align(claims, records, keys, sorted(left_over[0]), sorted(left_over[1]))
    found.moved += rest.pairs + rest.moved
    found.unexecuted += rest.unexecuted
    found.unclaimed += rest.unclaimed
    found.pairs.sort()
    return found


def _keys(
    claims: Sequence[Claimed], records: Sequence[Recorded]
) -> tuple[list[Hashable], list[Hashable], list[Hashable], list[Hashable]]:
    """Of claims and statements what is the same and what has one shape. Where a value is not said, any value
    may be meant."""
    both = [*(each.form for each in claims), *(each.form for each in records)]
    vague = {form.shape for form in both if form.unsaid}

    def key(side: Claimed | Recorded) -> Hashable:
        return side.form.shape if side.form.shape in vague else side.form.key

    return (
        [key(each) for each in claims],
        [key(each) for each in records],
        [each.form.shape for each in claims],
        [each.form.shape for each in records],
    )


def _align(
    claims: Sequence[Claimed],
    records: Sequence[Recorded],
    keys: tuple[list[Hashable], list[Hashable], list[Hashable], list[Hashable]],
    left: list[int],
    right: list[int],
) -> Pairing:
    """Of these places only."""
    found: Aligned = align(
        [keys[0][at] for at in left],
        [keys[1][at] for at in right],
        ([keys[2][at] for at in left], [keys[3][at] for at in right]),
        lambda i, j: likeness(claims[left[i]], records[right[j]]),
    )
    return Pairing(
        [(left[i], right[j]) for i, j in found.pairs],
        [(left[i], right[j]) for i, j in found.moved],
        [left[i] for i in found.left_only],
        [right[j] for j in found.right_only],
    )


def _chores(sides: Sequence[Claimed] | Sequence[Recorded], edges: list[int]) -> list[list[int]]:
    """Those between each two edges."""
    return [
        [at for at in range(first + 1, last) if sides[at].form.template.own]
        for first, last in pairwise(edges)
    ]
