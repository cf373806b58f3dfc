"""``compare``: a testimony against the record of a session or of a run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import Struct

from pgwitness.errors import InvalidError, NotFoundError
from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader, Session
from pgwitness.review.claims.align import Pair
from pgwitness.review.claims.before import Fetched, harmless
from pgwitness.review.claims.completeness import shortcomings
from pgwitness.review.claims.judging import differences, silent
from pgwitness.review.claims.model import KINDS, Difference, Finding, Kind, Summary, Testimony, Verdict
from pgwitness.review.claims.outcomes import claimed_outcomes
from pgwitness.review.claims.pairing import Pairing, pair_up
from pgwitness.review.claims.sides import Claimed, Recorded, claimed, recorded
from pgwitness.review.claims.texts import claims_of
from pgwitness.statements.model import Statement

MAX_STATEMENTS: Final = 100_000
MAX_SESSIONS: Final = 10_000
BEHIND: Final = 5.0
"""Seconds. An index that keeps up is at most about two behind."""
_LOOKED_AT: Final = 1000


class Rules(Struct, frozen=True):
    """What counts."""

    strict: bool = False
    """Also what drivers issue by themselves, and silence about a failure or a rollback."""
    without_values: bool = False
    """A value that the testimony does not say is no difference."""


def compare(
    index: IndexReader,
    filters: Filters,
    testimony: Testimony,
    rules: Rules = Rules(),  # noqa: B008
    *,
    behind: float = 0,
) -> tuple[Summary, list[Finding]]:
    """The findings in the order of the record, claims that were never executed where they were told.

    ``filters`` names a session or a run; ``behind``: how many seconds the index is behind the tape. Raises
    NotFoundError, ConflictError, InvalidError.
    """
    sessions = _sessions(index, filters)
    statements = _statements(index, filters)
    claims, beside = claims_of(testimony)
    outcomes = claimed_outcomes(claims)
    left = [claimed(claim, outcome) for claim, outcome in zip(claims, outcomes, strict=True)]
    right = [recorded(statement) for statement in statements]
    pairing = pair_up(left, right)
    judge = _Judge(left, right, pairing, rules)
    judge.harmless |= harmless(right, lambda session: _log_in(index, session))
    findings = judge.findings()
    incomplete = shortcomings(index, sessions, statements)
    if filters.run is not None and behind > BEHIND:
        incomplete.append(
            f"the index is {behind:.0f} s behind: the run may have sessions that it has not read yet"
        )
    notes = [*_meanwhile(index, filters, sessions), *(f"{each.place}: {each.problem}" for each in beside)]
    if testimony.others:
        notes.append(f"{testimony.others:,} calls or spans without SQL were passed over")
    summary = Summary(
        verdict=_verdict(findings, incomplete, testimony),
        scope={name: value for name in ("session", "run") if (value := getattr(filters, name))},
        sessions=[session.session for session in sessions],
        format=testimony.format,
        claims=len(claims),
        statements=len(statements),
        counts=_count(findings, True),
        apart=_count(findings, False),
        incomplete=incomplete,
        problems=testimony.problems,
        notes=notes,
        strict=rules.strict,
    )
    return summary, findings


def _log_in(index: IndexReader, session: str) -> dict[str, Any]:
    told = (index.session(session).header.get("upstream") or {}).get("parameters")
    return told if isinstance(told, dict) else {}


def _verdict(findings: Sequence[Finding], incomplete: Sequence[str], testimony: Testimony) -> Verdict:
    """A record that cannot tell all, and a testimony that cannot be read whole, match nothing."""
    if incomplete or testimony.problems:
        return "incomplete"
    return "differs" if any(finding.counts for finding in findings) else "matches"


def _count(findings: Sequence[Finding], counted: bool) -> dict[str, int]:
    """By kind, the gravest first. What matched counts as matched; the rest counts or stands apart."""
    found = Counter(
        finding.kind
        for finding in findings
        if (finding.counts or (finding.kind == "matched" and not finding.own)) == counted
    )
    return {kind: found[kind] for kind in KINDS if found[kind]}


def _sessions(index: IndexReader, filters: Filters) -> list[Session]:
    page = index.sessions(filters, limit=MAX_SESSIONS)
    if page.next is not None:
        raise InvalidError(f"the run has more than {MAX_SESSIONS:,} sessions", hint="compare one session")
    if not page.items:
        if filters.session is not None:
            index.resolve(filters.session, filters.scope)
        raise NotFoundError(
            f"no session of run {filters.run!r} is on record", hint="pgwitness session list shows runs"
        )
    return page.items


def _meanwhile(index: IndexReader, filters: Filters, sessions: Sequence[Session]) -> Iterator[str]:
    """Sessions of the same identities that nobody asked to compare: what is not claimed may be there."""
    compared = {session.session for session in sessions}
    since = datetime.fromisoformat(min(session.started_at for session in sessions))
    until = datetime.fromisoformat(max(session.ended_at or session.last_activity for session in sessions))
    for identity in sorted({session.identity for session in sessions if session.identity}):
        asked = Filters(identity=identity, since=since, until=until, scope=filters.scope)
        page = index.sessions(asked, limit=MAX_SESSIONS)
        others = sum(session.session not in compared for session in page.items)
        if others:
            these = f"{others:,} other session{'s' if others > 1 else ''}"
            yield f"not compared: {these} of {identity} in the same time (pgwitness session list)"


def _statements(index: IndexReader, filters: Filters) -> list[Statement]:
    found = list(index.iterate(filters, limit=MAX_STATEMENTS + 1))
    if len(found) > MAX_STATEMENTS:
        raise InvalidError(
            f"the record has more than {MAX_STATEMENTS:,} statements there",
            hint="compare one session at a time",
        )
    return found


class _Judge:
    """Makes the findings of a pairing."""

    def __init__(
        self, claims: Sequence[Claimed], records: Sequence[Recorded], pairing: Pairing, rules: Rules
    ) -> None:
        self.claims, self.records = claims, records
        self.pairing, self.rules = pairing, rules
        all_pairs = (*pairing.pairs, *pairing.moved)
        self.failed_texts = {
            claims[a].claim.text for a, b in all_pairs if records[b].statement.status != "ok"
        }
        self.told, self.ran = [a for a, _ in pairing.pairs], [b for _, b in pairing.pairs]
        self.fetched = Fetched(records, {b for _, b in all_pairs})
        self.harmless = set(self.fetched.own)
        """Of what depends on what was run before: what changes nothing."""
        self.several = len({record.statement.session for record in records}) > 1

    def findings(self) -> list[Finding]:
        of_record: dict[int, Finding] = {b: self._pair(a, b, []) for a, b in self.pairing.pairs}
        for pair in self.pairing.moved:
            of_record[pair[1]] = self._pair(*pair, self._order(pair))
        for b in self.pairing.unclaimed:
            of_record[b] = self._unclaimed(b)
        never = {a: self._unexecuted(self.claims[a]) for a in self.pairing.unexecuted}
        return list(self._in_order(of_record, never))

    def _in_order(self, of_record: dict[int, Finding], never: dict[int, Finding]) -> Iterator[Finding]:
        """Claims never executed come before the claim that was told after them."""
        partner = {b: a for a, b in self.pairing.pairs}
        waiting = sorted(never, reverse=True)
        for b in range(len(self.records)):
            while waiting and b in partner and waiting[-1] < partner[b]:
                yield never[waiting.pop()]
            yield of_record[b]
        while waiting:
            yield never[waiting.pop()]

    def _pair(self, a: int, b: int, more: list[Difference]) -> Finding:
        claim, record = self.claims[a], self.records[b]
        found = [*differences(claim, record, self.fetched.rows.get(b)), *more]
        if claim.claim.text in self.failed_texts and claim.claim.result.status == "error":
            # Of several statements in one text, the error was another's.
            found = [each for each in found if each.what != "success" or record.statement.status != "ok"]
        notes = []
        silence = silent(claim, record)
        if silence and self.rules.strict:
            found.append(Difference("outcome", "outcome", None, silence))
        elif silence:
            notes.append(silence)
        if self.rules.without_values:
            unsaid = [each for each in found if each.kind == "unstated"]
            found = [each for each in found if each.kind != "unstated"]
            notes += [f"does not say {len(unsaid)} of its values"] if unsaid else []
        own = _always_own(claim) and _always_own(record)
        kind: Kind = min((each.kind for each in found), key=KINDS.index, default="matched")
        return Finding(
            kind=kind,
            counts=kind != "matched" and (self.rules.strict or not own),
            own=own,
            claim=claim.view(),
            record=record.view(),
            differences=found,
            notes=notes,
        )

    def _unclaimed(self, b: int) -> Finding:
        record = self.records[b]
        own = _always_own(record) or b in self.harmless
        skipped = record.statement.status == "skipped"
        notes = ["it was sent and never ran: what came before it failed"] if skipped else []
        return Finding(
            kind="unclaimed",
            counts=self.rules.strict or not (own or skipped),
            own=own,
            record=record.view(),
            notes=notes,
        )

    def _unexecuted(self, claim: Claimed) -> Finding:
        own, failed = _always_own(claim), claim.claim.result.status == "error"
        notes = ["it says itself that it failed; it never reached the server"] if failed else []
        return Finding(
            kind="unexecuted",
            counts=self.rules.strict or not (own or failed),
            own=own,
            claim=claim.view(),
            notes=notes,
        )

    # order

    def _order(self, pair: Pair) -> list[Difference]:
        if self.several and self._at_once(pair):
            return []
        a, b = pair
        told, ran = bisect_left(self.told, a), bisect_left(self.ran, b)
        return [
            Difference(
                "reordered",
                "order",
                _place(told, self.told, self.claims),
                _place(ran, self.ran, self.records),
            )
        ]

    def _at_once(self, pair: Pair) -> bool:
        """Whether it only changes places with statements of other sessions that ran at the same time: nobody
        can say which was first."""
        a, b = pair
        pairs = self.pairing.pairs
        first, last = bisect_left(self.told, a), bisect_right(self.ran, b)
        crossed = pairs[min(first, last) : max(first, last)]
        if len(crossed) > _LOOKED_AT:
            return False
        mine = self.records[b].statement
        return all(_overlap(mine, self.records[other].statement) for _, other in crossed)


def _always_own(side: Claimed | Recorded) -> bool:
    """Whatever was run before."""
    return side.form.template.own and not side.form.template.depends


def _place(at: int, places: Sequence[int], sides: Sequence[Claimed] | Sequence[Recorded]) -> str:
    """After which of those that are in order."""
    if at == 0:
        return "first of all"
    before = sides[places[at - 1]]
    if isinstance(before, Claimed):
        return f"after claim {before.claim.number}"
    return f"after statement {before.statement.seq}"


def _overlap(one: Statement, other: Statement) -> bool:
    if one.session == other.session:
        return False
    (a, b), (c, d) = _span(one), _span(other)
    return a <= d and c <= b


def _span(statement: Statement) -> tuple[datetime, datetime]:
    begun = datetime.fromisoformat(statement.started_at)
    return begun, begun + timedelta(microseconds=statement.duration_us or 0)
