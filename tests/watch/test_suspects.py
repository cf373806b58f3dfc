"""Who is reported: not ours in two looks, in the scope of what is watched, and a client's session."""

from __future__ import annotations

from dataclasses import replace

from pgwitness.watch.report import Report
from pgwitness.watch.sessions import Backend, Scope, Suspects, background_work, describe, hidden

SCOPE = Scope("app", frozenset({"shop"}), frozenset({"backup"}))
PSQL = Backend(
    7, "app", "shop", "client backend", "psql", "10.0.0.7", 5000, "2026-11-22 12:00:00+00", 1.0, "idle"
)


def sort_out(suspects: Suspects, *listed: Backend, now: float = 0.0, known: bool = False) -> list[list[int]]:
    found = suspects.sort_out(list(listed), SCOPE, lambda backend: "foreign", lambda backend: known, now)
    return [[backend.pid for backend in part] for part in found]


def test_a_session_is_foreign_in_the_second_look() -> None:
    suspects = Suspects()
    assert sort_out(suspects, PSQL) == [[], [7]]
    assert sort_out(suspects, PSQL, now=0.1) == [[], [7]]
    assert sort_out(suspects, PSQL, now=1.0) == [[7], []]
    assert sort_out(suspects, replace(PSQL, since="later"), now=2.0) == [[], [7]]


def test_a_session_that_is_known_is_foreign_at_once() -> None:
    assert sort_out(Suspects(), PSQL, known=True) == [[7], []]


def test_once_ours_always_ours() -> None:
    suspects = Suspects()
    suspects.sort_out([PSQL], SCOPE, lambda backend: "ours", lambda backend: False, 0.0)
    assert sort_out(suspects, PSQL, now=1.0) == [[], []]
    suspects.ours(PSQL)
    assert sort_out(suspects, PSQL, now=2.0) == [[], []]


def test_what_is_watched() -> None:
    inside = [
        replace(PSQL, database="other"),  # the role, anywhere
        replace(PSQL, user="postgres"),  # the database, anybody
        replace(PSQL, kind="walsender", database=None),
        replace(PSQL, kind=None, since=None),
    ]
    outside = [
        replace(PSQL, user="postgres", database="other"),
        replace(PSQL, user="postgres", database=None),
        replace(PSQL, user="backup"),
        replace(PSQL, kind="parallel worker"),
        replace(PSQL, kind="pg_cron"),
    ]
    for backend in inside:
        assert sort_out(Suspects(), backend, known=True) == [[7], []]
    for backend in outside:
        assert sort_out(Suspects(), backend, known=True) == [[], []]
    assert Scope("app", None).holds(replace(PSQL, user="postgres", database="other"))


def test_sessions_of_one_program_are_one_finding() -> None:
    report = Report()
    pool = [replace(PSQL, pid=pid, since=f"2026-11-22 12:00:{pid:02}+00", started=pid) for pid in (9, 8)]
    describe([*pool, replace(PSQL, application="other", address=None)], report)
    several, local = report.found
    assert several.what == (
        "app is connected to shop from 10.0.0.7, application 'psql', 2 sessions, process 8,"
        " since 2026-11-22 12:00:08+00"
    )
    assert "from the server's own machine (Unix socket)" in local.what
    assert several.key != local.key
    assert [session["pid"] for session in several.details["sessions"]] == [8, 9]


def test_work_in_the_roles_name_and_what_is_hidden() -> None:
    report = Report()
    background_work(
        [replace(PSQL, kind="pg_cron"), replace(PSQL, kind="parallel worker"), PSQL], "app", report
    )
    assert [one.key for one in report.found] == ["feature-background-pg_cron"]
    hidden([replace(PSQL, user="postgres", since=None)], SCOPE, report)
    assert len(report.limits) == 1
