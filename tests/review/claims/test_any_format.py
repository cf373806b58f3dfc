"""A recorded session told in every format: the truth matches, and of any lie exactly the lie is found."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pgwitness.index.store import IndexReader
from support.claims import STORY, check, counting, line
from support.testimonies import FORMATS, PLACEHOLDERS, Told

SEQ = [4 + 3 * at for at in range(len(STORY))]
"""Of each statement of the story: before come two of the driver, and BEGIN and COMMIT stand around each."""
UNIQUE = [0, 1, 6, 7, 8, 9, 10]
"""Places of the statements that resemble no other."""


@pytest.mark.parametrize("style", PLACEHOLDERS)
@pytest.mark.parametrize("format", FORMATS)
def test_the_truth_matches(record: IndexReader, format: str, style: str) -> None:
    summary, findings = check(record, FORMATS[format](STORY, PLACEHOLDERS[style]))
    assert [line(each) for each in counting(findings)] == []
    assert (summary.verdict, summary.format) == ("matches", format)
    assert summary.counts == {"matched": len(STORY)}
    assert summary.apart == {"unclaimed": 2 + 2 * len(STORY)}


def other_literal(told: Told) -> None:
    if told.values:
        told.values[-1] = "another" if isinstance(told.values[-1], str) else told.values[-1] + 1000
    elif "9" in told.sql:
        told.sql = told.sql.replace("9", "8")
    else:
        told.sql = told.sql.replace("2026-01-01", "2025-01-01")


def other_where(told: Told) -> None:
    told.sql += " AND note IS NOT NULL"


def other_table(told: Told) -> None:
    for name in ("orders", "audit", "notes", "nowhere"):
        told.sql = told.sql.replace(name, "drafts")


def more_rows(told: Told) -> None:
    told.rows = (told.rows or 0) + 1


def turned(told: Told) -> None:
    """Success told as failure, or failure as success."""
    told.error, told.rows = (None, 1) if told.error else ("23505 duplicate key", None)


LITERAL = [1, 2, 3, 4, 5, 6, 7, 8]
CHANGES = {
    "literal": (other_literal, "altered", LITERAL),
    "where": (other_where, "altered", [1, 2, 3, 4, 5, 6]),
    "table": (other_table, "altered", [0, 1, 2, 5, 6, 7, 9]),
    "rows": (more_rows, "rows", [0, 1, 2, 3, 4, 6, 7, 8, 10]),
    "outcome": (turned, "outcome", list(range(len(STORY)))),
}


@st.composite
def lies(draw: st.DrawFn) -> tuple[list[Told], set[tuple[str, int | None]]]:
    """A story with known lies, and what is to be found: the kind, and which statement it is about."""
    story: list[Told | None] = list(deepcopy(STORY))
    touched = draw(st.lists(st.integers(0, len(STORY) - 1), unique=True, min_size=1, max_size=4))
    found: set[tuple[str, int | None]] = set()
    for at in touched:
        kinds = [kind for kind, (_, _, places) in CHANGES.items() if at in places]
        if at in UNIQUE:
            kinds.append("omitted")
        kind = draw(st.sampled_from(kinds))
        told = story[at]
        assert told is not None
        if kind == "omitted":
            story[at] = None
            found.add(("unclaimed", SEQ[at]))
        else:
            change, expected, _ = CHANGES[kind]
            change(told)
            found.add((expected, SEQ[at]))
    telling = [told for told in story if told is not None]
    if draw(st.booleans()):
        telling.insert(draw(st.integers(0, len(telling))), Told("TRUNCATE TABLE invented"))
        found.add(("unexecuted", None))
    return telling, found


def exactly_the_lies_are_found(
    record: IndexReader,
    lied: tuple[list[Told], set[tuple[str, int | None]]],
    format: str,
    style: str,
    noisy: bool,
) -> None:
    story, expected = lied
    if noisy:
        for told in story:
            told.sql = (
                "/* why */ " + told.sql.replace(" WHERE ", "\n\t where ").replace("SELECT", "Select") + " ;"
            )
    summary, findings = check(record, FORMATS[format](story, PLACEHOLDERS[style]))
    wrong = counting(findings)
    assert {(each.kind, each.record.seq if each.record else None) for each in wrong} == expected, [
        line(each) for each in wrong
    ]
    assert len(wrong) == len(expected)
    assert summary.verdict == "differs"


ANY_TELLING = given(
    lies(), st.sampled_from(list(FORMATS)), st.sampled_from(list(PLACEHOLDERS)), st.booleans()
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@ANY_TELLING
def test_exactly_the_lies_are_found(
    record: IndexReader, lied: Any, format: str, style: str, noisy: bool
) -> None:
    exactly_the_lies_are_found(record, lied, format, style, noisy)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@ANY_TELLING
def test_exactly_the_lies_at_length(
    record: IndexReader, lied: Any, format: str, style: str, noisy: bool
) -> None:
    exactly_the_lies_are_found(record, lied, format, style, noisy)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(UNIQUE), st.integers(0, len(STORY) - 1), st.sampled_from(list(FORMATS)))
def test_another_order_is_found(record: IndexReader, moved: int, to: int, format: str) -> None:
    assume(abs(moved - to) > 2)
    story = deepcopy(STORY)
    story.insert(to, story.pop(moved))
    summary, findings = check(record, FORMATS[format](story, PLACEHOLDERS["numbered"]))
    (wrong,) = counting(findings)
    assert wrong.record is not None
    assert (wrong.kind, wrong.record.seq) == ("reordered", SEQ[moved])
    assert summary.counts == {"reordered": 1, "matched": len(STORY) - 1}
