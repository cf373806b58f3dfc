"""What a testimony says became of its statements, where it tells of BEGIN, COMMIT and ROLLBACK itself."""

from __future__ import annotations

from collections.abc import Sequence

from pgwitness.review.claims.model import Claim, ClaimedOutcome
from pgwitness.statements.sql import describe


def claimed_outcomes(claims: Sequence[Claim]) -> list[ClaimedOutcome | None]:
    """Of each claim: what it says itself, else by the end of the transaction in which it stands. A COMMIT
    without a BEGIN, of a driver that begins by itself, ends all since the end before it."""
    found: list[ClaimedOutcome | None] = [claim.outcome for claim in claims]
    explicit = any(_kind(claim) == "begin" for claim in claims)
    open_since: int | None = None if explicit else 0
    saved: list[tuple[str | None, int]] = []
    for at, claim in enumerate(claims):
        effect = describe(claim.sql).effect if len(claim.sql) < 1000 else None
        kind = effect.kind if effect else None
        if kind == "begin":
            open_since, saved = at, []
        elif kind == "savepoint" and effect:
            saved.append((effect.name, at))
        elif kind == "rollback_to" and effect:
            for name, since in reversed(saved):
                if name == effect.name:
                    _settle(found, since, at, "rolled_back")
                    break
        elif kind in ("commit", "rollback") and open_since is not None and claim.result.status != "error":
            _settle(found, open_since, at, "committed" if kind == "commit" else "rolled_back")
            chained = effect is not None and effect.flag
            open_since, saved = at + 1 if chained or not explicit else None, []
    return found


def _kind(claim: Claim) -> str | None:
    effect = describe(claim.sql).effect if len(claim.sql) < 1000 else None
    return effect.kind if effect else None


def _settle(found: list[ClaimedOutcome | None], since: int, until: int, outcome: ClaimedOutcome) -> None:
    for at in range(since, until):
        if found[at] is None:
            found[at] = outcome
