from datetime import UTC, datetime, timedelta

import pytest

from pgwitness.catalog.models import Certificate, Issued
from pgwitness.catalog.store import Catalog
from pgwitness.errors import ConflictError, ConnectorRefused, InvalidError, NotFoundError

HOUR = timedelta(hours=1)
HASH = b"h" * 32
SERVER = {"host": "db", "database": "shop", "user": "app"}


def add(catalog: Catalog, name: str = "east", token: str = "t1", lifetime: timedelta = HOUR) -> None:
    catalog.connectors.add(name, token_id=token, secret_hash=HASH, lifetime=lifetime, actor="test")


def join(catalog: Catalog, token: str = "t1", name: str = "", serial: str = "a1") -> Certificate:
    made = issued(serial, datetime.now(UTC) + HOUR)
    certificate, pem = catalog.connectors.join(token, HASH, name, lambda _: made)
    assert pem == made.pem
    return certificate


def issued(serial: str, not_after: datetime) -> Issued:
    return Issued(b"pem of " + serial.encode(), serial, not_after)


def test_a_connector_from_invitation_to_removal(catalog: Catalog) -> None:
    add(catalog)
    assert catalog.connectors.get("east").certificate_ends is None
    joined = join(catalog)
    assert (joined.connector, joined.revoked_why) == ("east", None)
    assert catalog.connectors.certificate("a1") == joined
    assert catalog.connectors.get("east").certificate_ends == joined.not_after
    catalog.connectors.seen("east", "0.1.0")
    (listed,) = catalog.connectors.list()
    assert listed.software == "0.1.0" and listed.seen_at is not None
    catalog.connectors.remove("east", actor="test")
    assert catalog.connectors.list() == []
    revoked = catalog.connectors.certificate("a1")
    assert revoked is not None and revoked.revoked_why == "the connector was removed"
    assert [entry.action for entry in catalog.audit()] == [
        "connector.remove",
        "connector.enrolled",
        "connector.add",
    ]
    with pytest.raises(NotFoundError, match="was removed"):
        catalog.connectors.renew(joined.connector_id, lambda _: issued("a2", joined.not_after))


@pytest.mark.parametrize("name", ["a/b", "none", "Any", "pgwitness-gateway"])
def test_names_that_mean_something_else(catalog: Catalog, name: str) -> None:
    with pytest.raises(InvalidError):
        add(catalog, name)


def test_a_token_joins_once_in_time_and_under_its_own_name(catalog: Catalog) -> None:
    add(catalog)
    add(catalog, "west", "t2", timedelta(seconds=-1))
    with pytest.raises(ConnectorRefused, match="another name"):
        join(catalog, name="west")
    with pytest.raises(ConnectorRefused, match="expired"):
        join(catalog, "t2")
    with pytest.raises(ConnectorRefused, match="no such"):
        join(catalog, "t3")
    with pytest.raises(ConnectorRefused, match="no such"):
        catalog.connectors.join("t1", b"x" * 32, "", lambda _: issued("a1", datetime.now(UTC)))
    join(catalog, name="east")
    with pytest.raises(ConnectorRefused, match="used before"):
        join(catalog)


def test_a_certificate_that_cannot_be_made_leaves_the_token_good(catalog: Catalog) -> None:
    def fail(name: str) -> Issued:
        raise InvalidError("no certificate")

    add(catalog)
    with pytest.raises(InvalidError):
        catalog.connectors.join("t1", HASH, "", fail)
    join(catalog)


def test_joining_anew_revokes_what_was(catalog: Catalog) -> None:
    add(catalog)
    with pytest.raises(ConflictError, match="already"):
        add(catalog, token="t2")
    join(catalog)
    for token in ("t2", "t3"):
        catalog.connectors.invite("east", token_id=token, secret_hash=HASH, lifetime=HOUR, actor="test")
    with pytest.raises(ConnectorRefused, match="no such"):
        join(catalog, "t2", serial="a2")
    assert catalog.connectors.certificate("a1").revoked_why is None  # type: ignore[union-attr]
    join(catalog, "t3", serial="a3")
    assert "anew" in str(catalog.connectors.certificate("a1").revoked_why)  # type: ignore[union-attr]
    with pytest.raises(NotFoundError):
        catalog.connectors.invite("x", token_id="t4", secret_hash=HASH, lifetime=HOUR, actor="test")


def test_a_renewal_keeps_what_it_renews_and_forgets_what_is_long_over(catalog: Catalog) -> None:
    add(catalog)
    joined = join(catalog)
    revision = catalog.revision()
    long_ago = datetime.now(UTC) - timedelta(days=2)
    catalog.connectors.renew(joined.connector_id, lambda _: issued("old", long_ago))
    later = joined.not_after + HOUR
    renewed, _ = catalog.connectors.renew(joined.connector_id, lambda _: issued("a2", later))
    assert catalog.connectors.certificate("old") is None
    assert catalog.connectors.certificate("a1") == joined
    assert catalog.connectors.get("east").certificate_ends == renewed.not_after
    assert catalog.revision() == revision


def test_a_connection_goes_on_naming_a_connector_that_is_gone(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no connector 'east'"):
        catalog.connections.add("orders", SERVER | {"connectors": ("east",)}, actor="test")
    add(catalog)
    add(catalog, "west", "t2")
    added = catalog.connections.add("orders", SERVER | {"connectors": ("west", "east", "west")}, actor="test")
    assert catalog.connections.get("orders").connectors == added.connectors == ("west", "east")
    catalog.connectors.remove("east", actor="test")
    assert catalog.connections.update("orders", {"port": "1"}, actor="test").connectors == ("west", "east")
    with pytest.raises(NotFoundError):
        catalog.connections.update("orders", {"connectors": ("east",)}, actor="test")
    assert catalog.connections.update("orders", {"connectors": ()}, actor="test").connectors == ()
