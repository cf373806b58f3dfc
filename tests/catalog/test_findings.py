"""Findings of the watch: new once, gone and again, accepted by somebody."""

from datetime import UTC, datetime, timedelta

import pytest

from pgwitness.catalog.findings import Found
from pgwitness.catalog.store import Catalog
from pgwitness.errors import NotFoundError

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PSQL = Found(key="session-1", kind="session", level="alarm", what="psql", details={"pid": 7})
ROUTE = Found(key="route-1", kind="route", level="weakness", what="a superuser")
NOTE = Found(key="feature-1", kind="feature", level="note", what="dblink")


@pytest.fixture
def shop(catalog: Catalog) -> Catalog:
    catalog.connections.add("shop", {"host": "db", "database": "shop", "user": "app"}, actor="test")
    return catalog


def saw(catalog: Catalog, *found: Found, minutes: int = 0, gone: tuple[str, ...] = ("session",)) -> list[str]:
    at = NOON + timedelta(minutes=minutes)
    changes = catalog.findings.saw("shop", found, gone=gone, at=at)  # type: ignore[arg-type]
    return [f"{change} {finding.key}" for change, finding in changes]


def test_a_finding_is_new_once(shop: Catalog) -> None:
    assert saw(shop, PSQL) == ["new session-1"]
    assert saw(shop, PSQL, minutes=1) == []
    (finding,) = shop.findings.list("shop")
    assert (finding.first_seen, finding.last_seen) == (NOON, NOON + timedelta(minutes=1))
    assert finding.details == {"pid": 7}
    assert finding.connection == "shop"


def test_what_is_not_found_any_more_is_gone_and_may_come_again(shop: Catalog) -> None:
    saw(shop, PSQL)
    assert saw(shop, minutes=1) == ["gone session-1"]
    assert saw(shop, minutes=2) == []
    assert shop.findings.list("shop") == []
    (past,) = shop.findings.list("shop", past=True)
    assert (past.last_seen, past.gone_at) == (NOON, NOON + timedelta(minutes=1))
    assert saw(shop, PSQL, minutes=3) == ["again session-1"]
    (finding,) = shop.findings.list("shop")
    assert finding.first_seen == NOON


def test_a_look_at_one_kind_says_nothing_of_the_others(shop: Catalog) -> None:
    saw(shop, ROUTE, gone=("route",))
    assert saw(shop, PSQL) == ["new session-1"]
    assert saw(shop, gone=("route",)) == ["gone route-1"]


def test_counts_leave_out_what_is_gone_or_accepted(shop: Catalog) -> None:
    saw(shop, PSQL, ROUTE, NOTE)
    assert shop.findings.counts() == {"shop": {"alarm": 1, "weakness": 1, "note": 1}}
    shop.findings.accept("shop", ["route-1"], actor="alice")
    saw(shop, ROUTE, minutes=1)
    assert shop.findings.counts() == {"shop": {"alarm": 0, "weakness": 0, "note": 1}}
    accepted = next(one for one in shop.findings.list("shop") if one.key == "route-1")
    assert accepted.accepted_by == "alice"
    assert shop.audit(limit=1)[0].action == "watch.accept"
    shop.findings.accept("shop", ["route-1"], actor="alice", undo=True)
    assert shop.findings.counts()["shop"]["weakness"] == 1


def test_accepting_what_is_not_there(shop: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no finding 'nothing'"):
        shop.findings.accept("shop", ["nothing"], actor="alice")


def test_findings_go_with_their_connection(shop: Catalog) -> None:
    saw(shop, PSQL)
    shop.findings.keep_baseline("shop", b"counters")
    shop.connections.remove("shop", actor="test")
    assert shop.findings.list(past=True) == []
    assert saw(shop, PSQL) == []


def test_a_baseline_is_replaced(shop: Catalog) -> None:
    assert shop.findings.baseline("shop") is None
    shop.findings.keep_baseline("shop", b"one")
    shop.findings.keep_baseline("shop", b"two")
    assert shop.findings.baseline("shop") == b"two"


def test_more_statements_than_were_accepted(shop: Catalog) -> None:
    def counted(calls: int) -> Found:
        return Found(key="statements-1", kind="statements", level="alarm", what="x", details={"calls": calls})

    assert saw(shop, counted(5)) == ["new statements-1"]
    shop.findings.accept("shop", ["statements-1"], actor="alice")
    assert saw(shop, counted(5)) == []
    assert shop.findings.counts() == {}
    assert saw(shop, counted(6)) == ["more statements-1"]
    assert shop.findings.counts()["shop"]["alarm"] == 1
